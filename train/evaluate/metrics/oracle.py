"""Upper bounds of two-stage segmentation: what perfect names, or perfect masks, would give.

Predicted masks that carry `best_labels` show what the masks alone cost; the regions of `regions_of`, labelled by the
system, show what the names alone cost (Liang et al., arXiv 2210.04150, section 1 and figure 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def best_labels(masks: Iterable[NDArray[np.bool_]], truth: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """For each mask the ground-truth class with the most pixels inside it; of equals, the first.

    Most pixels, not the best IoU: it is the label that gives this mask its most right pixels, and a mask that covers a
    part of a large region keeps that region's class.

    Args:
        masks: N of bool [H, W].
        truth: integers [H, W], classes from 0, or -1 where the ground truth is to be ignored.

    Returns:
        int64 [N]; -1 for a mask that is empty or lies on ignored pixels alone.

    Raises:
        ValueError: a mask has another shape or type, or the truth a value below -1.
    """
    shifted = _checked(truth).astype(np.intp) + 1
    labels = []
    for number, mask in enumerate(masks):
        if mask.shape != truth.shape or mask.dtype != np.bool_:
            raise ValueError(f"mask {number}: expected bool {list(truth.shape)}, got {mask.dtype} {list(mask.shape)}")
        pixels = np.bincount(shifted[mask], minlength=2)[1:]
        labels.append(int(pixels.argmax()) if pixels.any() else -1)
    return np.array(labels, np.int64)


def regions_of(truth: NDArray[np.integer[Any]]) -> list[tuple[int, NDArray[np.bool_]]]:
    """(class, its mask as bool [H, W]) for every class in the ground truth, by number; ignored pixels are in none.

    Args:
        truth: integers [H, W], classes from 0, or -1 where the ground truth is to be ignored.

    Raises:
        ValueError: the truth has another shape or type, or a value below -1.
    """
    return [(int(label), truth == label) for label in np.unique(_checked(truth)) if label >= 0]


def _checked(truth: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    if truth.ndim != 2 or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(f"truth: expected integers [H, W], got {truth.dtype} {list(truth.shape)}")
    if truth.min(initial=0) < -1:
        raise ValueError(f"truth: expected values from -1, got {truth.min()}")
    return truth
