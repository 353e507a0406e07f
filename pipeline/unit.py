"""One unit of work, what a worker must know of its build, and what a step is.

A step knows neither the cache nor the clock: the adapter that runs it keeps those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.manifest import BuildManifest, StageName
from pipeline.records import Counts, Receipt, Written
from stages.common import (
    ImageRecord,
    Match,
    Mention,
    Noun,
    Precision,
    Proposal,
    QuarantineRow,
    SampleError,
    device_class,
    digest,
    resolve_device,
    resolve_precision,
    sha256_hex,
)
from stages.images import decode_image

Failures = dict[int, str]
"""Units that could not be done, with the last reason."""


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

    def pixels(self) -> NDArray[np.uint8]:
        """The photo, decoded anew each time so that a unit's memory holds files alone: [H, W, 3] RGB, uint8.

        Raises:
            SampleError: it cannot be decoded.
        """
        return decode_image(self.data)

    def status(self) -> tuple[str, str]:
        """What became of the image (pairs, no_pairs, quarantined), and for no_pairs the reason."""
        if self.quarantined:
            return "quarantined", ""
        if self.matches:
            return "pairs", ""
        if not self.record.captions:
            return "no_pairs", "no_captions"
        if not self.nouns:
            return "no_pairs", "no_nouns"
        if not self.proposals:
            return "no_pairs", "no_proposals"
        reasons = Counter({reason: count for reason, count in self.dropped.items() if reason.startswith("match.")})
        return "no_pairs", min(reasons, key=lambda reason: (-reasons[reason], reason)).removeprefix("match.")


@dataclass(slots=True)
class UnitWork:
    """A unit on its way through the steps.

    Attributes:
        poison_images: ids of images whose process died each time; the first step quarantines them.
        is_probe: a trial of some of the unit's images, which commits nothing.
        seconds, done: what a run took, by stage, and how much it computed or found in the cache; never part of a
            build's bytes.
        devices: stage -> what its model ran on.
        written: the shard and the rows, once they are.
        receipt: once the unit is committed.
    """

    number: int
    key: str
    images: list[ImageWork]
    poison_images: frozenset[str] = frozenset()
    is_probe: bool = False
    quarantine: list[QuarantineRow] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    devices: dict[str, str] = field(default_factory=dict)
    written: tuple[Written, Written] | None = None
    receipt: Receipt | None = None

    def usable(self) -> list[ImageWork]:
        """Images that are not quarantined."""
        return [image for image in self.images if not image.quarantined]

    def images_root(self) -> str:
        """One hash over the hashes of the unit's images."""
        return digest([[image.record.image_id, image.sha256, image.masks_sha256] for image in self.images])

    def counts(self) -> Counts:
        """What came out."""
        statuses = Counter(image.status()[0] for image in self.images)
        return Counts(
            images=len(self.images),
            images_pairs=statuses["pairs"],
            images_no_pairs=statuses["no_pairs"],
            images_quarantined=statuses["quarantined"],
            captions_quarantined=sum(row.item == "caption" for row in self.quarantine),
            pairs=sum(len(image.matches) for image in self.images),
        )

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
        fingerprint: digest of versions of libraries and code, part of every cache key.
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


Content = TypeVar("Content")
Result = TypeVar("Result")
_PASSING = (MemoryError, OSError, TimeoutError)
UNEXPECTED = "unexpected_error"
"""The reason of an error that nobody foresaw; what made it may be gone the next time."""


class Step(ABC):
    """What all steps have.

    Attributes:
        stage: its name in manifests, receipts and quarantine rows.
        computes_on: what its model runs on, e.g. ``cpu AVX2 fp32``; empty without a model.
    """

    stage: ClassVar[StageName]
    computes_on: str = ""


class PlainStep(Step):
    """A step that is done anew each time."""

    @abstractmethod
    def run(self, unit: UnitWork) -> None:
        """Changes the unit in place."""


@dataclass(frozen=True, slots=True)
class Task(Generic[Content]):
    """What is computed at once, and is one entry of the cache.

    Attributes:
        content: what to compute from.
        size: captions, images or regions in it, for the statistics.
        image: the image that an error quarantines; without one, an error is the unit's.
    """

    content: Content
    size: int
    image: ImageWork | None = None


class CachedStep(Step, Generic[Content, Result]):
    """A step that is costly, and whose results depend on nothing but what `identity` and `key` name.

    Attributes:
        kind: of its entries in the cache.
        statistics: names of the numbers computed and found in the cache.
    """

    kind: ClassVar[str]
    statistics: ClassVar[tuple[str, str]]

    @property
    @abstractmethod
    def identity(self) -> list[Any]:
        """All that every result depends on beside libraries and code, as JSON values: configuration, models, device."""

    @abstractmethod
    def tasks(self, unit: UnitWork) -> Iterator[Task[Content]]:
        """What there is to compute for a unit; bad captions are quarantined here."""

    @abstractmethod
    def key(self, content: Content) -> list[Any]:
        """What one result depends on, as JSON values."""

    def prepare(self, content: Content) -> Any:  # noqa: ANN401 - what `compute` takes
        """What `compute` needs beside the content and a thread may make before; SampleError as in `compute`."""

    @abstractmethod
    def compute(self, content: Content, prepared: Any) -> Result:  # noqa: ANN401 - what `prepare` gave
        """The work itself; loads the model the first time."""

    @abstractmethod
    def encode(self, result: Result) -> bytes | None:
        """A result as an entry of the cache; None if it may be another the next time."""

    @abstractmethod
    def decode(self, entry: bytes) -> Result:
        """The result back, equal to what was encoded."""

    @abstractmethod
    def apply(self, content: Content, result: Result) -> None:
        """Writes a result into the unit's images."""

    def finish(self, unit: UnitWork) -> None:
        """What is left to do when all tasks are done."""
        return


@contextmanager
def each_image(unit: UnitWork, image: ImageWork, stage: str) -> Iterator[None]:
    """Within it, an error of one image quarantines that image and nothing else; see `blame`."""
    try:
        yield
    except Exception as error:
        blamed = blame(error)
        unit.quarantine_image(image, stage, blamed.reason, blamed.message)


def blame(error: Exception) -> SampleError:
    """What an error says against its image; one that may pass (memory, storage) is raised: the unit is tried again."""
    if isinstance(error, SampleError):
        return error
    if isinstance(error, _PASSING) or "out of memory" in str(error).lower():
        raise error
    return SampleError(UNEXPECTED, f"{type(error).__name__}: {error}".splitlines()[0][:300])


@dataclass(frozen=True, slots=True)
class Computer:
    """What a model of this process runs on; floats may depend on all of it."""

    device: str
    precision: Precision
    threads: int

    @classmethod
    def of(cls, spec: BuildSpec) -> Computer:
        """That which the manifest asks for.

        Raises:
            UserError: a GPU is asked for, and there is none.
        """
        asked = spec.manifest.compute
        device = resolve_device(asked.device, "compute.device")
        return cls(device, resolve_precision(asked.precision, device), asked.threads)

    def __str__(self) -> str:
        return f"{device_class(self.device)} {self.precision}"

    @property
    def identity(self) -> list[Any]:
        """As JSON values."""
        return [device_class(self.device), self.precision, self.threads]
