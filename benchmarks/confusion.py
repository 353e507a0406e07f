"""Time of counting one label map into a confusion matrix, beside the plainest loop over classes.

    python -m benchmarks.confusion [--pixels 2000000] [--classes 847] [--rounds 3]

Both get the same map of blocks of random classes, a tenth of its pixels ignored, and must give the same IoU of every
class. The loop takes intersection and union of two masks for each class, as many published evaluations do.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import machine
from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.scores import ClassPixels

Labels = NDArray[np.int16]


def maps(pixels: int, classes: int) -> tuple[Labels, Labels]:
    """Prediction and ground truth, about square, in blocks of 8 by 8 pixels of one class; 70 % of blocks are right."""
    rng = np.random.default_rng(0)
    side = round(pixels**0.5 / 8)
    truth = rng.integers(0, classes, (side, side), np.int16)
    prediction = np.where(rng.random((side, side)) < 0.7, truth, rng.integers(0, classes, (side, side), np.int16))
    truth[rng.random((side, side)) < 0.1] = -1
    block = np.ones((8, 8), np.int16)
    return np.kron(prediction, block), np.kron(truth, block)


def by_matrix(prediction: Labels, truth: Labels, classes: int) -> NDArray[np.float64]:
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, truth)
    return ClassPixels.of(matrix).iou


def by_loop(prediction: Labels, truth: Labels, classes: int) -> NDArray[np.float64]:
    counted = truth >= 0
    iou = np.full(classes, np.nan)
    for label in range(classes):
        there, said = truth == label, (prediction == label) & counted
        union = (there | said).sum()
        if union:
            iou[label] = (there & said).sum() / union
    return iou


def peak_mib(count: Callable[[], object]) -> float:
    tracemalloc.start()
    count()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pixels", type=int, default=2_000_000)
    parser.add_argument("--classes", type=int, default=847)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prediction, truth = maps(options.pixels, options.classes)
    print(machine())
    print(f"{truth.shape[1]} x {truth.shape[0]} pixels, {options.classes} classes")
    seconds: dict[str, list[float]] = {"matrix": [], "update alone": [], "loop": []}
    for _ in range(options.rounds):
        matrix = ConfusionMatrix(options.classes)
        start = time.perf_counter()
        matrix.update(prediction, truth)
        seconds["update alone"].append(time.perf_counter() - start)
        found = []
        for label, count in (("matrix", by_matrix), ("loop", by_loop)):
            start = time.perf_counter()
            found.append(count(prediction, truth, options.classes))
            seconds[label].append(time.perf_counter() - start)
        if not np.array_equal(*found, equal_nan=True):
            raise RuntimeError("the two give different IoU")
    for label, each in seconds.items():
        ratio = statistics.median(slow / quick for slow, quick in zip(seconds["loop"], each, strict=True))
        print(f"{label}: {1000 * statistics.median(each):.0f} ms; the loop takes {ratio:.1f} times as long")
    update = peak_mib(lambda: ConfusionMatrix(options.classes).update(prediction, truth))
    print(f"peak memory of matrix and update, beside the maps: {update:.0f} MiB")


if __name__ == "__main__":
    main()
