"""Open-mIoU: scores that give a pixel credit for a class similar to the right one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.scores import ClassPixels


def open_scores(matrix: ConfusionMatrix, similarity: NDArray[np.float64]) -> dict[str, Any]:
    """Open-mIoU and its companions, in percent (Zhou et al., arXiv 2311.03352).

    With n[g, p] pixels of the class g predicted as p, and their similarity s[g, p]:

    - TP[c] = sum over p of n[c, p] s[c, p]: a pixel is right as far as its class resembles the right one;
    - FN[c] = sum over p of n[c, p] (1 - s[c, p]), so TP[c] + FN[c] are the pixels of c, as ever;
    - FP[c] = sum over g of n[g, c] (1 - s[g, c]): credit that a pixel of g got is no fault of c;
    - IoU[c] = TP / (TP + FN + FP), and from these counts all scores as in `segmentation_scores`.

    The formulas are those of the paper's own evaluation code (qqlu/Entity, Open-Metrics/open_semanticseg), which
    divides by the classes with ground truth or prediction; the other denominator, and pixels without a class (similar
    to nothing), are this function's addition. A class is predicted as far as TP + FP > 0. With the identity as
    similarity every score equals, exactly, that of `segmentation_scores` with the same denominator. More similarity
    never lowers a score: it moves pixels from FN to TP and out of FP.

    Args:
        matrix: over C classes.
        similarity: [C, C], rows are ground truth, columns predictions; from 0 to 1, 1 on the diagonal.

    Returns:
        ``open_miou_gt``, ``open_miou_gt_or_predicted``, ``open_fwiou``, ``open_macc``, ``open_pacc``; ``open_iou``: a
        list by class, None where undefined. Without ground truth, scores are None.

    Raises:
        ValueError: the similarity has another shape or other values.
    """
    _check(similarity, matrix.classes)
    counts = matrix.counts.astype(np.float64)
    between = counts[:, :-1]
    right = (between * similarity).sum(axis=1)
    wrongly_predicted = (between * (1 - similarity)).sum(axis=0)
    pixels = ClassPixels(right, counts.sum(axis=1), right + wrongly_predicted)
    scores = {f"open_{key}": value for key, value in {**pixels.miou(), **pixels.over_pixels()}.items()}
    return {**scores, "open_iou": pixels.iou_percent()}


def _check(similarity: NDArray[np.float64], classes: int) -> None:
    if similarity.shape != (classes, classes):
        raise ValueError(f"similarity: expected the shape {[classes, classes]}, got {list(similarity.shape)}")
    if not ((similarity >= 0) & (similarity <= 1)).all():
        raise ValueError("similarity: expected values from 0 to 1")
    if not (np.diagonal(similarity) == 1).all():
        raise ValueError("similarity: expected 1 on the diagonal")
