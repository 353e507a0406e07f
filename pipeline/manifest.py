"""The build manifest: one typed YAML file that pins a build; and the one precision that a build keeps."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from pipeline.sources.config import SourceConfig
from stages.clip_config import ClipConfig, ExactNaming, NamingConfig, RegionRules, Templates
from stages.common import (
    DOES_NOT_COUNT,
    AskedPrecision,
    Config,
    Device,
    Location,
    Manifest,
    Precision,
    resolve_device,
    slowness_warning,
)
from stages.matching import MatchRules
from stages.nouns import NounsConfig, SpacyNouns
from stages.proposals import MaskRules, ProposalsConfig
from stages.shards import ShardRules

StageName = Literal["read", "nouns", "proposals", "matching", "shards"]
STAGES: tuple[StageName, ...] = ("read", "nouns", "proposals", "matching", "shards")


class ProposalsSection(Config):
    """Where mask proposals come from, and which of them are kept.

    Attributes:
        batch_size: so many photos of a unit share a forward pass of the model, where it can; floats depend on it.
    """

    proposer: ProposalsConfig
    refine: MaskRules = MaskRules()
    batch_size: int = Field(1, ge=1)


class NounsSection(Config):
    """How nouns are found.

    Attributes:
        extractor: the rule.
        language: ``en`` quarantines captions that are clearly in another language; ``any`` reads all as English.
        max_caption_chars: a longer caption is no caption; it is quarantined.
    """

    extractor: NounsConfig = Field(default_factory=SpacyNouns)
    language: Literal["en", "any"] = "en"
    max_caption_chars: int = Field(1000, ge=1)


class MatchingSection(Config):
    """The CLIP that scores, what it is shown, and which pairs are kept.

    Attributes:
        templates: prompts around the noun, each with one ``{}``; embeddings are averaged over them.
        naming: whether every region has a forward pass of CLIP (`exact`), or only those that a coarse look does not
            rule out (`cascade`).
    """

    clip: ClipConfig
    regions: RegionRules = RegionRules()
    templates: Templates = ("a photo of a {}.",)
    rules: MatchRules = MatchRules()
    naming: NamingConfig = ExactNaming()

    @model_validator(mode="after")
    def _rivals(self) -> Self:
        if self.naming.kind == "cascade" and self.naming.keep == 1 and self.rules.min_margin_mask is not None:
            raise ValueError("naming.keep: 1 leaves no other mask for rules.min_margin_mask; expected 2 or more")
        return self


class Compute(Config):
    """What the floats depend on beside the models.

    Attributes:
        device: ``auto`` takes a GPU where a worker has one.
        precision: of model inference; ``auto`` is bf16 where the device has units for it, else fp16 on a GPU and fp32
            on a CPU.
        threads: of torch and OpenCV in each process; one per worker scales best, and another number may give
            other floats.
    """

    device: Device = "auto"
    precision: AskedPrecision = "auto"
    threads: int = Field(1, ge=1)


class Pool(Config):
    """Ray actors that run consecutive stages of a unit.

    Attributes:
        stages: which; the pools together must be all five stages in their order.
        actors: how many.
        cpus, gpus: what Ray reserves for each actor.
    """

    stages: tuple[StageName, ...] = STAGES
    actors: int = Field(1, ge=1)
    cpus: float = Field(1, ge=0)
    gpus: float = Field(0, ge=0)


class Run(Config):
    """Where and how wide a build runs. No part of its identity: it never changes a byte.

    Attributes:
        runner: ``ray``, or ``loop`` for a plain loop in one process.
        workers: actors that run all stages, if `pools` is not given; default one per CPU or GPU that Ray has.
        pools: for a cluster: which stages run together, on what.
        window: units in flight at once, per actor.
        max_attempts: a unit whose process died so often is searched for the image that kills it.
        cache: folder or URL of the shared cache; ``none`` for no cache.
    """

    runner: Literal["ray", "loop"] = "ray"
    workers: int | None = Field(None, ge=1)
    pools: tuple[Pool, ...] = ()
    window: int = Field(2, ge=1)
    max_attempts: int = Field(3, ge=1)
    cache: Location | None = None

    @property
    def cache_url(self) -> str | None:
        """Where the cache lies: as asked, or MASKMINE_CACHE, or where the system keeps caches; None for no cache."""
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        default = os.environ.get("MASKMINE_CACHE") or str(folder / "maskmine")
        return None if self.cache == "none" else self.cache or default

    @field_validator("cache", mode="wrap")
    @classmethod
    def _none_is_no_place(cls, value: object, resolved: ValidatorFunctionWrapHandler) -> str | None:
        found: str | None = value if value is None or value == "none" else resolved(value)
        return found

    @field_validator("pools")
    @classmethod
    def _all_stages_in_order(cls, pools: tuple[Pool, ...]) -> tuple[Pool, ...]:
        named = tuple(stage for pool in pools for stage in pool.stages)
        if pools and named != STAGES:
            raise ValueError(f"the pools' stages together must be {', '.join(STAGES)}, each once and in this order")
        return pools


class BuildManifest(Manifest):
    """A build, pinned: source, proposals, nouns, matching, shards, seed.

    Attributes:
        seed: of everything that is drawn: the subset (`source.limit`) and the order of images (`shards.shuffle`).
    """

    kind: Literal["build"] = "build"
    source: SourceConfig
    proposals: ProposalsSection
    nouns: NounsSection = NounsSection()
    matching: MatchingSection
    shards: ShardRules = ShardRules()
    compute: Compute = Compute()
    seed: int = 0
    run: Annotated[Run, DOES_NOT_COUNT] = Run()


def precisions_of(devices: Iterable[str]) -> set[str]:
    """Those that receipts or a lock name, as in ``cpu AVX512 bf16``."""
    return {device.rpartition(" ")[2] for device in devices} & set(get_args(Precision))


def pin_precision(compute: Compute, recorded: Iterable[str]) -> Compute:
    """What `auto` stands for where part of the build is done: what that was computed in, on any machine.

    Args:
        compute: the manifest's.
        recorded: devices that the receipts of this build, or the lock that it must reproduce, name.
    """
    found = precisions_of(recorded)
    if compute.precision != "auto" or len(found) != 1:
        return compute
    return compute.model_copy(update={"precision": found.pop()})


def slowness(compute: Compute) -> str | None:
    """A warning about a half precision for which this machine has no units; None if all is well.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    if compute.precision in ("auto", "fp32"):  # no reason to load torch
        return None
    return slowness_warning(compute.precision, resolve_device(compute.device, "compute.device"))


def mixture(devices: Iterable[str]) -> str | None:
    """A warning about units that were computed in several precisions; None if all is well."""
    found = sorted(precisions_of(devices))
    if len(found) < 2:
        return None
    return (
        f"Warning: units were computed in {' and '.join(found)}, each in what its device has units for, so another run "
        "may give other bytes; set compute.precision"
    )
