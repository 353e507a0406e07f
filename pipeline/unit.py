"""One unit of work on its way through the steps, and what a worker must know of its build."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.manifest import BuildManifest
from pipeline.records import Counts, Receipt, Written
from stages.common import digest, sha256_hex
from stages.mentions import Mention
from stages.records import ImageRecord, Match, Noun, Proposal, QuarantineRow


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
