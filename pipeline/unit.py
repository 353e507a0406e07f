"""One unit of work and the five steps that it goes through. Knows nothing of Ray: a plain loop can call it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.manifest import BuildManifest
from stages.common import SampleError, digest, sha256_hex
from stages.mentions import Mention
from stages.records import ImageRecord, Match, Noun, Proposal, QuarantineRow

_PASSING = (MemoryError, OSError, TimeoutError)


@dataclass(slots=True)
class ImageWork:
    """What the steps have found of one image so far; `quarantined` once it is quarantined."""

    record: ImageRecord
    row: int
    data: bytes = b""
    sha256: str = ""
    masks_sha256: str = ""
    nouns: list[tuple[Noun, list[Mention]]] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    scores: NDArray[np.float32] | None = None
    matches: list[Match] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: bool = False


@dataclass(slots=True)
class UnitWork:
    """A unit on its way through the steps.

    Attributes:
        poison_images: ids of images whose process died each time; the first step quarantines them.
        is_probe: a trial of some of the unit's images, which commits nothing.
        stats: what a run took (seconds a stage, images segmented, cache hits); never part of a build's bytes.
        receipt: set by the last step.
    """

    number: int
    key: str
    images: list[ImageWork]
    poison_images: frozenset[str] = frozenset()
    is_probe: bool = False
    quarantine: list[QuarantineRow] = field(default_factory=list)
    stats: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    receipt: dict[str, Any] | None = None

    def usable(self) -> list[ImageWork]:
        """Images that are not quarantined."""
        return [image for image in self.images if not image.quarantined]

    def quarantine_image(self, image: ImageWork, stage: str, reason: str, message: str) -> None:
        """Quarantines one image, and frees what it held."""
        record = image.record
        self.quarantine.append(
            QuarantineRow(record.image_id, record.file, "image", None, stage, reason, message, image.sha256)
        )
        image.quarantined = True
        image.data, image.nouns, image.proposals, image.matches, image.scores = b"", [], [], [], None

    def quarantine_caption(self, image: ImageWork, number: int, reason: str, message: str) -> None:
        """Quarantines one caption; the image's others go on."""
        record = image.record
        hashed = sha256_hex(record.captions[number].encode("utf-8", "replace"))
        self.quarantine.append(
            QuarantineRow(record.image_id, record.file, "caption", number, "nouns", reason, message, hashed)
        )


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """All that a worker needs to do units of a build: picklable, and the same for all workers.

    Attributes:
        expected_images: unit -> root of the image hashes that a lock demands.
        lock_url: the lock that demands them.
        fingerprint: digest of the library versions, part of every cache key.
        models: hashes of the models' files, as the plan has them.
    """

    manifest: BuildManifest
    plan_digest: str
    out_url: str
    cache_url: str | None
    fingerprint: str
    models: dict[str, dict[str, str]]
    expected_images: dict[int, str] | None = None
    lock_url: str | None = None


@contextmanager
def each_image(unit: UnitWork, image: ImageWork, stage: str) -> Iterator[None]:
    """Within it, an error of one image quarantines that image and nothing else.

    What may pass by itself (memory, storage) is raised, for the runner to try the unit again.
    """
    try:
        yield
    except SampleError as error:
        unit.quarantine_image(image, stage, error.reason, error.message)
    except _PASSING:
        raise
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise
        message = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        unit.quarantine_image(image, stage, "unexpected_error", message)


@contextmanager
def timed(unit: UnitWork, stage: str) -> Iterator[None]:
    """Adds the wall seconds of a block to a unit's stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        unit.seconds[stage] = unit.seconds.get(stage, 0.0) + time.perf_counter() - start


def images_root(unit: UnitWork) -> str:
    """One hash over the hashes of a unit's images."""
    return digest([[image.record.image_id, image.sha256, image.masks_sha256] for image in unit.images])


def status_of(image: ImageWork) -> tuple[str, str]:
    """What became of an image (pairs, no_pairs, quarantined), and for no_pairs the reason."""
    if image.quarantined:
        return "quarantined", ""
    if image.matches:
        return "pairs", ""
    if not image.record.captions:
        return "no_pairs", "no_captions"
    if not image.nouns:
        return "no_pairs", "no_nouns"
    if not image.proposals:
        return "no_pairs", "no_proposals"
    reasons = Counter({reason: count for reason, count in image.dropped.items() if reason.startswith("match.")})
    return "no_pairs", min(reasons, key=lambda reason: (-reasons[reason], reason)).removeprefix("match.")
