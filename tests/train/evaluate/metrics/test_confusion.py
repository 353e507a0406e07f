from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from train.evaluate.metrics import confusion
from train.evaluate.metrics.confusion import ConfusionMatrix


def random_maps(classes: int, height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, classes, (height, width)), rng.integers(-1, classes, (height, width))


def test_counts_truth_by_prediction_with_pixels_without_a_class_last() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 1, 1, -1, 0, -1]]), np.array([[0, 0, 1, 1, -1, -1]]))
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 1]]
    assert matrix.counts.dtype == np.int64


def test_equals_a_count_of_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion, "BLOCK_PIXELS", 50)
    prediction, truth = random_maps(4, 37, 23)
    matrix = ConfusionMatrix(4)
    matrix.update(prediction, truth)
    expected = [[((truth == t) & (prediction == p)).sum() for p in (0, 1, 2, 3, -1)] for t in range(4)]
    assert matrix.counts.tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_takes_every_integer_type(dtype: type) -> None:
    prediction, truth = (np.array([[0, 1], [2, 2]], dtype), np.array([[0, 1], [1, 2]], dtype))
    matrix = ConfusionMatrix(3)
    matrix.update(prediction, truth)
    assert matrix.counts.tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]


def test_takes_views_that_are_not_contiguous() -> None:
    prediction, truth = random_maps(5, 20, 30)
    whole, turned = ConfusionMatrix(5), ConfusionMatrix(5)
    whole.update(prediction, truth)
    turned.update(prediction.T[::-1], truth.T[::-1])
    assert np.array_equal(whole.counts, turned.counts)


def test_images_in_any_order_and_split_among_matrices_give_the_same_counts() -> None:
    images = [random_maps(6, 9, 11, seed) for seed in range(4)]
    one, first, second = ConfusionMatrix(6), ConfusionMatrix(6), ConfusionMatrix(6)
    for image in images:
        one.update(*image)
    for image in (images[3], images[0]):
        first.update(*image)
    for image in (images[2], images[1]):
        second.update(*image)
    before = first.counts.copy()
    assert np.array_equal((first + second).counts, one.counts)
    assert np.array_equal(first.counts, before)
    first.merge(second)
    assert np.array_equal(first.counts, one.counts)


def test_goes_on_from_saved_counts() -> None:
    first, second = random_maps(3, 5, 5, 1), random_maps(3, 5, 5, 2)
    whole, part = ConfusionMatrix(3), ConfusionMatrix(3)
    whole.update(*first)
    part.update(*first)
    resumed = ConfusionMatrix.from_counts(part.counts)
    resumed.update(*second)
    whole.update(*second)
    assert np.array_equal(resumed.counts, whole.counts)
    assert part.counts.sum() < resumed.counts.sum()


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([[0, 3]], [[0, 0]], "prediction: expected values from -1 to 2, got 0 to 3"),
        ([[0, -2]], [[0, 0]], "prediction: expected values from -1 to 2, got -2 to 0"),
        ([[0, 0]], [[0, 255]], "truth: expected values from -1 to 2, got 0 to 255"),
        ([[0.0, 1.0]], [[0, 0]], "prediction: expected integers, got float64"),
        ([[0, 0]], [[0], [0]], "one shape; prediction has .1, 2., truth .2, 1."),
        ([0, 0], [0, 0], "two label maps .H, W."),
    ],
)
def test_refuses_wrong_maps_and_keeps_its_counts(prediction: list, truth: list, message: str) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1]]), np.array([[0, 2]]))
    before = matrix.counts.copy()
    with pytest.raises(ValueError, match=message):
        matrix.update(np.array(prediction), np.array(truth))
    assert np.array_equal(matrix.counts, before)


def test_refuses_wrong_counts_and_other_sizes() -> None:
    with pytest.raises(ValueError, match="shape"):
        ConfusionMatrix.from_counts(np.zeros((3, 3), np.int64))
    with pytest.raises(ValueError, match="integers of at least 0"):
        ConfusionMatrix.from_counts(np.full((2, 3), -1))
    with pytest.raises(ValueError, match="integers of at least 0"):
        ConfusionMatrix.from_counts(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="matrix of 2 classes, got 3"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))
    with pytest.raises(ValueError, match="at least 1"):
        ConfusionMatrix(0)


def test_an_empty_map_counts_nothing() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.int64))
    matrix.update(np.zeros((4, 0), np.int64), np.zeros((4, 0), np.int64))
    assert matrix.counts.sum() == 0


def test_memory_stays_bounded_on_a_photo_of_twelve_megapixels_and_847_classes() -> None:
    truth = np.random.default_rng(0).integers(-1, 847, (3000, 4000), np.int16)
    matrix = ConfusionMatrix(847)
    tracemalloc.start()
    matrix.update(truth, truth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20
    assert np.diagonal(matrix.counts).sum() == (truth >= 0).sum() == matrix.counts.sum()
