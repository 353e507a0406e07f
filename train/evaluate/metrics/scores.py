"""Scores of a semantic segmentation from its confusion matrix. docs/metrics.md says which papers use which."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.evaluate.metrics.confusion import ConfusionMatrix

MIOU_KEYS = ("miou_gt", "miou_gt_or_predicted")


@dataclass(frozen=True)
class ClassPixels:
    """Pixels by class, float64 [C] each; whole numbers, or fractions where similar classes share a pixel.

    Attributes:
        right: predicted as the class that they are.
        truth: of the class, by the ground truth.
        predicted: predicted as the class.
    """

    right: NDArray[np.float64]
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: ConfusionMatrix) -> ClassPixels:
        counts = matrix.counts.astype(np.float64)
        return cls(np.diagonal(counts).copy(), counts.sum(axis=1), counts[:, :-1].sum(axis=0))

    @property
    def iou(self) -> NDArray[np.float64]:
        """right / (truth + predicted - right); NaN for a class with neither ground truth nor prediction."""
        return _ratio(self.right, self.truth + self.predicted - self.right)

    def miou(self, part: NDArray[np.bool_] | None = None) -> dict[str, float | None]:
        """Both means of `iou` over the classes of `part` (bool [C]; None for all), in percent; None without truth."""
        inside = np.ones(len(self.truth), np.bool_) if part is None else part
        with_truth = inside & (self.truth > 0)
        with_either = inside & (self.truth + self.predicted > 0)
        if not with_truth.any():
            return dict.fromkeys(MIOU_KEYS)
        iou = self.iou
        return {"miou_gt": _percent(iou[with_truth].mean()), "miou_gt_or_predicted": _percent(iou[with_either].mean())}

    def over_pixels(self) -> dict[str, float | None]:
        """``fwiou``, ``macc`` and ``pacc``, in percent; None without ground truth."""
        present = self.truth > 0
        if not present.any():
            return {"fwiou": None, "macc": None, "pacc": None}
        return {
            "fwiou": _percent((self.truth[present] * self.iou[present]).sum() / self.truth.sum()),
            "macc": _percent((self.right[present] / self.truth[present]).mean()),
            "pacc": _percent(self.right.sum() / self.truth.sum()),
        }

    def iou_percent(self) -> list[float | None]:
        """`iou` in percent; None where it is undefined."""
        return [None if np.isnan(value) else _percent(value) for value in self.iou]


def segmentation_scores(
    matrix: ConfusionMatrix, names: Sequence[str], seen: Collection[str] | None = None
) -> dict[str, Any]:
    """Scores in percent; a score that has nothing to go by is None.

    With TP, the pixels of a class that got it; GT, those that have it; P, those with ground truth that got it:

    - IoU of a class = TP / (GT + P - TP). A pixel left without a class is missing from TP, and in GT all the same.
    - ``miou_gt``: the mean IoU of the classes with GT > 0 (detectron2's main branch).
    - ``miou_gt_or_predicted``: of the classes with GT + P > 0 (mmsegmentation, OVSeg's evaluation, torchmetrics); a
      class that is predicted but never there counts as 0.
    - ``fwiou`` = sum of GT / all GT * IoU; ``macc``: the mean of TP / GT of the classes with GT > 0;
      ``pacc`` = sum of TP / sum of GT (Long et al., CVPR 2015, section 5).

    Args:
        matrix: over C classes.
        names: of the C classes, no two the same.
        seen: those of the names that training has met; None for no split.

    Returns:
        the scores above; ``pixels`` that have ground truth, ``pixels_without_class`` among them, ``classes_with_gt``,
        ``classes_with_gt_or_predicted``; ``iou``, of each name, None for a class with neither ground truth nor
        prediction. With `seen` also ``seen`` and ``unseen``, each with ``classes_with_gt`` and both means, and
        ``harmonic``: 2 s u / (s + u) of each mean (Xian et al., CVPR 2017). A part without ground truth has None for
        both means, and so has the harmonic mean then.

    Raises:
        ValueError: names are too many, too few or repeated, or `seen` has one that is not among them.
    """
    if len(names) != matrix.classes or len(set(names)) != len(names):
        raise ValueError(f"names: expected {matrix.classes} different ones, got {len(set(names))} in {len(names)}")
    pixels = ClassPixels.of(matrix)
    scores: dict[str, Any] = {
        **pixels.miou(),
        **pixels.over_pixels(),
        "pixels": int(matrix.counts.sum()),
        "pixels_without_class": int(matrix.counts[:, -1].sum()),
        "classes_with_gt": int((pixels.truth > 0).sum()),
        "classes_with_gt_or_predicted": int((pixels.truth + pixels.predicted > 0).sum()),
        "iou": dict(zip(names, pixels.iou_percent(), strict=True)),
    }
    return scores if seen is None else {**scores, **_split(pixels, names, seen)}


def _split(pixels: ClassPixels, names: Sequence[str], seen: Collection[str]) -> dict[str, Any]:
    unknown = sorted(set(seen) - set(names))
    if unknown:
        raise ValueError(f"seen: expected some of the class names; not among them: {', '.join(unknown)}")
    is_seen = np.array([name in seen for name in names])
    parts = {
        label: {"classes_with_gt": int((part & (pixels.truth > 0)).sum()), **pixels.miou(part)}
        for label, part in (("seen", is_seen), ("unseen", ~is_seen))
    }
    harmonic = {key: _harmonic(parts["seen"][key], parts["unseen"][key]) for key in MIOU_KEYS}
    return {**parts, "harmonic": harmonic}


def _harmonic(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


def _percent(share: float | np.float64) -> float:
    return 100 * float(share)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """part / whole; NaN where `whole` is 0."""
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
