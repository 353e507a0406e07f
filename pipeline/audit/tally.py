"""Numbers of all pairs together: columns of scalars while reading, and the report at the end."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit import calibration
from pipeline.audit.labels import LEVELS, Labels
from pipeline.audit.pairs import Pair
from pipeline.audit.verdicts import IOU_THRESHOLDS, JUDGED, ImageVerdicts, PairOutcome

HEAD_SHARE = 0.1
TAIL_SHARE = 0.5
LISTED = 20
FIRST = 0
"""Index of IoU 0.5 in IOU_THRESHOLDS: what is not given for each threshold refers to it."""


def share(part: float, whole: float) -> float | None:
    """part / whole; None if there is no whole."""
    return float(part / whole) if whole else None


class Tally:
    """Adds up image by image; memory grows by some 40 bytes per pair, and with the number of nouns and classes.

    Args:
        labels: agreement of nouns and classes.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._noun_numbers: dict[str, int] = {}
        self._surfaces: set[str] = set()
        self._score, self._iou_any = array("d"), array("d")
        self._noun = array("l")
        self._first_half, self._union = array("b"), array("b")
        self._outcome = tuple(array("b") for _ in IOU_THRESHOLDS)
        self._level = tuple(array("b") for _ in IOU_THRESHOLDS)
        self._masks: Counter[str] = Counter()
        self._instances: Counter[int] = Counter()
        self._crowds = self._image_classes = self._images = self._nouns_spoken = 0
        self._found = tuple(_Found() for _ in IOU_THRESHOLDS)

    def add_image(self, regions: Sequence[tuple[int, bool]], nouns: int) -> None:
        """Counts an image that was not quarantined: (class, is crowd) of its true regions, and its nouns."""
        classes = [label for label, is_crowd in regions if not is_crowd]
        self._images += 1
        self._nouns_spoken += nouns
        self._instances.update(classes)
        self._crowds += len(regions) - len(classes)
        self._image_classes += len(set(classes))

    def add_pairs(self, image_id: str, pairs: Sequence[Pair], judged: ImageVerdicts, regions: Sequence[int]) -> None:
        """Counts an image's pairs.

        Args:
            image_id: of the image.
            pairs: of the image.
            judged: their verdicts.
            regions: class of each of the image's true regions.
        """
        first_half = calibration.in_first_half(image_id)
        for pair, verdict in zip(pairs, judged.verdicts, strict=True):
            self._surfaces.add(pair.noun)
            self._noun.append(self._noun_numbers.setdefault(pair.canonical, len(self._noun_numbers)))
            self._score.append(pair.score_cosine)
            self._first_half.append(first_half)
            self._iou_any.append(verdict.iou_any)
            self._union.append(verdict.iou_union)
            for number, threshold in enumerate(IOU_THRESHOLDS):
                self._outcome[number].append(verdict.outcomes[number])
                self._level[number].append(verdict.level(threshold))
        for found, levels in zip(self._found, judged.found, strict=True):
            found.add(levels, regions)
        self._add_masks(pairs)

    def _add_masks(self, pairs: Sequence[Pair]) -> None:
        on_mask = Counter(pair.mask_id for pair in pairs)
        by_mask: dict[str, dict[str, set[int]]] = {}
        for pair in pairs:
            classes = set(self._labels.agreeing(pair.noun, pair.canonical))
            by_mask.setdefault(pair.mask_id, {}).setdefault(pair.canonical, set()).update(classes)
        for mask_id, nouns in by_mask.items():
            self._masks["masks"] += 1
            if len(nouns) > 1:
                self._masks["several_nouns"] += 1
                self._masks["pairs_on_them"] += on_mask[mask_id]
                self._masks[_agreement(list(nouns.values()))] += 1

    def report(self) -> dict[str, Any]:
        """All figures; docs/audit.md gives the meaning of each key."""
        outcomes = [np.asarray(column) for column in self._outcome]
        levels = [np.asarray(column) for column in self._level]
        score, union = np.asarray(self._score), np.asarray(self._union) > 0
        judged, right = np.isin(outcomes[FIRST], JUDGED), outcomes[FIRST] == PairOutcome.RIGHT
        noun = np.asarray(self._noun)
        on_region = np.asarray(self._iou_any) >= IOU_THRESHOLDS[FIRST]
        return {
            "pairs": len(score),
            "outcomes": _by_threshold(_outcome_counts(column) for column in outcomes),
            "precision": _by_threshold(map(_precision, outcomes, levels)),
            "right_by_union": int((right & union).sum()),
            "mask_on_a_region": {
                "all": share(on_region.sum(), len(score)),
                **{
                    outcome.name.lower(): share(
                        (on_region & (outcomes[FIRST] == outcome)).sum(), (outcomes[FIRST] == outcome).sum()
                    )
                    for outcome in PairOutcome
                },
            },
            "grounded": {
                "images": self._images,
                "nouns": self._nouns_spoken,
                "pairs": len(score),
                "share": share(len(score), self._nouns_spoken),
            },
            "recall": _by_threshold(self._recall(found) for found in self._found),
            "nouns": self._noun_figures(noun, judged, right, outcomes[FIRST]),
            "masks": self._mask_figures(len(score)),
            "score": self._score_figures(score[judged], right[judged], judged),
        }

    def _recall(self, found: _Found) -> dict[str, Any]:
        instances = sum(self._instances.values())
        return {
            "instances": instances,
            "crowds": self._crowds,
            "classes": len(self._instances),
            "image_classes": self._image_classes,
            **{
                level.name.lower(): {
                    "instances": share(found.instances[level], instances),
                    "classes": share(len(found.classes[level]), len(self._instances)),
                    "image_classes": share(found.image_classes[level], self._image_classes),
                }
                for level in LEVELS
            },
        }

    def _noun_figures(
        self, noun: NDArray[np.int64], judged: NDArray[np.bool_], right: NDArray[np.bool_], outcome: NDArray[np.int8]
    ) -> dict[str, Any]:
        names = list(self._noun_numbers)
        kinds = len(names)
        pairs, judged_pairs, right_pairs = (
            np.bincount(noun[chosen], minlength=kinds) for chosen in (slice(None), judged, right)
        )
        unknown = np.bincount(noun[outcome == PairOutcome.UNKNOWN], minlength=kinds)
        order = sorted(range(kinds), key=lambda number: (-pairs[number], names[number]))

        def part(numbers: list[int]) -> dict[str, Any]:
            return {
                "nouns": len(numbers),
                "pairs": int(pairs[numbers].sum()),
                "share": share(pairs[numbers].sum(), len(noun)),
                "precision": share(right_pairs[numbers].sum(), judged_pairs[numbers].sum()),
            }

        def listed(counts: NDArray[np.int64]) -> list[dict[str, Any]]:
            most = sorted(np.flatnonzero(counts).tolist(), key=lambda number: (-counts[number], names[number]))[:LISTED]
            return [{"noun": names[number], "pairs": int(counts[number])} for number in most]

        return {
            "unique": len(self._surfaces),
            "unique_canonical": kinds,
            "right_canonical": int((right_pairs > 0).sum()),
            "head": part(order[: math.ceil(HEAD_SHARE * kinds)]),
            "tail": part(order[kinds - math.floor(TAIL_SHARE * kinds) :]),
            "once": int((pairs == 1).sum()),
            "most_wrong": listed(judged_pairs - right_pairs),
            "most_unknown": listed(unknown),
        }

    def _mask_figures(self, pairs: int) -> dict[str, Any]:
        counts = {key: self._masks[key] for key in ("masks", "several_nouns", *_AGREEMENTS, "pairs_on_them")}
        return {
            **counts,
            "duplicate_rate": share(counts["several_nouns"], counts["masks"]),
            "duplicate_pair_rate": share(counts["pairs_on_them"], pairs),
            "contradictory_share": share(counts["contradictory"], counts["several_nouns"]),
        }

    def _score_figures(
        self, scores: NDArray[np.float64], right: NDArray[np.bool_], judged: NDArray[np.bool_]
    ) -> dict[str, Any]:
        first_half = np.asarray(self._first_half)[judged] > 0
        area, curve = calibration.precision_coverage(scores, right)
        return {
            "reliability": calibration.reliability(scores, right),
            "calibration": calibration.calibration(scores, right, first_half),
            "precision_coverage_area": area,
            "precision_coverage": curve,
        }


class _Found:
    """True regions that pairs have found, by level and cumulative."""

    def __init__(self) -> None:
        self.instances = [0] * len(LEVELS)
        self.image_classes = [0] * len(LEVELS)
        self.classes: list[set[int]] = [set() for _ in LEVELS]

    def add(self, levels: NDArray[np.int8], regions: Sequence[int]) -> None:
        for level in LEVELS:
            hits = np.flatnonzero(levels <= level).tolist()
            classes = {regions[number] for number in hits}
            self.instances[level] += len(hits)
            self.image_classes[level] += len(classes)
            self.classes[level] |= classes


_AGREEMENTS = ("contradictory", "undecided", "compatible")


def _agreement(classes: list[set[int]]) -> str:
    """Of the nouns on one mask, by the classes each may mean: two that share none contradict each other."""
    known = [some for some in classes if some]
    if any(not one & other for number, one in enumerate(known) for other in known[:number]):
        return "contradictory"
    return "compatible" if len(known) == len(classes) else "undecided"


def _by_threshold(values: Iterable[Any]) -> dict[str, Any]:
    return {str(threshold): value for threshold, value in zip(IOU_THRESHOLDS, values, strict=True)}


def _outcome_counts(column: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(column, minlength=len(PairOutcome))
    return {outcome.name.lower(): int(counts[outcome]) for outcome in PairOutcome}


def _precision(outcome: NDArray[np.int8], level: NDArray[np.int8]) -> dict[str, Any]:
    judged = int(np.isin(outcome, JUDGED).sum())
    right = outcome == PairOutcome.RIGHT
    absent = int((outcome == PairOutcome.ABSENT).sum())
    return {
        "judged": judged,
        **{name.name.lower(): share((right & (level <= name)).sum(), judged) for name in LEVELS},
        "absent_is_wrong": share(right.sum(), judged + absent),
        "lower_bound": share(right.sum(), len(outcome)),
    }
