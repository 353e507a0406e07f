from __future__ import annotations

import numpy as np
import pytest

from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.open_scores import open_scores
from train.evaluate.metrics.scores import segmentation_scores

KEYS = ("miou_gt", "miou_gt_or_predicted", "fwiou", "macc", "pacc")


def random_matrix(classes: int, seed: int) -> ConfusionMatrix:
    """Some classes without ground truth, some without prediction, some without both, some pixels without a class."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 1000, (classes, classes + 1)) * (rng.random((classes, classes + 1)) < 0.4)
    counts[rng.random(classes) < 0.2] = 0
    counts[:, :-1][:, rng.random(classes) < 0.2] = 0
    return ConfusionMatrix.from_counts(counts)


def random_similarity(classes: int, seed: int) -> np.ndarray:
    similarity = np.random.default_rng(seed).random((classes, classes))
    np.fill_diagonal(similarity, 1)
    return similarity


@pytest.mark.parametrize("seed", range(10))
def test_identity_gives_exactly_the_closed_scores(seed: int) -> None:
    matrix = random_matrix(12, seed)
    closed = segmentation_scores(matrix, [str(label) for label in range(12)])
    opened = open_scores(matrix, np.eye(12))
    assert {key: opened[f"open_{key}"] for key in KEYS} == {key: closed[key] for key in KEYS}
    assert opened["open_iou"] == list(closed["iou"].values())


def test_partial_similarity_worked_by_hand() -> None:
    """Sofa 10 pixels: 6 right, 3 armchair, 1 without a class. Armchair 4: all right. Sofa and armchair are 2/3 alike.

    Sofa: TP 6 + 3 * 2/3 = 8, FN 3 * 1/3 + 1 = 2, FP 0: 8/10. Armchair: TP 4, FN 0, FP 3 * 1/3 = 1: 4/5.
    """
    matrix = ConfusionMatrix.from_counts(np.array([[6, 3, 1], [0, 4, 0]]))
    scores = open_scores(matrix, np.array([[1, 2 / 3], [2 / 3, 1]]))
    assert scores["open_iou"] == pytest.approx([80, 80])
    assert scores["open_miou_gt"] == scores["open_miou_gt_or_predicted"] == pytest.approx(80)
    assert scores["open_fwiou"] == pytest.approx(80)
    assert scores["open_macc"] == pytest.approx((80 + 100) / 2)
    assert scores["open_pacc"] == pytest.approx(100 * 12 / 14)


def test_similarity_is_of_truth_to_prediction() -> None:
    matrix = ConfusionMatrix.from_counts(np.array([[0, 5, 0], [0, 5, 0]]))
    assert open_scores(matrix, np.array([[1, 0.5], [0, 1]]))["open_iou"] == pytest.approx([50, 100 * 5 / 7.5])
    assert open_scores(matrix, np.array([[1, 0], [0.5, 1]]))["open_iou"] == pytest.approx([0, 50])


def test_a_class_never_there_counts_in_the_second_mean_until_it_equals_the_true_one() -> None:
    matrix = ConfusionMatrix.from_counts(np.array([[5, 5, 0], [0, 0, 0]]))
    half = open_scores(matrix, np.array([[1, 0.5], [0.5, 1]]))
    assert (half["open_miou_gt"], half["open_miou_gt_or_predicted"]) == pytest.approx((75, 37.5))
    same = open_scores(matrix, np.ones((2, 2)))
    assert (same["open_miou_gt"], same["open_miou_gt_or_predicted"]) == (100, 100)


@pytest.mark.parametrize("seed", range(20))
def test_more_similarity_never_lowers_a_score(seed: int) -> None:
    matrix, similarity = random_matrix(9, seed), random_similarity(9, seed)
    more = similarity + (1 - similarity) * np.random.default_rng(seed + 1).random(similarity.shape)
    np.fill_diagonal(more, 1)
    low, high = open_scores(matrix, similarity), open_scores(matrix, more)
    for key in KEYS:
        assert high[f"open_{key}"] >= low[f"open_{key}"]
    for before, after in zip(low["open_iou"], high["open_iou"], strict=True):
        assert before is None or after is None or after >= before


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_softened_matrix_of_the_published_code(seed: int) -> None:
    """The published evaluation keeps rows for predictions and softens the matrix in place of counting TP, FP, FN."""
    matrix, similarity = random_matrix(9, seed), random_similarity(9, seed)
    matrix.counts[:, -1] = 0  # it has no pixels without a class
    softened = matrix.counts[:, :-1].T * (1 - similarity.T)
    np.fill_diagonal(softened, (matrix.counts[:, :-1] * similarity).sum(axis=1))
    right, truth, predicted = np.diagonal(softened), softened.sum(axis=0), softened.sum(axis=1)
    present = truth > 0
    iou = right[present] / (truth + predicted - right)[present]
    scores = open_scores(matrix, similarity)
    assert scores["open_miou_gt_or_predicted"] == pytest.approx(100 * iou.sum() / (truth + predicted > 0).sum())
    assert scores["open_fwiou"] == pytest.approx(100 * (iou * truth[present] / truth.sum()).sum())
    assert scores["open_pacc"] == pytest.approx(100 * right.sum() / truth.sum())


def test_pixels_without_a_class_get_no_credit() -> None:
    matrix = ConfusionMatrix.from_counts(np.array([[0, 0, 8], [0, 0, 0]]))
    assert open_scores(matrix, np.ones((2, 2)))["open_miou_gt"] == 0


def test_nothing_counted_gives_none() -> None:
    scores = open_scores(ConfusionMatrix(1), np.eye(1))
    assert scores == {**{f"open_{key}": None for key in KEYS}, "open_iou": [None]}


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (np.eye(3), "shape .2, 2."),
        (np.array([[1, 1.5], [0, 1]]), "from 0 to 1"),
        (np.array([[1, np.nan], [0, 1]]), "from 0 to 1"),
        (np.array([[0.5, 0], [0, 1]]), "diagonal"),
    ],
)
def test_refuses_what_is_no_similarity(similarity: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_scores(ConfusionMatrix(2), similarity)
