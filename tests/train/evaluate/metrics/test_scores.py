from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.scores import segmentation_scores

NAMES = ["wall", "sky", "tree", "boat"]
TRUTH = np.array([[0, 0, 0, 0], [1, 1, 1, -1], [2, 2, -1, -1]])
PREDICTION = np.array([[0, 0, 1, 3], [1, 1, 1, 1], [2, 0, 0, -1]])
"""Right: wall 2 of 4, sky 3 of 3, tree 1 of 2. Predicted where truth is: wall 3, sky 4, tree 1, boat 1.
IoU: wall 2/5, sky 3/4, tree 1/2, boat 0/1."""


def matrix_of(prediction: np.ndarray, truth: np.ndarray, classes: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, truth)
    return matrix


def test_small_case_worked_by_hand() -> None:
    scores = segmentation_scores(matrix_of(PREDICTION, TRUTH, 4), NAMES)
    assert scores["iou"] == pytest.approx({"wall": 40, "sky": 75, "tree": 50, "boat": 0})
    assert scores["miou_gt"] == pytest.approx((40 + 75 + 50) / 3)
    assert scores["miou_gt_or_predicted"] == pytest.approx((40 + 75 + 50 + 0) / 4)
    assert scores["fwiou"] == pytest.approx((4 * 40 + 3 * 75 + 2 * 50) / 9)
    assert scores["macc"] == pytest.approx((50 + 100 + 50) / 3)
    assert scores["pacc"] == pytest.approx(100 * 6 / 9)
    assert (scores["pixels"], scores["pixels_without_class"]) == (9, 0)
    assert (scores["classes_with_gt"], scores["classes_with_gt_or_predicted"]) == (3, 4)


def test_equals_the_areas_of_mmsegmentation() -> None:
    """mmsegmentation leaves ignored pixels out of both maps, takes areas, and means with nanmean."""
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(-1, 5, (40, 30)), rng.integers(0, 7, (40, 30))
    kept_truth, kept_prediction = truth[truth >= 0], prediction[truth >= 0]
    label = np.array([(kept_truth == c).sum() for c in range(8)], float)
    predicted = np.array([(kept_prediction == c).sum() for c in range(8)], float)
    intersect = np.array([((kept_truth == c) & (kept_prediction == c)).sum() for c in range(8)], float)
    with np.errstate(invalid="ignore"):
        iou, accuracy = intersect / (label + predicted - intersect), intersect / label
    scores = segmentation_scores(matrix_of(prediction, truth, 8), [str(c) for c in range(8)])
    assert scores["miou_gt_or_predicted"] == pytest.approx(100 * np.nanmean(iou))
    assert scores["macc"] == pytest.approx(100 * np.nanmean(accuracy))
    assert scores["pacc"] == pytest.approx(100 * intersect.sum() / label.sum())
    assert scores["iou"]["7"] is None
    assert scores["iou"]["6"] == 0


def torch_scores(prediction: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, float]:
    """The independent implementation's figures, in percent."""
    maps = (torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    options = {"num_classes": classes, "ignore_index": -1}
    return {
        "miou_gt_or_predicted": 100 * multiclass_jaccard_index(*maps, average="macro", **options).item(),
        "pacc": 100 * multiclass_accuracy(*maps, average="micro", **options).item(),
        "fwiou": 100 * multiclass_jaccard_index(*maps, average="weighted", **options).item(),
    }


@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (19, 1), (150, 2), (847, 3)])
def test_agrees_with_torchmetrics_on_random_maps(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, classes, (120, 90))
    prediction = np.where(rng.random(truth.shape) < 0.6, np.maximum(truth, 0), rng.integers(0, classes, truth.shape))
    truth[truth == 1] = -1  # a class that is predicted and never there
    matrix = matrix_of(prediction, truth, classes)
    scores = segmentation_scores(matrix, [str(label) for label in range(classes)])
    assert {key: scores[key] for key in ("miou_gt_or_predicted", "pacc", "fwiou")} == pytest.approx(
        torch_scores(prediction, truth, classes), rel=1e-5
    )
    maps = (torch.from_numpy(prediction), torch.from_numpy(truth))
    counts = multiclass_confusion_matrix(*maps, num_classes=classes, ignore_index=-1)
    assert np.array_equal(matrix.counts[:, :-1], counts.numpy())
    present = counts.sum(dim=1) > 0
    accuracy = multiclass_accuracy(*maps, num_classes=classes, ignore_index=-1, average="none")[present]
    assert scores["macc"] == pytest.approx(100 * accuracy.mean().item(), rel=1e-5)
    iou = multiclass_jaccard_index(*maps, num_classes=classes, ignore_index=-1, average="none")[present]
    assert scores["miou_gt"] == pytest.approx(100 * iou.mean().item(), rel=1e-5)


@pytest.mark.parametrize(("shift", "perfect"), [(0, True), (25, False)])
def test_agrees_with_torchmetrics_on_the_predictions_of_ade20k(shift: int, perfect: bool, shared_data: Path) -> None:
    """The sample's predictions are its annotations; moved aside they are wrong in places."""
    folder = shared_data / "ade20k-sample" / "sampleData"
    matrix, flat = ConfusionMatrix(150), []
    for file in sorted((folder / "predictions").glob("*.png")):
        maps = (np.array(Image.open(path)) for path in (file, folder / "annotations" / file.name))
        prediction, truth = (labels.astype(np.int64) - 1 for labels in maps)
        prediction = np.roll(prediction, shift, axis=1)
        prediction[(prediction < 0) & (truth >= 0)] = 149
        matrix.update(prediction, truth)
        flat.append((prediction.reshape(-1), truth.reshape(-1)))
    scores = segmentation_scores(matrix, [str(label) for label in range(150)])
    expected = torch_scores(*(np.concatenate(side) for side in zip(*flat, strict=True)), classes=150)
    assert {key: scores[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert (scores["miou_gt"] == 100) == perfect
    assert (scores["miou_gt"] == scores["miou_gt_or_predicted"]) == perfect


def test_perfect_labels_give_100() -> None:
    scores = segmentation_scores(matrix_of(np.maximum(TRUTH, 0), TRUTH, 4), NAMES, seen=["wall", "sky"])
    for key in ("miou_gt", "miou_gt_or_predicted", "fwiou", "macc", "pacc"):
        assert scores[key] == 100
    assert scores["iou"] == {"wall": 100, "sky": 100, "tree": 100, "boat": None}
    assert scores["harmonic"] == {"miou_gt": 100, "miou_gt_or_predicted": 100}


def test_a_pixel_left_without_a_class_is_wrong_but_blames_no_class() -> None:
    scores = segmentation_scores(matrix_of(np.array([[0, -1, 1, 1]]), np.array([[0, 0, 1, 1]]), 2), ["a", "b"])
    assert scores["iou"] == {"a": 50, "b": 100}
    assert (scores["pacc"], scores["pixels"], scores["pixels_without_class"]) == (75, 4, 1)


def test_splits_into_seen_and_unseen_with_their_harmonic_mean() -> None:
    scores = segmentation_scores(matrix_of(PREDICTION, TRUTH, 4), NAMES, seen={"wall", "sky"})
    assert scores["seen"] == pytest.approx({"classes_with_gt": 2, "miou_gt": 57.5, "miou_gt_or_predicted": 57.5})
    assert scores["unseen"] == pytest.approx({"classes_with_gt": 1, "miou_gt": 50, "miou_gt_or_predicted": 25})
    assert scores["harmonic"]["miou_gt"] == pytest.approx(2 * 57.5 * 50 / 107.5)
    assert scores["harmonic"]["miou_gt_or_predicted"] == pytest.approx(2 * 57.5 * 25 / 82.5)


def test_a_part_without_ground_truth_has_no_mean_even_if_it_is_predicted() -> None:
    scores = segmentation_scores(matrix_of(PREDICTION, TRUTH, 4), NAMES, seen=["wall", "sky", "tree"])
    assert scores["unseen"] == {"classes_with_gt": 0, "miou_gt": None, "miou_gt_or_predicted": None}
    assert scores["harmonic"] == {"miou_gt": None, "miou_gt_or_predicted": None}
    assert scores["seen"]["miou_gt"] == pytest.approx(scores["miou_gt"])


def test_harmonic_mean_of_two_zeros_is_zero() -> None:
    scores = segmentation_scores(matrix_of(np.array([[1, 0]]), np.array([[0, 1]]), 2), ["a", "b"], seen=["a"])
    assert scores["harmonic"] == {"miou_gt": 0, "miou_gt_or_predicted": 0}


def test_nothing_counted_gives_none() -> None:
    scores = segmentation_scores(ConfusionMatrix(2), ["a", "b"], seen=[])
    assert [scores[key] for key in ("miou_gt", "miou_gt_or_predicted", "fwiou", "macc", "pacc")] == [None] * 5
    assert scores["iou"] == {"a": None, "b": None}
    assert scores["pixels"] == scores["classes_with_gt"] == 0


def test_refuses_names_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected 2 different ones"):
        segmentation_scores(ConfusionMatrix(2), ["a"])
    with pytest.raises(ValueError, match="expected 2 different ones"):
        segmentation_scores(ConfusionMatrix(2), ["a", "a"])
    with pytest.raises(ValueError, match="not among them: c"):
        segmentation_scores(ConfusionMatrix(2), ["a", "b"], seen=["a", "c"])
