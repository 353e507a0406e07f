"""Frequencies of nouns: the head as bars, the tail in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.report.text import clean, shorten
from stages.common import sha256_hex

_SHOWN = 25
_SHOWN_RARE = 60
_BANDS = ((1, 1), (2, 4), (5, 9), (10, 99), (100, 999), (1000, None))


@dataclass(frozen=True, slots=True)
class NounSummary:
    """What is told of nouns.

    Attributes:
        count: different canonical nouns.
        top: the commonest: noun, pairs, share of the first one's pairs in (0, 1].
        half: so many nouns, the commonest ones, have half of all pairs.
        top_share: share of all pairs that the shown ones have, in [0, 1].
        rare: some nouns outside of `top` that have the fewest pairs, drawn by hash, in alphabetical order.
        rare_pairs: how many they have each.
        bands: pairs per noun in words, number of such nouns, share of all pairs; without empty bands.
    """

    count: int
    top: list[tuple[str, int, float]]
    half: int
    top_share: float
    rare: list[str]
    rare_pairs: int
    bands: list[tuple[str, int, float]]


def noun_summary(nouns: Counter[str]) -> NounSummary | None:
    """Summary of pairs by canonical noun; None if there is no pair."""
    if not nouns:
        return None
    common = sorted(nouns.items(), key=lambda entry: (-entry[1], entry[0]))
    total, most = nouns.total(), common[0][1]
    reached = half = 0
    while 2 * reached < total:
        reached += common[half][1]
        half += 1
    top = [(clean(shorten(noun, 40)), count, count / most) for noun, count in common[:_SHOWN]]
    bands = []
    for low, high in _BANDS:
        inside = [count for _, count in common if low <= count and (high is None or count <= high)]
        words = f"{low:,}" if low == high else f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
        if inside:
            bands.append((words, len(inside), sum(inside) / total))
    rare_pairs = common[-1][1]
    rare = [noun for noun, count in common[_SHOWN:] if count == rare_pairs]
    drawn = sorted(sorted(rare, key=lambda noun: sha256_hex(noun.encode("utf-8", "replace")))[:_SHOWN_RARE])
    return NounSummary(
        count=len(common),
        top=top,
        half=half,
        top_share=sum(count for _, count, _ in top) / total,
        rare=[clean(shorten(noun, 40)) for noun in drawn],
        rare_pairs=rare_pairs,
        bands=bands,
    )
