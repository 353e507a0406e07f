"""How well the match score foretells that a pair is right: docs/audit.md, "The score"."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15
"""As Guo et al. 2017, section 5."""
RELIABILITY_BINS = 10
COVERAGES = tuple(step / 20 for step in range(1, 21))
MIN_PAIRS = 20
"""Judged pairs that each half needs for a calibration."""

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


def in_first_half(image_id: str) -> bool:
    """Whether an image's pairs serve to fit the calibration; drawn by hash, so pairs of one image stay together."""
    return hashlib.sha256(image_id.encode("utf-8", errors="replace")).digest()[0] % 2 == 0


def reliability(scores: Numbers, right: Flags, bins: int = RELIABILITY_BINS) -> list[dict[str, Any]]:
    """Precision by score, in bins of equally many pairs (their numbers differ by one at most).

    Args:
        scores: [N], of the judged pairs.
        right: [N], which of them are right.
        bins: at most so many; fewer if there are fewer pairs.

    Returns:
        For each bin, lowest scores first: score_min, score_mean, score_max, pairs, precision.
    """
    order = np.argsort(scores, kind="stable")
    return [
        {
            "score_min": float(scores[part].min()),
            "score_mean": float(scores[part].mean()),
            "score_max": float(scores[part].max()),
            "pairs": len(part),
            "precision": float(right[part].mean()),
        }
        for part in np.array_split(order, min(bins, max(len(order), 1)))
        if len(part)
    ]


def fit_isotonic(scores: Numbers, right: Flags) -> tuple[Numbers, Numbers]:
    """Probability of being right as a non-decreasing function of the score, by pooling adjacent violators.

    As Zadrozny and Elkan 2002; equal scores are pooled first. Between two different scores it is linear, outside of
    all of them constant: ``np.interp(score, *fit_isotonic(...))``.

    Returns:
        Scores [K], ascending, and their probabilities [K] in [0, 1].
    """
    from scipy.optimize import isotonic_regression

    values, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=right.astype(np.float64)) / counts
    return values, np.asarray(isotonic_regression(means, weights=counts.astype(np.float64)).x)


def expected_calibration_error(
    confidence: Numbers, right: Flags, bins: int = ECE_BINS
) -> tuple[float, list[dict[str, Any]]]:
    """ECE, Guo et al. 2017, equation 3: sum over bins of n_b / N * |accuracy_b - mean confidence_b|.

    Bins are of equal width over [0, 1]; bin b holds confidences in ((b-1)/B, b/B], the first one 0 as well.

    Args:
        confidence: [N], in [0, 1].
        right: [N].
        bins: B.

    Returns:
        The error in [0, 1], and the bins that are not empty: confidence_min, confidence_max (the bin's edges),
        confidence_mean, pairs, precision.
    """
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    curve, error = [], 0.0
    for which in np.unique(number):
        inside = number == which
        mean, accuracy = float(confidence[inside].mean()), float(right[inside].mean())
        error += float(inside.mean()) * abs(accuracy - mean)
        curve.append(
            {
                "confidence_min": which / bins,
                "confidence_max": (which + 1) / bins,
                "confidence_mean": mean,
                "pairs": int(inside.sum()),
                "precision": accuracy,
            }
        )
    return error, curve


def calibration(scores: Numbers, right: Flags, first_half: Flags) -> dict[str, Any]:
    """A map from score to probability, fitted on one half of the images, and its ECE on the other.

    Args:
        scores: [N], of the judged pairs.
        right: [N], which of them are right.
        first_half: [N], pairs to fit on.

    Returns:
        pairs_fitted, pairs_tested; ece and curve (see `expected_calibration_error`), None and [] if a half has less
        than MIN_PAIRS pairs.
    """
    result: dict[str, Any] = {"pairs_fitted": int(first_half.sum()), "pairs_tested": int((~first_half).sum())}
    if min(result.values()) < MIN_PAIRS:
        return {**result, "ece": None, "curve": []}
    fitted = fit_isotonic(scores[first_half], right[first_half])
    error, curve = expected_calibration_error(np.interp(scores[~first_half], *fitted), right[~first_half])
    return {**result, "ece": error, "curve": curve}


def precision_coverage(scores: Numbers, right: Flags) -> tuple[float | None, list[dict[str, Any]]]:
    """Precision of the best-scored share of the pairs, for every share: Geifman and El-Yaniv 2017, section 2, with
    precision for risk.

    Pairs of equal score come in together: no threshold can part them.

    Args:
        scores: [N], of the judged pairs.
        right: [N], which of them are right.

    Returns:
        The area under the curve, that is the mean over all pairs of the precision at their score, None without
        pairs; and for each of COVERAGES the least score that reaches it: coverage (really reached), min_score,
        precision.
    """
    if not len(scores):
        return None, []
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    sizes = np.diff(ends, prepend=-1)
    precision = np.cumsum(right[order])[ends] / (ends + 1)
    coverage = (ends + 1) / len(ranked)
    points = np.minimum(np.searchsorted(coverage, np.array(COVERAGES) - 1e-12), len(ends) - 1)
    curve = [
        {"coverage": float(coverage[at]), "min_score": float(ranked[ends[at]]), "precision": float(precision[at])}
        for at in dict.fromkeys(points.tolist())
    ]
    return float((precision * sizes).sum() / len(ranked)), curve
