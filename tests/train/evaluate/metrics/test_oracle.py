from __future__ import annotations

import numpy as np
import pytest

from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.oracle import best_labels, regions_of

TRUTH = np.array([[3, 3, 3, 3], [3, 3, 0, 0], [-1, -1, -1, 1]])


def mask_of(*pixels: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(TRUTH.shape, np.bool_)
    mask[tuple(np.array(pixels).T)] = True
    return mask


def test_a_mask_gets_the_class_with_most_of_its_pixels_though_another_fits_better() -> None:
    """Three pixels of class 3's six (IoU 3/8) beside both pixels of class 0 (IoU 2/5)."""
    assert best_labels([mask_of((0, 1), (0, 2), (0, 3), (1, 2), (1, 3))], TRUTH).tolist() == [3]


def test_ignored_pixels_have_no_say() -> None:
    assert best_labels([mask_of((2, 0), (2, 1), (2, 2), (2, 3))], TRUTH).tolist() == [1]


def test_masks_without_labelled_pixels_get_none() -> None:
    masks = (mask for mask in (mask_of((2, 0), (2, 1)), np.zeros(TRUTH.shape, np.bool_), mask_of((1, 3))))
    labels = best_labels(masks, TRUTH)
    assert labels.tolist() == [-1, -1, 0]
    assert labels.dtype == np.int64


def test_of_equals_the_first_class_wins() -> None:
    assert best_labels([mask_of((0, 0), (1, 2))], TRUTH).tolist() == [0]


def test_no_masks_give_no_labels() -> None:
    assert best_labels([], TRUTH).shape == (0,)


def test_a_truth_of_bytes_is_not_wrapped() -> None:
    truth = np.full((2, 2), 255, np.uint8)
    assert best_labels([np.ones((2, 2), np.bool_)], truth).tolist() == [255]


def test_regions_are_the_classes_present_and_part_the_labelled_pixels() -> None:
    regions = regions_of(TRUTH)
    assert [label for label, _ in regions] == [0, 1, 3]
    painted = np.full(TRUTH.shape, -1)
    for label, mask in regions:
        assert mask.dtype == np.bool_
        assert (painted[mask] == -1).all()
        painted[mask] = label
    assert np.array_equal(painted, TRUTH)


def test_best_labels_of_true_regions_are_perfect() -> None:
    labels, masks = zip(*regions_of(TRUTH), strict=True)
    assert best_labels(masks, TRUTH).tolist() == list(labels)


def test_no_other_labels_get_more_pixels_right() -> None:
    rng = np.random.default_rng(0)
    truth, parts = rng.integers(-1, 4, (20, 20)), rng.integers(0, 6, (20, 20))
    labels = best_labels([parts == part for part in range(6)], truth)

    def right(chosen: np.ndarray) -> int:
        matrix = ConfusionMatrix(4)
        matrix.update(chosen[parts], truth)
        return int(np.diagonal(matrix.counts).sum())

    assert all(right(rng.integers(0, 4, 6)) <= right(labels) for _ in range(200))


@pytest.mark.parametrize(
    ("mask", "truth", "message"),
    [
        (np.ones((2, 3), np.bool_), TRUTH, "mask 0: expected bool .3, 4., got bool .2, 3."),
        (np.ones(TRUTH.shape, np.uint8), TRUTH, "got uint8"),
        (np.ones(TRUTH.shape, np.bool_), TRUTH - 1, "expected values from -1, got -2"),
        (np.ones(TRUTH.shape, np.bool_), TRUTH.astype(float), "expected integers"),
    ],
)
def test_refuses_wrong_masks_and_truth(mask: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_labels([mask], truth)
