"""Proposals of all photos of a ground truth, and how many of its masks they find."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from stages.common import (
    DOES_NOT_COUNT,
    AskedPrecision,
    Device,
    ImageRecord,
    Manifest,
    Name,
    Proposal,
    SampleError,
    SourceMask,
    UserError,
    limit_threads,
    resolve_device,
    resolve_precision,
)
from stages.proposals import (
    GroundTruthProposals,
    MaskRules,
    PrecomputedProposals,
    ProposalsConfig,
    build_proposer,
    propose,
    read_precomputed,
    refine,
)
from stages.proposals.coco_truth import LeftOut, TruthFile, TruthImage
from train.evaluate.proposals.counter import MAX_PROPOSALS, RecallCounter, TruthMask
from train.evaluate.proposals.truth import MaskTruth, TruthSet


class ProposalsManifest(Manifest):
    """Which masks are scored on which photos.

    Attributes:
        truth: photos with their true masks.
        proposer: any kind of mask proposals; `ground_truth` gives the bound, the true masks themselves.
        rules: how the masks are cleaned before they are scored, as in mining; as they are if not given.
        max_proposals: numbers of masks of a photo that are looked at, the best scores first.
        seen: names that training has met, for the seen / unseen split; none if not given.
        limit: at most so many photos, the first ones.
        device: of a model; `auto` takes a GPU where there is one.
        precision: autocast of a model, as a segmenter's.
        threads: of a processor; the libraries' own number if not given.
    """

    kind: Literal["proposals"]
    truth: MaskTruth
    proposer: ProposalsConfig
    rules: MaskRules | None = None
    max_proposals: tuple[Annotated[int, Field(ge=1)], ...] = Field(MAX_PROPOSALS, min_length=1)
    seen: Annotated[tuple[Name, ...] | None, DOES_NOT_COUNT] = None
    limit: int | None = Field(None, ge=1)
    device: Annotated[Device, DOES_NOT_COUNT] = "auto"
    precision: AskedPrecision = "auto"
    threads: Annotated[int | None, DOES_NOT_COUNT] = Field(None, ge=1)

    @field_validator("max_proposals")
    @classmethod
    def _each_once(cls, limits: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(limits)) < len(limits):
            raise ValueError(f"expected each number once, got {list(limits)}")
        return tuple(sorted(limits))


def evaluate_proposals(
    manifest: ProposalsManifest, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Proposes masks for all photos and counts which true masks they find.

    Args:
        manifest: which masks, on which photos.
        progress: called with the photos done so far and their number.

    Returns:
        `RecallCounter.scores`; ``names``, `RecallCounter.by_name`, with `seen` also whether training has met the name;
        ``photos``, ``photos_without_truth`` among them, for which no mask is proposed; ``proposals_per_photo``, and
        ``photos_per_second``, of the proposer and the rules alone, over the other photos; ``left_out``, how many
        entries of the truth cannot be used, by reason, and ``notes`` of them and of given masks.

    Raises:
        UserError: the photos, their masks, or the model cannot be read or used, or no photo has a mask.
    """
    truth = TruthSet(manifest.truth, manifest.limit)
    if unknown := sorted(set(manifest.seen or ()) - set(truth.names)):
        raise UserError(f"seen: {unknown[0]!r} is none of the {len(truth.names)} names of the truth; remove or mend it")
    photos = [photo for photo in truth.photos if truth.has_masks(photo)]
    if not photos:
        raise UserError(
            f"truth: none of the {len(truth.photos):,} photos has a mask; expected annotations of these photos"
        )
    proposer = _Proposals(manifest, photos)
    counter = RecallCounter(manifest.max_proposals, manifest.seen)
    for number, photo in enumerate(photos, start=1):
        image = truth.picture(photo)
        masks = truth.masks(photo, *image.shape[:2])
        counter.add(proposer.of(photo, truth.file(photo), image, masks), masks)
        if progress is not None:
            progress(number, len(photos))
    names: dict[str, dict[str, Any]] = dict(counter.by_name())
    if manifest.seen is not None:
        names = {name: {"seen": name in manifest.seen, **scores} for name, scores in names.items()}
    return {
        "photos": len(truth.photos),
        "photos_without_truth": len(truth.photos) - len(photos),
        "proposals_per_photo": proposer.count / len(photos),
        "photos_per_second": len(photos) / proposer.seconds,
        "left_out": dict(truth.left_out.reasons),
        "notes": [*truth.left_out.sentences(), *proposer.left_out.sentences("the masks to be scored")],
        **counter.scores(),
        "names": names,
    }


class _Proposals:
    """What is scored, and how long it took.

    Attributes:
        count: of all masks so far.
        seconds: that they took.
        left_out: what of given masks cannot be used.

    Raises:
        UserError: the model or the file of masks cannot be used.
    """

    def __init__(self, manifest: ProposalsManifest, photos: list[TruthImage]) -> None:
        config = manifest.proposer
        if manifest.threads is not None:
            limit_threads(manifest.threads)
        device = resolve_device(manifest.device)
        self._proposer = build_proposer(config, device, resolve_precision(manifest.precision, device))
        self._rules = manifest.rules
        self._is_truth = isinstance(config, GroundTruthProposals)
        self.left_out = LeftOut()
        self._given = None
        if isinstance(config, PrecomputedProposals):
            self._given = _given_masks(config, photos, self.left_out)
        self.count, self.seconds = 0, 0.0

    def of(self, photo: TruthImage, file: str, image: NDArray[np.uint8], truth: list[TruthMask]) -> list[Proposal]:
        """Those of a photo [H, W, 3], which lies in `file`.

        Raises:
            UserError: it cannot be given masks.
        """
        start = time.perf_counter()
        whose = self._given.path if self._given else file
        try:
            record = ImageRecord(photo.image_id, file, (), masks=self._masks(photo, truth))
            found, bad = propose(self._proposer, record, image)
        except SampleError as error:
            raise UserError(
                f"{whose}: image {photo.image_id}: {error.message}; mend the masks, or leave the photo out"
            ) from error
        for mask in bad:
            self.left_out.add("annotation", whose, mask.reason, mask.message, photo.image_id)
        if self._rules is not None:
            found, _ = refine(found, self._rules)
        self.seconds += time.perf_counter() - start
        self.count += len(found)
        return found

    def _masks(self, photo: TruthImage, truth: list[TruthMask]) -> tuple[SourceMask, ...]:
        """What comes with the photo for proposers that take it from there."""
        if self._is_truth:
            return tuple(SourceMask(mask.rle.to_coco(), mask.name, 1.0, mask.is_crowd) for mask in truth)
        if self._given is None:
            return ()
        rows = self._given.masks_of(photo.image_id).to_pylist()
        return tuple(SourceMask(row["segmentation"], row["label"], row["score"]) for row in rows)


def _given_masks(config: PrecomputedProposals, photos: list[TruthImage], left_out: LeftOut) -> TruthFile:
    given = TruthFile(config.path, read_precomputed(config.path, left_out), left_out)
    example = given.masks["image_id"][0].as_py() if len(given.masks) else None
    given.group({photo.image_id for photo in photos})
    if not len(given.masks):
        raise UserError(
            f"{config.path}: has no mask of the {len(photos):,} photos; expected image ids of the truth, such as "
            f"{photos[0].image_id!r}, found {example!r}"
        )
    return given
