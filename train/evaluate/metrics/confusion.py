"""Streaming confusion matrix of label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_PIXELS = 1 << 20
"""Pixels counted at a time: the working memory is 8 bytes each, beside two matrices."""


class ConfusionMatrix:
    """How many pixels of each ground-truth class got each predicted class.

    Matrices of different images add up, in any order, to the same counts; so images may be shared out among processes,
    and a run goes on from saved counts.

    Attributes:
        classes: how many there are, C.
        counts: int64 [C, C + 1]; rows are ground truth, columns predictions; the last column holds the pixels that the
            system left without a class.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise ValueError(f"classes: expected at least 1, got {classes}")
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)

    @classmethod
    def from_counts(cls, counts: NDArray[np.integer[Any]]) -> ConfusionMatrix:
        """The matrix that had these `counts`, which are copied.

        Raises:
            ValueError: they are not integers of at least 0 in the shape [C, C + 1].
        """
        if counts.ndim != 2 or counts.shape[1] != counts.shape[0] + 1:
            raise ValueError(f"counts: expected the shape [classes, classes + 1], got {list(counts.shape)}")
        if not np.issubdtype(counts.dtype, np.integer) or counts.min(initial=0) < 0:
            raise ValueError("counts: expected integers of at least 0")
        matrix = cls(len(counts))
        matrix.counts[:] = counts
        return matrix

    def update(self, prediction: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> None:
        """Adds one image; a pixel whose ground truth is ignored counts nowhere, whatever is predicted there.

        Args:
            prediction: integers [H, W], 0 to C - 1, or -1 where the system gives no class.
            truth: integers [H, W], 0 to C - 1, or -1 where the ground truth is to be ignored.

        Raises:
            ValueError: other values or types, or shapes that differ; the counts are then as before.
        """
        if prediction.shape != truth.shape or truth.ndim != 2:
            raise ValueError(
                f"expected two label maps [H, W] of one shape; prediction has {list(prediction.shape)}, "
                f"truth {list(truth.shape)}"
            )
        self._check_values("prediction", prediction)
        self._check_values("truth", truth)
        side = self.classes + 1
        rows = max(1, BLOCK_PIXELS // max(1, truth.shape[1]))
        for start in range(0, len(truth), rows):
            # Shifting both by one gives -1 a row and a column of its own, so that no pixel needs a test.
            cells = truth[start : start + rows].astype(np.intp)
            cells += 1
            cells *= side
            cells += prediction[start : start + rows].astype(np.intp)
            cells += 1
            found = np.bincount(cells.reshape(-1), minlength=side * side).reshape(side, side)
            self.counts[:, :-1] += found[1:, 1:]
            self.counts[:, -1] += found[1:, 0]

    def _check_values(self, name: str, labels: NDArray[np.integer[Any]]) -> None:
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name}: expected integers, got {labels.dtype}")
        if labels.size and (labels.min() < -1 or labels.max() >= self.classes):
            raise ValueError(
                f"{name}: expected values from -1 to {self.classes - 1}, got {labels.min()} to {labels.max()}"
            )

    def merge(self, other: ConfusionMatrix) -> None:
        """Adds the counts of other images.

        Raises:
            ValueError: the other matrix has another number of classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"expected a matrix of {self.classes} classes, got {other.classes}")
        self.counts += other.counts

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        total = ConfusionMatrix.from_counts(self.counts)
        total.merge(other)
        return total
