"""The build manifest: one typed YAML file that pins a build."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator

from pipeline.sources import SourceConfig
from stages.clip_files import LOCAL_DIR, ClipConfig
from stages.config import Config
from stages.errors import UserError
from stages.matching import MatchRules
from stages.nouns import NounsConfig, SpacyNouns
from stages.proposals import ProposalsConfig
from stages.proposals.refine import MaskRules
from stages.region_rules import RegionRules
from stages.shards import ShardRules

StageName = Literal["read", "nouns", "proposals", "matching", "shards"]
STAGES: tuple[StageName, ...] = ("read", "nouns", "proposals", "matching", "shards")


class ProposalsSection(Config):
    """Where mask proposals come from, and which of them are kept."""

    proposer: ProposalsConfig
    refine: MaskRules = MaskRules()


class NounsSection(Config):
    """How nouns are found.

    Attributes:
        extractor: the rule.
        max_caption_chars: a longer caption is no caption; it is quarantined.
    """

    extractor: NounsConfig = Field(default_factory=SpacyNouns)
    max_caption_chars: int = Field(1000, ge=1)


class MatchingSection(Config):
    """The CLIP that judges, what it is shown, and which pairs are kept.

    Attributes:
        templates: prompts around the noun, each with one ``{}``; embeddings are averaged over them.
    """

    clip: ClipConfig
    regions: RegionRules = RegionRules()
    templates: tuple[str, ...] = ("a photo of a {}.",)
    rules: MatchRules = MatchRules()

    @field_validator("templates")
    @classmethod
    def _one_slot_each(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates or any(template.count("{}") != 1 for template in templates):
            raise ValueError("expected one or more texts with exactly one {} for the noun in each")
        return templates


class Compute(Config):
    """What the floats depend on beside the models.

    Attributes:
        device: ``auto`` takes a GPU where a worker has one.
        precision: of model inference; ``auto`` is fp16 on a GPU and fp32 on a CPU.
        threads: of torch and OpenCV in each process; one a worker scales best, and another number may give
            other floats.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
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
        workers: actors that run all stages, if `pools` is not given; default one a CPU or GPU that Ray has.
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
    cache: str | None = None

    @field_validator("pools")
    @classmethod
    def _all_stages_in_order(cls, pools: tuple[Pool, ...]) -> tuple[Pool, ...]:
        named = tuple(stage for pool in pools for stage in pool.stages)
        if pools and named != STAGES:
            raise ValueError(f"the pools' stages together must be {', '.join(STAGES)}, each once and in this order")
        return pools


class BuildManifest(Config):
    """A build, pinned: source, proposals, nouns, matching, shards, seed.

    Attributes:
        seed: of everything that is drawn: the subset (`source.limit`) and the order of images (`shards.shuffle`).
    """

    version: Literal[1] = 1
    source: SourceConfig
    proposals: ProposalsSection
    nouns: NounsSection = NounsSection()
    matching: MatchingSection
    shards: ShardRules = ShardRules()
    compute: Compute = Compute()
    seed: int = 0
    run: Run = Run()


class _Loader(yaml.SafeLoader):
    """YAML without the silence about a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, value in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=value[0].start_mark)
        return dict(super().construct_mapping(node, deep))


def load_manifest(path: Path, overrides: Sequence[str] = ()) -> BuildManifest:
    """Reads a build manifest.

    Environment variables written as ``${NAME}`` are filled in. Relative locations are relative to the manifest's
    folder.

    Args:
        path: YAML file.
        overrides: ``key.key=value`` settings that take the place of the file's; values are YAML; their relative
            paths are relative to the working directory.

    Raises:
        UserError: naming the file, every wrong key, what was expected and what was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the manifest: {error}") from error
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with the keys source, proposals, matching")
    unset: list[str] = []
    data = _fill(data, path.parent, unset)
    if unset:
        raise UserError(f"{path}: no environment variable has the name that these keys use:\n  " + "\n  ".join(unset))
    for override in overrides:
        _override(data, override)
    return parse_manifest(data, str(path))


def parse_manifest(data: dict[str, Any], name: str) -> BuildManifest:
    """Validates a manifest's values; all errors are reported together.

    Raises:
        UserError: as load_manifest.
    """
    try:
        return TypeAdapter(BuildManifest).validate_python(data)
    except ValidationError as error:
        lines = [f"{name}: {error.error_count()} problem(s) in the manifest:"]
        lines += [f"  {_key(problem['loc'])}: {_words(problem)}" for problem in error.errors(include_url=False)]
        raise UserError("\n".join(lines)) from error


_UNIONS: dict[tuple[int | str, ...], Any] = {
    ("source",): SourceConfig,
    ("proposals", "proposer"): ProposalsConfig,
    ("nouns", "extractor"): NounsConfig,
}


def _key(location: tuple[int | str, ...]) -> str:
    # pydantic puts a union's kind into the location; the manifest has no such key.
    parts = [part for at, part in enumerate(location) if location[:at] not in _UNIONS]
    return ".".join(str(part) for part in parts) or "(top)"


def _words(problem: Any) -> str:  # noqa: ANN401 - pydantic's error details
    kind, found = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return "unknown key; check its spelling, or remove it"
    if kind == "missing":
        return "this key is required"
    if kind == "union_tag_invalid":
        return f"unknown kind {problem['ctx']['tag']!r}; expected one of {problem['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"the key 'kind' is required, one of {_kinds(problem['loc'])}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = re.sub(r"^expected (greater|less)", r"expected a number \1", message)
    if kind in ("model_type", "model_attributes_type"):
        kinds = _kinds(problem["loc"])
        message = f"expected a mapping with a key 'kind', one of {kinds}" if kinds else "expected a mapping"
    if kind == "tuple_type":
        message = "expected a list"
    shown = repr(found) if not isinstance(found, dict) else "a mapping"
    return f"{message} (found {shown if len(shown) <= 80 else shown[:77] + '...'})"


def _kinds(location: tuple[int | str, ...]) -> str:
    """The kinds of the union at a location; empty if there is none."""
    schema = TypeAdapter(_UNIONS[location]).json_schema() if location in _UNIONS else {}
    return ", ".join(f"'{kind}'" for kind in schema.get("discriminator", {}).get("mapping", ()))


_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PATH_KEYS = {"images", "captions", "masks", "panoptic_folder", "path", "root", "shards_url", "cache", "tagger"}


def _fill(value: Any, base: Path, unset: list[str], key: str = "") -> Any:  # noqa: ANN401 - any YAML value
    """Fills in environment variables and makes relative locations relative to `base`; adds to `unset` what it lacks."""
    if isinstance(value, dict):
        return {name: _fill(item, base, unset, f"{key}.{name}" if key else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, base, unset, key) for item in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            unset.append(f"{key}: {found[0]}")
        return os.environ.get(found[1], "")

    return _located(_VARIABLE.sub(variable, value), base, key.rpartition(".")[2])


def _located(value: str, base: Path, key: str) -> str:
    if key in _PATH_KEYS and value != "none" and "://" not in value:
        return str(base / os.path.expanduser(value))
    if key == "model" and value.startswith(LOCAL_DIR):
        return LOCAL_DIR + str(base / os.path.expanduser(value.removeprefix(LOCAL_DIR)))
    if key in ("model", "pretrained") and value.startswith(("./", "../", "~/")):
        return str(base / os.path.expanduser(value))
    return value


def _override(data: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UserError(f"--set {setting}: expected key=value, such as matching.rules.min_score_cosine=0.2")
    *parents, last = key.split(".")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {setting}: {parent!r} is no section of the manifest")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"--set {setting}: the value is not valid YAML: {error}") from error
    unset: list[str] = []
    place[last] = _fill(value, Path.cwd(), unset, key)
    if unset:
        raise UserError(f"--set {setting}: no environment variable has that name")
