"""Average recall of class-agnostic masks, as pycocotools' COCOeval has it with useCats = 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""COCO's: made as COCOeval makes them, since 0.5 + 0.05 * n differs in the last digit."""
AREAS_PX: dict[str, tuple[float, float]] = {
    "": (0.0, 1e10),
    "_small": (0.0, 32.0**2),
    "_medium": (32.0**2, 96.0**2),
    "_large": (96.0**2, 1e10),
}
"""Ending of a score's name -> areas in pixels, both ends included: a mask of 1,024 pixels is small and medium."""
NOT_FOUND = np.iinfo(np.int64).max
_AT = {"recall_50": 0, "recall_75": 5}


def ranks_of_finders(ious: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which proposal finds each mask of a photo, at each threshold.

    Down the ranking every proposal takes the mask that it overlaps most, among those that no better proposal has taken;
    of equals, the last. So a mask may be left to a worse proposal, or to none.

    Args:
        ious: [D, G], of D proposals, best score first, with G masks of the ground truth.

    Returns:
        int64 [T, G] for T = len(IOU_THRESHOLDS): the proposal's place from 0, or NOT_FOUND.
    """
    masks = ious.shape[1]
    ranks = np.full((len(IOU_THRESHOLDS), masks), NOT_FOUND, np.int64)
    if not ious.size:
        return ranks
    at = np.arange(len(IOU_THRESHOLDS))
    for rank in np.flatnonzero(ious.max(axis=1) >= IOU_THRESHOLDS[0]):
        row = ious[rank]
        fits = (ranks == NOT_FOUND) & (row >= IOU_THRESHOLDS[:, None])  # [T, G]
        best = masks - 1 - np.where(fits, row, -1.0)[:, ::-1].argmax(axis=1)  # [T], the last of equals
        hit = fits[at, best]
        ranks[at[hit], best[hit]] = rank
    return ranks


class RecallCounts:
    """How many masks of the ground truth are found, by size, threshold and number of proposals.

    Recall asks only whether a mask is found, so that masks that COCOeval ignores (crowds, and those of another size)
    are left out: a proposal goes to an ignored mask only where no other is left for it.

    Args:
        max_proposals: numbers of proposals of a photo that are looked at, the best first.
    """

    def __init__(self, max_proposals: Sequence[int]) -> None:
        self._limits = np.array(max_proposals, np.int64)
        self._found = np.zeros((len(AREAS_PX), len(self._limits), len(IOU_THRESHOLDS)), np.int64)
        self._masks = np.zeros(len(AREAS_PX), np.int64)

    def add(self, ious: NDArray[np.float64], areas_px: NDArray[np.float64]) -> None:
        """Adds one photo.

        Args:
            ious: [D, G], of D proposals, best score first, with G masks of the ground truth.
            areas_px: [G], of the masks.
        """
        for at, (least, most) in enumerate(AREAS_PX.values()):
            inside = (areas_px >= least) & (areas_px <= most)
            if inside.any():
                ranks = ranks_of_finders(ious[:, inside])
                self._found[at] += (ranks < self._limits[:, None, None]).sum(axis=2)
                self._masks[at] += inside.sum()

    def scores(self) -> dict[str, float | None]:
        """``masks``, their number, and for each limit N fractions of 1, None where there is no mask.

        ``recall_50@N``, ``recall_75@N``: masks found at IoU 0.5 and 0.75; ``ar@N``: the mean recall over all
        thresholds; ``ar_small@N``, ``ar_medium@N``, ``ar_large@N``: the same of masks of that size.
        """
        scores: dict[str, float | None] = {"masks": int(self._masks[0])}
        for limit, found in zip(self._limits.tolist(), self._found.transpose(1, 0, 2), strict=True):  # [A, T] each
            for name, at in _AT.items():
                scores[f"{name}@{limit}"] = float(found[0, at] / self._masks[0]) if self._masks[0] else None
            for ending, row, masks in zip(AREAS_PX, found, self._masks, strict=True):
                scores[f"ar{ending}@{limit}"] = float((row / masks).mean()) if masks else None
        return scores
