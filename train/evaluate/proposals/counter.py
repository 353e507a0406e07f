"""Recall of class-agnostic masks, counted photo by photo; for an evaluation, and for a trainer's held-out photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from stages.common import Proposal, Rle
from train.evaluate.metrics.average_recall import RecallCounts

MAX_PROPOSALS = (10, 100, 1000)


@dataclass(frozen=True, slots=True)
class TruthMask:
    """A mask of the ground truth.

    Attributes:
        rle: the mask, at the photo's full size.
        name: of its class.
        is_thing: whether it is an object, and not stuff.
        is_crowd: COCO's iscrowd; crowds are no part of any recall.
        area_px: that says whether it is small; of the mask itself if None. COCO's files have that of the polygons.
    """

    rle: Rle
    name: str
    is_thing: bool = True
    is_crowd: bool = False
    area_px: float | None = None


class RecallCounter:
    """Average recall of the proposals of many photos; keeps counts alone, however many photos there are.

    Each part is scored by itself, with all proposals: of ``things``, a proposal that finds stuff is neither right nor
    wrong. Every figure equals that of COCOeval with useCats = 0 on a ground truth that has this part alone.

    Args:
        max_proposals: numbers of proposals of a photo that are looked at, the best first.
        seen: names that training has met; None for no split.
    """

    def __init__(self, max_proposals: Sequence[int] = MAX_PROPOSALS, seen: Collection[str] | None = None) -> None:
        self._limits = tuple(max_proposals)
        self._seen = None if seen is None else frozenset(seen)
        splits = ("",) if seen is None else ("", "_seen", "_unseen")
        names = ["all", *(f"{kind}{split}" for kind in ("things", "stuff") for split in splits)]
        self._parts = {name: RecallCounts(self._limits) for name in names}
        self._names: defaultdict[str, RecallCounts] = defaultdict(lambda: RecallCounts(self._limits))

    def add(self, proposals: Sequence[Proposal], truth: Sequence[TruthMask]) -> None:
        """Adds one photo.

        Args:
            proposals: of the photo, in any order; of equal scores the first is the better.
            truth: its ground truth, possibly none. The order decides only where a proposal overlaps two masks equally.

        Raises:
            ValueError: the masks have different sizes.
        """
        rles = [*(one.rle for one in proposals), *(mask.rle for mask in truth)]
        sizes = {(rle.height, rle.width) for rle in rles}
        if len(sizes) > 1:
            raise ValueError(f"masks of one photo must have one size (height, width), got {sorted(sizes)}")
        counted = [mask for mask in truth if not mask.is_crowd]
        if not counted:
            return
        order = np.argsort([-one.score for one in proposals], kind="stable")[: max(self._limits)]
        ious = _ious([proposals[at].rle for at in order], [mask.rle for mask in counted])
        areas = np.array([mask.rle.area_px if mask.area_px is None else mask.area_px for mask in counted], np.float64)
        members: defaultdict[str, list[int]] = defaultdict(list)
        named: defaultdict[str, list[int]] = defaultdict(list)
        for at, mask in enumerate(counted):
            named[mask.name].append(at)
            for part in self._parts_of(mask):
                members[part].append(at)
        for part, columns in members.items():
            self._parts[part].add(ious[:, columns], areas[columns])
        for name, columns in named.items():
            self._names[name].add(ious[:, columns], areas[columns])

    def _parts_of(self, mask: TruthMask) -> list[str]:
        kind = "things" if mask.is_thing else "stuff"
        if self._seen is None:
            return ["all", kind]
        return ["all", kind, f"{kind}_seen" if mask.name in self._seen else f"{kind}_unseen"]

    def scores(self) -> dict[str, float | None]:
        """Of all parts, as PART/NAME: ``things/ar@100``, ``stuff/recall_50@10``, ``all/masks``.

        Parts are ``all``, ``things`` and ``stuff``; with `seen` also ``things_seen``, ``things_unseen``, ``stuff_seen``
        and ``stuff_unseen``. Names are those of `RecallCounts.scores`: fractions of 1, None where there is no mask.
        """
        return {f"{part}/{name}": value for part, of in self._parts.items() for name, value in of.scores().items()}

    def by_name(self) -> dict[str, dict[str, float | None]]:
        """Name of a class -> `RecallCounts.scores` of its masks alone, in the order of names."""
        return {name: self._names[name].scores() for name in sorted(self._names)}


def _ious(proposals: Sequence[Rle], truth: Sequence[Rle]) -> NDArray[np.float64]:
    """[D, G]; also where there is no proposal."""
    if not proposals:
        return np.zeros((0, len(truth)))
    found = coco_mask.iou([rle.to_coco() for rle in proposals], [rle.to_coco() for rle in truth], [0] * len(truth))
    return np.asarray(found, np.float64)
