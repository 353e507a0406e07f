"""Figures of the score, on paper."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.audit.calibration import (
    MIN_PAIRS,
    calibration,
    expected_calibration_error,
    fit_isotonic,
    in_first_half,
    precision_coverage,
    reliability,
)


def flags(text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([sign == "+" for sign in text])


def test_ece_weighs_the_gap_of_each_bin_by_its_pairs() -> None:
    """Six pairs at 0.9, three right: gap 0.4; four at 0.25, two right: gap 0.25."""
    confidence = np.array([0.9] * 6 + [0.25] * 4)
    error, bins = expected_calibration_error(confidence, flags("+++---++--"), bins=10)
    assert error == pytest.approx(0.6 * 0.4 + 0.4 * 0.25)
    assert [(entry["pairs"], entry["precision"]) for entry in bins] == [(4, 0.5), (6, 0.5)]
    assert bins[0]["confidence_min"] == pytest.approx(0.2)
    assert bins[0]["confidence_max"] == pytest.approx(0.3)


def test_ece_of_what_is_always_right_is_none() -> None:
    error, bins = expected_calibration_error(np.array([0.0, 1.0, 1.0]), flags("-++"))
    assert error == 0.0
    assert [entry["confidence_max"] for entry in bins] == [pytest.approx(1 / 15), 1.0]


def test_isotonic_fit_pools_what_falls() -> None:
    """Means by score 0, 1, 0.5 (of two), 1: the second and third fall, and become 2/3."""
    scores = np.array([0.1, 0.2, 0.3, 0.3, 0.4])
    values, probability = fit_isotonic(scores, flags("-++-+"))
    assert values.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert probability == pytest.approx([0, 2 / 3, 2 / 3, 1])


def test_calibration_is_tested_on_the_other_half() -> None:
    """Fitted: 0.2 is right in 1 of 4, 0.4 in 3 of 4. Tested: 0.2 in 1 of 2, 0.4 in 3 of 4. Error 1/2 * 1/4."""
    fit_scores, fit_right = np.array([0.2, 0.4] * 20), flags("-+-+-++-" * 5)
    test_scores, test_right = np.array([0.2] * 20 + [0.4] * 20), flags("+-" * 10 + "+++-" * 5)
    scores = np.concatenate([fit_scores, test_scores])
    right = np.concatenate([fit_right, test_right])
    found = calibration(scores, right, np.arange(80) < 40)
    assert (found["pairs_fitted"], found["pairs_tested"]) == (40, 40)
    assert found["ece"] == pytest.approx(0.5 * 0.25)


def test_calibration_needs_pairs_in_both_halves() -> None:
    scores, right = np.linspace(0, 1, 2 * MIN_PAIRS), flags("+-" * MIN_PAIRS)
    assert calibration(scores, right, np.arange(2 * MIN_PAIRS) <= MIN_PAIRS)["ece"] is None
    assert calibration(scores, right, np.arange(2 * MIN_PAIRS) < MIN_PAIRS)["ece"] is not None


def test_halves_are_about_halves() -> None:
    first = sum(in_first_half(str(number)) for number in range(1000))
    assert 450 < first < 550


def test_precision_coverage_is_that_of_the_best_scored() -> None:
    """Right, wrong, right, wrong from the best score down: precisions 1, 1/2, 2/3, 1/2."""
    area, curve = precision_coverage(np.array([0.1, 0.4, 0.3, 0.2]), flags("-+-+"))
    assert area == pytest.approx((1 + 1 / 2 + 2 / 3 + 1 / 2) / 4)
    assert [(entry["coverage"], entry["min_score"]) for entry in curve] == [
        (0.25, 0.4),
        (0.5, 0.3),
        (0.75, 0.2),
        (1.0, 0.1),
    ]
    assert [entry["precision"] for entry in curve] == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])


def test_pairs_of_equal_score_come_in_together() -> None:
    area, curve = precision_coverage(np.array([0.3, 0.3, 0.3, 0.1]), flags("-+-+"))
    assert area == pytest.approx((3 * (1 / 3) + 1 / 2) / 4)
    assert [(entry["coverage"], entry["precision"]) for entry in curve] == [(0.75, pytest.approx(1 / 3)), (1.0, 0.5)]


def test_reliability_has_bins_of_equally_many_pairs() -> None:
    bins = reliability(np.array([0.4, 0.1, 0.2, 0.3]), flags("+-+-"), bins=2)
    assert [(entry["score_min"], entry["score_max"], entry["pairs"]) for entry in bins] == [
        (0.1, 0.2, 2),
        (0.3, 0.4, 2),
    ]
    assert [entry["precision"] for entry in bins] == [0.5, 0.5]
    assert bins[0]["score_mean"] == pytest.approx(0.15)
    assert reliability(np.array([]), flags("")) == []
