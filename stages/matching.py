"""Which mask belongs to which noun, from the cosines of CLIP's region and noun embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.common import Config, Match

RULED_OUT = -np.inf
"""Scores of a proposal that a cascade has ruled out: as if it were not there."""


class MatchRules(Config):
    """Strategy and thresholds.

    Attributes:
        strategy: ``best_mask_per_noun``: the paper's rule (section 3.2), every noun takes its best mask.
            ``mutual_best``: that, and the noun must be the mask's best noun. ``one_to_one``: the assignment of
            nouns to different masks with the highest sum of cosines.
        min_score_cosine: pairs below it are dropped; the paper states no threshold.
        min_margin_noun: least distance to the best other noun on the same mask (canonical forms count, so 'dog'
            and 'dogs' are no rivals).
        min_margin_mask: least distance to the best other mask for the same noun.
        max_pairs_per_mask: the best so many pairs of a mask are kept.
    """

    strategy: Literal["best_mask_per_noun", "mutual_best", "one_to_one"] = "mutual_best"
    min_score_cosine: float = Field(-1.0, ge=-1, le=1)
    min_margin_noun: float | None = Field(None, ge=0, le=2)
    min_margin_mask: float | None = Field(None, ge=0, le=2)
    max_pairs_per_mask: int | None = Field(None, ge=1)


def are_ruled_out(scores_cosine: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of R proposals a cascade has ruled out, bool [R], by their scores [R, N] with at least one noun."""
    ruled_out: NDArray[np.bool_] = (scores_cosine == RULED_OUT).all(axis=1)
    return ruled_out


def match(
    scores_cosine: NDArray[np.float32], canonical: Sequence[str], rules: MatchRules
) -> tuple[list[Match], dict[str, int]]:
    """Matches the nouns of one image with its masks.

    Ties go to the proposal, then the noun, that comes first; among assignments of equal sum, `one_to_one` takes the
    one that scipy's solver finds, the same on every run.

    Args:
        scores_cosine: [R, N] cosines of R proposals and N nouns, in [-1, 1]; rows of `RULED_OUT` for proposals that
            no noun may have.
        canonical: the N nouns' canonical forms.
        rules: strategy and thresholds.

    Returns:
        Matches in the order of the nouns, at most one per noun; and for the nouns without one, how many for which
        reason: no_proposals, not_mutual, unassigned, below_min_score, below_margin_noun, below_margin_mask,
        over_max_pairs_per_mask. Matches and reasons add up to N.

    Raises:
        ValueError: `canonical` has another length than N, or a score is NaN or infinite.
    """
    nouns = scores_cosine.shape[1]
    if len(canonical) != nouns:
        raise ValueError(f"{nouns} columns of scores but {len(canonical)} canonical forms")
    if not nouns:
        return [], {}
    allowed = np.flatnonzero(~are_ruled_out(scores_cosine))
    scores = scores_cosine[allowed]
    if not len(allowed):
        return [], {"no_proposals": nouns}
    if not np.isfinite(scores).all():
        raise ValueError("scores: expected finite cosines, got NaN or infinity")
    dropped: Counter[str] = Counter()
    kept: list[Match] = []
    for noun, proposal in enumerate(_partners(scores, canonical, rules.strategy)):
        if proposal is None:
            dropped["not_mutual" if rules.strategy == "mutual_best" else "unassigned"] += 1
            continue
        pair = replace(_pair(scores, canonical, noun, proposal), proposal=int(allowed[proposal]))
        reason = _reason_to_drop(pair, rules)
        if reason:
            dropped[reason] += 1
        else:
            kept.append(pair)
    capped = _cap(kept, rules.max_pairs_per_mask)
    dropped["over_max_pairs_per_mask"] += len(kept) - len(capped)
    return capped, {reason: count for reason, count in sorted(dropped.items()) if count}


def _partners(scores: NDArray[np.float32], canonical: Sequence[str], strategy: str) -> list[int | None]:
    """For every noun its proposal, or None."""
    nouns = scores.shape[1]
    if strategy == "one_to_one":
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(scores, maximize=True)
        assigned = {int(column): int(row) for row, column in zip(rows, columns, strict=True)}
        return [assigned.get(noun) for noun in range(nouns)]
    best_mask = [int(index) for index in scores.argmax(axis=0)]
    if strategy == "best_mask_per_noun":
        return list(best_mask)
    best_noun = scores.argmax(axis=1)
    return [mask if canonical[int(best_noun[mask])] == canonical[noun] else None for noun, mask in enumerate(best_mask)]


def _pair(scores: NDArray[np.float32], canonical: Sequence[str], noun: int, proposal: int) -> Match:
    score = float(scores[proposal, noun])
    rivals = [float(scores[proposal, other]) for other, form in enumerate(canonical) if form != canonical[noun]]
    others = np.delete(scores[:, noun], proposal)
    return Match(
        noun=noun,
        proposal=proposal,
        score_cosine=score,
        margin_noun=score - max(rivals) if rivals else None,
        margin_mask=score - float(others.max()) if others.size else None,
    )


def _reason_to_drop(pair: Match, rules: MatchRules) -> str | None:
    if pair.score_cosine < rules.min_score_cosine:
        return "below_min_score"
    for reason, margin, least in (
        ("below_margin_noun", pair.margin_noun, rules.min_margin_noun),
        ("below_margin_mask", pair.margin_mask, rules.min_margin_mask),
    ):
        if least is not None and margin is not None and margin < least:
            return reason
    return None


def _cap(pairs: list[Match], most: int | None) -> list[Match]:
    if most is None:
        return pairs
    taken: Counter[int] = Counter()
    chosen = set()
    for pair in sorted(pairs, key=lambda pair: (-pair.score_cosine, pair.noun)):
        if taken[pair.proposal] < most:
            taken[pair.proposal] += 1
            chosen.add(pair.noun)
    return [pair for pair in pairs if pair.noun in chosen]
