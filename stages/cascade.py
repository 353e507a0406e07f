"""Naming in two passes: which regions of a photo are worth a forward pass of their own.

Naming a hundred regions takes a hundred forward passes, and few of them decide anything. A cascade looks at all
regions coarsely (`stages.coarse_clip`), and exactly at the few that still matter. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.common import Rle

_SIDE = 48
"""Masks are compared on a grid of so many rows and columns."""
_ALIKE_IOU = 0.6


def first_for_nouns(scores_cosine: NDArray[np.float32], keep: int) -> NDArray[np.int64]:
    """Regions that may be the best one of a noun, from their coarse scores.

    The nouns choose in turns. A noun takes first the regions of which it is the best noun, in the order of the
    proposals, which is that of their quality; then those of which it is least behind the best noun. Of regions that
    CLIP tells alike, the proposer knows better which is whole.

    Args:
        scores_cosine: [R, N] coarse cosines of R regions and N nouns.
        keep: how many to keep.

    Returns:
        int64 [min(keep, R)], ascending; all regions if there is no noun.
    """
    regions, nouns = scores_cosine.shape
    if keep >= regions or not nouns:
        return np.arange(regions)
    behind = scores_cosine.max(axis=1, keepdims=True) - scores_cosine
    choices = np.argsort(behind, axis=0, kind="stable").ravel()  # every noun's first, every noun's second, ...
    _, first = np.unique(choices, return_index=True)
    return np.sort(choices[np.sort(first)[:keep]])


def first_for_pixels(
    rles: Sequence[Rle], weights: NDArray[np.float32], keep: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Regions that have most say in a label map, and whose word the others can take.

    A pixel's say is shared by the masks that cover it, by weight. A region that is much like one of the chosen ones
    (IoU above 0.6, on a grid of 48 x 48) need not be looked at at all.

    Args:
        rles: N masks of one size, none empty.
        weights: float32 [N], what a mask's opinion counts.
        keep: how many to keep.

    Returns:
        Numbers of the regions to look at exactly, int64 [min(keep, N)], most say first; and for every region which of
        these it is or is like, int64 [N]: a place in the first result, or -1.
    """
    if keep >= len(rles):
        return np.arange(len(rles)), np.arange(len(rles))
    covers = np.stack([_coarse(rle) for rle in rles])  # [N, cells], each from 0 to 1
    weighted = covers * weights[:, None]
    say = (weighted / np.maximum(weighted.sum(axis=0), 1e-6)).sum(axis=1)
    chosen = np.argsort(-say, kind="stable")[:keep]
    both, area = covers @ covers[chosen].T, covers.sum(axis=1)
    iou = both / (area[:, None] + area[chosen] - both)
    like = np.where(iou.max(axis=1) > _ALIKE_IOU, iou.argmax(axis=1), -1)
    like[chosen] = np.arange(keep)
    return chosen, like


def _coarse(rle: Rle) -> NDArray[Any]:
    mask = rle.decode().view(np.uint8)
    return cv2.resize(mask.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
