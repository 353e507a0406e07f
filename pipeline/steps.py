"""The five steps of a unit: read, nouns, proposals, matching; the fifth, shards, is in commit.py."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.cache import Cache
from pipeline.cache_codec import (
    caption_from_json,
    caption_to_json,
    packed,
    proposal_from_json,
    proposal_to_json,
    unpacked,
)
from pipeline.commit import CommitStep
from pipeline.provenance import differences, library_fingerprint, model_hashes
from pipeline.sources.config import ImageReader
from pipeline.unit import BuildSpec, ImageWork, UnitWork, each_image, images_root, timed
from stages.common import (
    Folder,
    Precision,
    SampleError,
    UserError,
    device_class,
    digest,
    identity,
    limit_threads,
    read_file,
    resolve_device,
    resolve_precision,
    sha256_hex,
)
from stages.images import decode_image
from stages.matching import match
from stages.mentions import merge_mentions
from stages.proposals.provided import mask_files
from stages.proposals.refine import CHANGES, refine
from stages.records import CaptionNouns, ImageRecord, Noun, Rle


class Step(Protocol):
    """One step of a unit; changes the unit in place."""

    def run(self, unit: UnitWork) -> None: ...


class LockError(Exception):
    """An image's bytes are not those that the lock recorded."""


def build_steps(spec: BuildSpec, names: tuple[str, ...]) -> list[Step]:
    """Loads what the named steps need, in this process."""
    limit_threads(spec.manifest.compute.threads)
    makers: dict[str, Callable[[BuildSpec], Step]] = {
        "read": ReadStep,
        "nouns": NounStep,
        "proposals": ProposalStep,
        "matching": MatchStep,
        "shards": CommitStep,
    }
    return [makers[name](spec) for name in names]


def check_same(spec: BuildSpec) -> None:
    """Makes sure that this process has the driver's libraries and models.

    Raises:
        UserError: it has not, so that its floats could differ.
    """
    if digest(library_fingerprint()) != spec.fingerprint:
        raise UserError(
            f"{socket.gethostname()}: a worker has other library versions than this command; install the same release "
            "of maskmine on all machines"
        )
    if changed := differences(spec.models, model_hashes(spec.manifest)):
        raise UserError(f"{socket.gethostname()}: a worker sees other model files:\n  " + "\n  ".join(changed))


class ReadStep:
    """Reads, hashes and decodes every image once: what cannot be decoded is quarantined here."""

    def __init__(self, spec: BuildSpec) -> None:
        self._spec = spec
        self._reader = ImageReader(spec.manifest.source)
        self._excluded = set(spec.manifest.source.exclude)

    def run(self, unit: UnitWork) -> None:
        with timed(unit, "read"):
            for image in unit.images:
                with each_image(unit, image, "read"):
                    self._read(image, unit.poison_images)
            self._check_lock(unit)

    def _read(self, image: ImageWork, poison_images: frozenset[str]) -> None:
        record = image.record
        if record.image_id in self._excluded:
            raise SampleError("excluded", "the manifest's source.exclude names it")
        try:
            image.data = self._reader.read(record)
        except FileNotFoundError as error:
            raise SampleError("missing_file", f"there is no file {record.file}") from error
        except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
            raise SampleError("unreadable_file", f"{record.file}: {error.strerror or type(error).__name__}") from error
        image.sha256 = sha256_hex(image.data)
        image.masks_sha256 = _hash_mask_files(record)
        if record.image_id in poison_images:
            raise SampleError("killed_process", "the process that worked on it died each time")
        decode_image(image.data)

    def _check_lock(self, unit: UnitWork) -> None:
        expected = self._spec.expected_images
        if expected is not None and not unit.is_probe and images_root(unit) != expected.get(unit.number):
            named = ", ".join(self._changed(unit)) or f"at least one image of unit {unit.number}"
            raise LockError(f"other bytes than when the lock was written: {named}")

    def _changed(self, unit: UnitWork) -> list[str]:
        """Files of the images that differ, as far as the tables beside the lock tell."""
        tables = Folder(str(self._spec.lock_url).rpartition("/")[0] or ".")
        data = tables.read_or_none("images.parquet")
        if data is None:
            return []
        rows = pyarrow.parquet.read_table(io.BytesIO(data), columns=["image_id", "sha256"]).to_pylist()
        before = {row["image_id"]: row["sha256"] for row in rows}
        return [image.record.file for image in unit.images if before.get(image.record.image_id) != image.sha256]


def _hash_mask_files(record: ImageRecord) -> str:
    """Of the files that the record's masks lie in (panoptic PNGs); empty if they lie in the record itself."""
    files = mask_files(record)
    try:
        contents = [read_file(file) for file in files]
    except FileNotFoundError as error:
        raise SampleError("missing_file", f"there is no file {files[0]}") from error
    return digest([sha256_hex(content) for content in contents]) if files else ""


class NounStep:
    """Finds every image's nouns; bad captions are quarantined one by one."""

    def __init__(self, spec: BuildSpec) -> None:
        self._section = spec.manifest.nouns
        self._cache = Cache(spec.cache_url)
        self._key = [spec.fingerprint, identity(self._section.extractor), model_hashes(spec.manifest)["nouns"]]
        self._extractor: Any = None

    def run(self, unit: UnitWork) -> None:
        with timed(unit, "nouns"):
            asked: list[tuple[ImageWork, int]] = []
            for image in unit.usable():
                asked += [(image, number) for number in self._good_captions(unit, image)]
            found = self._extract([image.record.captions[number] for image, number in asked], unit)
            nouns: dict[int, list[Noun]] = {}
            for (image, number), caption in zip(asked, found, strict=True):
                nouns.setdefault(image.row, []).extend(_renumbered(noun, number) for noun in caption.nouns)
                image.dropped.update(f"noun.{dropped.reason}" for dropped in caption.dropped)
            for image in unit.usable():
                image.nouns = merge_mentions(nouns.get(image.row, []))

    def _good_captions(self, unit: UnitWork, image: ImageWork) -> Iterator[int]:
        most = self._section.max_caption_chars
        for number, caption in enumerate(image.record.captions):
            if not caption.strip():
                unit.quarantine_caption(image, number, "empty_caption", "expected a text")
            elif len(caption) > most:
                what = f"{len(caption)} characters; expected at most {most} (nouns.max_caption_chars)"
                unit.quarantine_caption(image, number, "long_caption", what)
            else:
                yield number

    def _extract(self, captions: list[str], unit: UnitWork) -> list[CaptionNouns]:
        key = digest([*self._key, captions])
        blob = self._cache.get("nouns", key)
        if blob is not None:
            unit.stats["captions_from_cache"] += len(captions)
            return [caption_from_json(values) for values in unpacked(blob)]
        if self._extractor is None:
            from stages.nouns import build_extractor

            self._extractor = build_extractor(self._section.extractor)
        found: list[CaptionNouns] = self._extractor.extract(captions)
        unit.stats["captions_read"] += len(captions)
        self._cache.put("nouns", key, packed([caption_to_json(caption) for caption in found]))
        return found


class ProposalStep:
    """Proposes masks for the images that have nouns, one photo at a time, so that they are cached by content."""

    def __init__(self, spec: BuildSpec) -> None:
        self._manifest = spec.manifest
        self._cache = Cache(spec.cache_url)
        self._device, self._precision = _compute_of(spec)
        self._key = [
            spec.fingerprint,
            identity(spec.manifest.proposals),
            spec.models["proposals"],
            [device_class(self._device), self._precision, spec.manifest.compute.threads],
        ]
        self._proposer: Any = None

    def run(self, unit: UnitWork) -> None:
        unit.devices["proposals"] = f"{device_class(self._device)} {self._precision}"
        with timed(unit, "proposals"):
            for image in unit.usable():
                if image.nouns:
                    with each_image(unit, image, "proposals"):
                        self._propose(unit, image)

    def _propose(self, unit: UnitWork, image: ImageWork) -> None:
        record = image.record
        masks = [[mask.segmentation, mask.label, mask.score, mask.is_crowd] for mask in record.masks]
        key = digest([*self._key, image.sha256, image.masks_sha256, masks, record.mask_size_hw_px])
        blob = self._cache.get("proposals", key)
        if blob is not None:
            unit.stats["images_from_cache"] += 1
            values = unpacked(blob)
        else:
            values = self._compute(image)
            unit.stats["images_segmented"] += 1
            self._cache.put("proposals", key, packed(values))
        image.proposals = [proposal_from_json(value) for value in values["proposals"]]
        drops = {reason: count for reason, count in values["dropped"].items() if reason not in CHANGES}
        image.dropped.update({f"proposal.{reason}": count for reason, count in drops.items()})

    def _compute(self, image: ImageWork) -> dict[str, Any]:
        if self._proposer is None:
            from stages.proposals import build_proposer

            self._proposer = build_proposer(self._manifest.proposals.proposer, self._device, self._precision)
        raw = self._proposer.propose(image.record, decode_image(image.data))
        kept, dropped = refine(raw, self._manifest.proposals.refine)
        return {"proposals": [proposal_to_json(proposal) for proposal in kept], "dropped": dropped}


class MatchStep:
    """Scores every (region, noun) of an image with CLIP and matches them; crops are batched over the unit."""

    def __init__(self, spec: BuildSpec) -> None:
        self._section = spec.manifest.matching
        self._cache = Cache(spec.cache_url)
        self._device, self._precision = _compute_of(spec)
        self._key = [
            spec.fingerprint,
            identity(self._section.clip),
            identity(self._section.regions),
            list(self._section.templates),
            spec.models["matching"],
            [device_class(self._device), self._precision, spec.manifest.compute.threads],
        ]
        self._judge: Any = None

    def run(self, unit: UnitWork) -> None:
        unit.devices["matching"] = f"{device_class(self._device)} {self._precision}"
        with timed(unit, "matching"):
            images = [image for image in unit.usable() if image.nouns and image.proposals]
            for image, scores in zip(images, self._scores(unit, images), strict=True):
                image.scores = scores
            for image in unit.usable():
                self._match(image)

    def _match(self, image: ImageWork) -> None:
        scores = image.scores if image.scores is not None else np.zeros((0, len(image.nouns)), np.float32)
        canonical = [noun.canonical for noun, _ in image.nouns]
        image.matches, dropped = match(scores, canonical, self._section.rules)
        image.dropped.update({f"match.{reason}": count for reason, count in dropped.items()})

    def _scores(self, unit: UnitWork, images: list[ImageWork]) -> list[NDArray[np.float32]]:
        """[R, N] cosines of each image. The unit's images are the key, as they share batches."""
        content = [
            [
                image.sha256,
                [noun.surface for noun, _ in image.nouns],
                [proposal_to_json(p)[0] for p in image.proposals],
            ]
            for image in images
        ]
        key = digest([*self._key, content])
        blob = self._cache.get("scores", key)
        if blob is not None:
            unit.stats["regions_from_cache"] += sum(len(image.proposals) for image in images)
            with np.load(io.BytesIO(blob), allow_pickle=False) as saved:
                return [saved[str(number)] for number in range(len(images))]
        scores = self._compute(images)
        unit.stats["regions_encoded"] += sum(len(image.proposals) for image in images)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {str(number): array for number, array in enumerate(scores)}
        np.savez(buffer, **arrays)
        self._cache.put("scores", key, buffer.getvalue())
        return scores

    def _compute(self, images: list[ImageWork]) -> list[NDArray[np.float32]]:
        import torch

        if self._judge is None:
            from stages.clip import ClipJudge

            section = self._section
            self._judge = ClipJudge(section.clip, section.regions, section.templates, self._device, self._precision)
        features = self._judge.encode_regions(_regions(images))
        scores, start = [], 0
        for image in images:
            regions = features[start : start + len(image.proposals)]
            start += len(image.proposals)
            # One noun at a time: the floats of a pair then do not depend on the image's other nouns.
            columns = [regions @ self._judge.encode_noun(noun.surface) for noun, _ in image.nouns]
            scores.append(torch.stack(columns, dim=1).numpy().astype(np.float32))
        return scores


def _compute_of(spec: BuildSpec) -> tuple[str, Precision]:
    """Device and precision of this process."""
    asked = spec.manifest.compute
    device = resolve_device(asked.device, "compute.device")
    return device, resolve_precision(asked.precision, device)


def _regions(images: list[ImageWork]) -> Iterator[tuple[NDArray[np.uint8], Rle]]:
    for image in images:
        pixels = decode_image(image.data)
        for proposal in image.proposals:
            yield pixels, proposal.rle


def start_unit(
    spec: BuildSpec, number: int, poison_images: frozenset[str], only: frozenset[str] | None = None
) -> UnitWork:
    """A unit as planned, at its beginning; `only` makes it a probe of the images with these ids."""
    from pipeline.plan import read_unit, unit_key

    first = number * spec.manifest.shards.images_per_shard
    records = enumerate(read_unit(Folder(spec.out_url), number), start=first)
    images = [ImageWork(record, row) for row, record in records if only is None or record.image_id in only]
    return UnitWork(number, unit_key(spec.plan_digest, number), images, poison_images, only is not None)


def _renumbered(noun: Noun, number: int) -> Noun:
    return Noun(noun.surface, noun.canonical, number, noun.start, noun.end, noun.rule)
