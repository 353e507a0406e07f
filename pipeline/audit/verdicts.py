"""What each pair of an image is worth, against the image's true regions: docs/audit.md, "Pairs"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from pipeline.audit.labels import LEVELS, Labels, Level, is_plural
from pipeline.audit.pairs import Pair
from pipeline.audit.truth import TrueRegion
from stages.common import Rle

IOU_THRESHOLDS = (0.5, 0.75)
LOOSE_IOU = 0.1
"""Least overlap of a mask that is off its region, as in TIDE (Bolya et al. 2020, section 2.2, background threshold)."""


class PairOutcome(IntEnum):
    """Why a pair is right or wrong; every pair has one, at each IoU threshold."""

    RIGHT = 0
    OTHER_CLASS = 1
    LOOSE_MASK = 2
    NO_REGION = 3
    CROWD = 4
    ABSENT = 5
    UNKNOWN = 6


JUDGED = (PairOutcome.RIGHT, PairOutcome.OTHER_CLASS, PairOutcome.LOOSE_MASK, PairOutcome.NO_REGION)
"""Outcomes of the pairs that precision is about."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is found about a pair.

    Attributes:
        iou: [4], by Level: greatest IoU with a region, or for a plural with the union of the regions, whose class
            agrees at that level or a tighter one; 0 without such a region.
        iou_union: the greatest IoU of those is that with a union.
        iou_any: greatest IoU with a region of any class.
        outcomes: [2], for each of IOU_THRESHOLDS.
    """

    iou: tuple[float, ...]
    iou_union: bool
    iou_any: float
    outcomes: tuple[PairOutcome, ...]

    def level(self, iou_threshold: float) -> Level:
        """Tightest level at which the pair is right; NONE if it is not."""
        return next((level for level in LEVELS if self.iou[level] >= iou_threshold), Level.NONE)


@dataclass(slots=True)
class ImageVerdicts:
    """Verdicts of an image's pairs, and what the pairs found.

    Attributes:
        found: [R] Level for each true region, for each of IOU_THRESHOLDS: the tightest level at which a pair has
            found it, NONE for a region that none has. Crowds are not to be found.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    found: tuple[NDArray[np.int8], ...] = ()


class _Image:
    """Overlaps of the image's masks and regions."""

    def __init__(self, masks: Sequence[Rle], regions: Sequence[TrueRegion]) -> None:
        self.regions = [region.rle.to_coco() for region in regions]
        self.masks = [mask.to_coco() for mask in masks]
        self.crowd = np.array([region.is_crowd for region in regions], dtype=bool)
        self.labels = [region.label for region in regions]
        # [M, R]; for a crowd the share of the mask inside of it
        self.overlap: NDArray[np.float64] = np.zeros((len(masks), 0))
        if regions and masks:
            self.overlap = np.asarray(coco_mask.iou(self.masks, self.regions, self.crowd.astype(np.uint8).tolist()))
        self._unions: dict[bytes, Any] = {}

    def with_union(self, mask: int, chosen: NDArray[np.bool_], as_crowd: bool) -> float:
        """IoU of a mask with the union of regions; share of the mask inside of it for a crowd."""
        key = chosen.tobytes()
        if key not in self._unions:
            self._unions[key] = coco_mask.merge([self.regions[number] for number in np.flatnonzero(chosen)])
        return float(coco_mask.iou([self.masks[mask]], [self._unions[key]], [int(as_crowd)])[0, 0])

    def share_inside(self, mask: int, region: int) -> float:
        """Share of a region's pixels that the mask covers."""
        area_px = int(coco_mask.area(self.regions[region]))
        both = coco_mask.merge([self.masks[mask], self.regions[region]], intersect=True)
        return int(coco_mask.area(both)) / area_px if area_px else 0.0


def judge_image(
    pairs: Sequence[Pair], masks: Mapping[str, Rle], regions: Sequence[TrueRegion], labels: Labels
) -> ImageVerdicts:
    """Judges the pairs of one image.

    Args:
        pairs: of the image.
        masks: their masks by mask_id.
        regions: the image's true regions.
        labels: agreement of nouns and classes.
    """
    rows = {mask_id: row for row, mask_id in enumerate(masks)}
    image = _Image(list(masks.values()), regions)
    found = tuple(np.full(len(regions), Level.NONE, np.int8) for _ in IOU_THRESHOLDS)
    result = ImageVerdicts(found=found)
    for pair in pairs:
        classes = labels.agreeing(pair.noun, pair.canonical)
        levels = np.array([classes.get(label, Level.NONE) for label in image.labels], dtype=np.int8)
        plural = is_plural(pair.noun, pair.canonical)
        result.verdicts.append(_judge(image, rows[pair.mask_id], levels, plural, known=bool(classes), found=found))
    return result


def _judge(
    image: _Image, mask: int, levels: NDArray[np.int8], plural: bool, known: bool, found: tuple[NDArray[np.int8], ...]
) -> Verdict:
    overlap = image.overlap[mask]
    alone: list[float] = []
    united: list[float] = []
    for level in LEVELS:
        chosen = (levels <= level) & ~image.crowd
        alone.append(float(overlap[chosen].max(initial=0.0)))
        union = image.with_union(mask, chosen, as_crowd=False) if plural and chosen.sum() > 1 else 0.0
        # A union of more classes may fit worse; a level never takes back what a tighter one gave.
        united.append(max(union, united[-1] if united else 0.0))
        for threshold, reached in zip(IOU_THRESHOLDS, found, strict=True):
            _note_found(image, mask, chosen, level, union >= threshold, threshold, reached)
    iou = tuple(max(pair) for pair in zip(alone, united, strict=True))
    in_crowd = _crowd_share(image, mask, levels, plural)
    agreeing = levels < Level.NONE
    others = float(overlap[~agreeing & ~image.crowd].max(initial=0.0))
    outcomes = tuple(
        _outcome(threshold, iou[-1], in_crowd, others, known, bool(agreeing.any())) for threshold in IOU_THRESHOLDS
    )
    return Verdict(iou, united[-1] > alone[-1], max(alone[-1], others), outcomes)


def _note_found(
    image: _Image,
    mask: int,
    chosen: NDArray[np.bool_],
    level: Level,
    fits_union: bool,
    threshold: float,
    reached: NDArray[np.int8],
) -> None:
    """A region is found by a mask that fits it, or that fits the union it belongs to and covers its own part of it."""
    hits = chosen & (image.overlap[mask] >= threshold)
    if fits_union:
        for number in np.flatnonzero(chosen & ~hits):
            hits[number] = image.share_inside(mask, int(number)) >= threshold
    reached[hits] = np.minimum(reached[hits], level)


def _crowd_share(image: _Image, mask: int, levels: NDArray[np.int8], plural: bool) -> float:
    """Share of the mask inside an agreeing crowd; a plural's mask may also lie on single regions beside it."""
    crowds = (levels < Level.NONE) & image.crowd
    if not crowds.any():
        return 0.0
    if plural:
        return image.with_union(mask, levels < Level.NONE, as_crowd=True)
    return float(image.overlap[mask][crowds].max())


def _outcome(threshold: float, iou: float, in_crowd: float, others: float, known: bool, present: bool) -> PairOutcome:
    if not known:
        return PairOutcome.UNKNOWN
    if not present:
        return PairOutcome.ABSENT
    if iou >= threshold:
        return PairOutcome.RIGHT
    if in_crowd >= threshold:
        return PairOutcome.CROWD
    if others >= threshold:
        return PairOutcome.OTHER_CLASS
    return PairOutcome.LOOSE_MASK if max(iou, in_crowd) >= LOOSE_IOU else PairOutcome.NO_REGION
