"""Scores of a mask classification."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def score(
    top: NDArray[np.int64], labels: NDArray[np.int64], classes: int, seen: NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Top-1, top-5 and mean class accuracy, in percent.

    Args:
        top: [N, K], numbers of the best classes of each region, the best first.
        labels: [N], the right ones.
        classes: how many there are.
        seen: bool [classes], which of them training has met; None for no split.

    Returns:
        ``regions``; ``top1``, ``top5`` over regions; ``mean_class``, the mean over classes with regions of their
        top-1; with `seen` the same for ``seen`` and ``unseen``, and ``harmonic``: the harmonic mean of the two for
        each of the three (Xian et al., CVPR 2017). A part without regions has None.
    """
    first = top[:, 0] == labels
    any_of_five = (top[:, :5] == labels[:, None]).any(axis=1)
    scores = _part(first, any_of_five, labels, classes)
    if seen is None:
        return scores
    parts = {}
    for name, mask in (("seen", seen[labels]), ("unseen", ~seen[labels])):
        parts[name] = _part(first[mask], any_of_five[mask], labels[mask], classes)
    harmonic = {key: _harmonic(parts["seen"][key], parts["unseen"][key]) for key in ("top1", "top5", "mean_class")}
    return {**scores, **parts, "harmonic": harmonic}


def _part(
    first: NDArray[np.bool_], any_of_five: NDArray[np.bool_], labels: NDArray[np.int64], classes: int
) -> dict[str, Any]:
    if not len(labels):
        return {"regions": 0, "top1": None, "top5": None, "mean_class": None}
    regions = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, weights=first, minlength=classes)
    present = regions > 0
    return {
        "regions": len(labels),
        "top1": 100 * float(first.mean()),
        "top5": 100 * float(any_of_five.mean()),
        "mean_class": 100 * float((right[present] / regions[present]).mean()),
    }


def _harmonic(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0
