"""Matching by hand-worked examples, and what must hold of every matrix."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common import Match
from stages.matching import RULED_OUT, MatchRules, match

STRATEGIES = ("best_mask_per_noun", "mutual_best", "one_to_one")

#          cat  dog  sky
HAND = [
    [0.30, 0.28, 0.10],  # mask 0
    [0.25, 0.20, 0.12],  # mask 1
]
NAMES = ("cat", "dog", "sky")


def matched(scores: Any, names: tuple[str, ...] = NAMES, **rules: Any) -> tuple[list[Match], dict[str, int]]:  # noqa: ANN401
    return match(np.array(scores, np.float32), names, MatchRules(**{"strategy": "best_mask_per_noun", **rules}))


def pairs(matches: list[Match]) -> list[tuple[int, int]]:
    return [(pair.noun, pair.proposal) for pair in matches]


def test_best_mask_per_noun_lets_nouns_share_a_mask() -> None:
    matches, dropped = matched(HAND)
    assert pairs(matches) == [(0, 0), (1, 0), (2, 1)]
    assert dropped == {}


def test_mutual_best_wants_the_noun_to_be_the_masks_best() -> None:
    matches, dropped = matched(HAND, strategy="mutual_best")
    assert pairs(matches) == [(0, 0)]
    assert dropped == {"not_mutual": 2}


def test_one_to_one_takes_the_highest_sum() -> None:
    # cat-1 and dog-0 give 0.53; the greedy choice cat-0, dog-1 gives 0.50
    matches, dropped = matched(HAND, strategy="one_to_one")
    assert pairs(matches) == [(0, 1), (1, 0)]
    assert dropped == {"unassigned": 1}


def test_scores_and_margins_are_those_of_the_matrix() -> None:
    first, second, third = matched(HAND)[0]
    assert (first.score_cosine, first.margin_noun, first.margin_mask) == pytest.approx((0.30, 0.02, 0.05))
    assert (second.score_cosine, second.margin_noun, second.margin_mask) == pytest.approx((0.28, -0.02, 0.08))
    assert (third.score_cosine, third.margin_noun, third.margin_mask) == pytest.approx((0.12, -0.13, 0.02))


def test_forms_of_one_word_are_no_rivals() -> None:
    scores = [[0.30, 0.29, 0.20], [0.10, 0.11, 0.12]]
    for strategy in ("best_mask_per_noun", "mutual_best"):
        matches, _ = matched(scores, ("dog", "dog", "sky"), strategy=strategy)
        assert pairs(matches)[:2] == [(0, 0), (1, 0)]
        assert [pair.margin_noun for pair in matches[:2]] == pytest.approx([0.10, 0.09])
    matches, dropped = matched(scores, ("dog", "dogs", "sky"), strategy="mutual_best")
    assert pairs(matches) == [(0, 0)]
    assert dropped == {"not_mutual": 2}


def test_there_is_no_margin_without_a_rival() -> None:
    assert [pair.margin_noun for pair in matched([[0.3, 0.2]], ("dog", "dog"))[0]] == [None, None]
    assert [pair.margin_mask for pair in matched([[0.3, 0.2]], ("dog", "cat"))[0]] == [None, None]


def test_a_missing_margin_refuses_nothing() -> None:
    matches, dropped = matched([[0.3]], ("dog",), min_margin_noun=0.5, min_margin_mask=0.5)
    assert pairs(matches) == [(0, 0)]
    assert dropped == {}


@pytest.mark.parametrize(
    ("rules", "kept", "dropped"),
    [
        ({"min_score_cosine": 0.25}, [0, 1], {"below_min_score": 1}),
        ({"min_margin_noun": 0.01}, [0], {"below_margin_noun": 2}),
        ({"min_margin_mask": 0.04}, [0, 1], {"below_margin_mask": 1}),
        ({"min_margin_mask": 0.06}, [1], {"below_margin_mask": 2}),
        ({"max_pairs_per_mask": 1}, [0, 2], {"over_max_pairs_per_mask": 1}),
        ({"min_score_cosine": 0.2, "min_margin_noun": 0.0}, [0], {"below_min_score": 1, "below_margin_noun": 1}),
    ],
)
def test_thresholds_drop_with_a_reason(rules: dict[str, Any], kept: list[int], dropped: dict[str, int]) -> None:
    matches, reasons = matched(HAND, **rules)
    assert [pair.noun for pair in matches] == kept
    assert reasons == dropped


def test_a_score_at_the_threshold_is_kept() -> None:
    assert len(matched([[0.25]], ("dog",), min_score_cosine=0.25)[0]) == 1
    assert len(matched([[0.5], [0.25]], ("dog",), min_margin_mask=0.25)[0]) == 1


def test_the_best_pairs_of_a_mask_are_kept_in_order_of_the_nouns() -> None:
    matches, dropped = matched([[0.1, 0.3, 0.2, 0.3]], ("a", "b", "c", "d"), max_pairs_per_mask=2)
    assert pairs(matches) == [(1, 0), (3, 0)]
    assert dropped == {"over_max_pairs_per_mask": 2}


def test_pairs_that_a_threshold_drops_take_no_place() -> None:
    scores = [[0.30, 0.20], [0.29, 0.00]]
    matches, _ = matched(scores, ("a", "b"), min_margin_mask=0.1, max_pairs_per_mask=1)
    assert pairs(matches) == [(1, 0)]


def test_ties_go_to_what_comes_first() -> None:
    flat = np.full((3, 2), 0.25)
    assert pairs(matched(flat, ("a", "b"))[0]) == [(0, 0), (1, 0)]
    assert pairs(matched(flat, ("a", "b"), strategy="mutual_best")[0]) == [(0, 0)]
    assert pairs(matched(flat, ("a", "b"), strategy="one_to_one")[0]) == [(0, 0), (1, 1)]
    assert pairs(matched(flat, ("a", "b"), max_pairs_per_mask=1)[0]) == [(0, 0)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_masks_and_no_nouns(strategy: str) -> None:
    assert matched(np.zeros((0, 3)), strategy=strategy) == ([], {"no_proposals": 3})
    assert matched(np.zeros((3, 0)), (), strategy=strategy) == ([], {})
    assert matched(np.zeros((0, 0)), (), strategy=strategy) == ([], {})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_mask_and_one_noun(strategy: str) -> None:
    assert matched([[0.5]], ("dog",), strategy=strategy) == ([Match(0, 0, 0.5, None, None)], {})


def test_one_mask_goes_to_its_best_noun_in_one_to_one() -> None:
    matches, dropped = matched([[0.1, 0.3, 0.2]], strategy="one_to_one")
    assert pairs(matches) == [(1, 0)]
    assert dropped == {"unassigned": 2}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(strategy: str, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        matched([[0.1, value], [0.2, 0.3]], ("a", "b"), strategy=strategy)


def test_every_noun_needs_its_canonical_form() -> None:
    with pytest.raises(ValueError, match="3 columns of scores but 2"):
        matched(HAND, ("cat", "dog"))


def random_case(seed: int) -> tuple[NDArray[np.float32], tuple[str, ...], dict[str, Any]]:
    generator = np.random.default_rng(seed)
    masks, nouns = (int(number) for number in generator.integers(1, 7, 2))
    scores = np.round(generator.uniform(-0.2, 0.4, (masks, nouns)), 1 + seed % 3).astype(np.float32)
    names = tuple(f"word {number}" for number in generator.integers(0, 5, nouns))
    rules = {
        "min_score_cosine": float(generator.choice([-1.0, 0.1])),
        "min_margin_noun": (None, 0.02)[generator.integers(2)],
        "min_margin_mask": (None, 0.02)[generator.integers(2)],
        "max_pairs_per_mask": (None, 1, 2)[generator.integers(3)],
    }
    return scores, names, rules


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_noun_is_matched_once_or_dropped_with_a_reason(strategy: str) -> None:
    for seed in range(200):
        scores, names, rules = random_case(seed)
        matches, dropped = matched(scores, names, strategy=strategy, **rules)
        assert len(matches) + sum(dropped.values()) == len(names)
        nouns = [pair.noun for pair in matches]
        assert nouns == sorted(set(nouns))
        for pair in matches:
            assert pair.score_cosine == float(scores[pair.proposal, pair.noun])


def test_mutual_best_gives_some_of_the_papers_pairs() -> None:
    for seed in range(200):
        scores, names, _ = random_case(seed)
        mutual = pairs(matched(scores, names, strategy="mutual_best")[0])
        assert set(mutual) <= set(pairs(matched(scores, names)[0]))
        assert mutual  # the highest score of all is mutual


def test_one_to_one_uses_a_mask_once_and_no_assignment_sums_higher() -> None:
    for seed in range(200):
        scores, names, _ = random_case(seed)
        matches, _ = matched(scores, names, strategy="one_to_one")
        masks, nouns = scores.shape
        assert len({pair.proposal for pair in matches}) == len(matches) == min(masks, nouns)
        table = scores.astype(float) if masks >= nouns else scores.astype(float).T
        columns = range(table.shape[1])
        best = max(sum(table[row, column] for column, row in zip(columns, chosen, strict=True))
                   for chosen in permutations(range(table.shape[0]), table.shape[1]))  # fmt: skip
        assert sum(pair.score_cosine for pair in matches) == pytest.approx(best)


def test_input_is_not_written_to() -> None:
    scores = np.array(HAND, np.float32)
    scores.flags.writeable = False
    for strategy in STRATEGIES:
        match(scores, NAMES, MatchRules(strategy=strategy))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_mask_that_a_cascade_ruled_out_is_as_if_it_were_not_there(strategy: str) -> None:
    none = [RULED_OUT] * 3
    matches, dropped = matched([none, HAND[0], none, HAND[1]], strategy=strategy)
    expected, also_dropped = matched(HAND, strategy=strategy)
    assert [(pair.noun, {0: 1, 1: 3}[pair.proposal]) for pair in expected] == pairs(matches)
    assert [pair.margin_mask for pair in expected] == [pair.margin_mask for pair in matches]
    assert dropped == also_dropped
    assert matched([none], strategy=strategy) == ([], {"no_proposals": 3})


def test_a_mask_that_is_ruled_out_for_one_noun_alone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="finite"):
        matched([[RULED_OUT, 0.1, 0.2]])
