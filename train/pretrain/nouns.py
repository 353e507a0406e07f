"""Which nouns captions mention: found in a sample by a noun extractor, then looked up everywhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from stages.common import UserError
from stages.nouns import NounsConfig, build_extractor


class NounFinder:
    """Finds known nouns in captions, the longest first.

    Args:
        forms: words of a caption, lower case -> number of the noun in `nouns`.
        nouns: canonical forms.
    """

    def __init__(self, forms: dict[str, int], nouns: Sequence[str]) -> None:
        self.nouns = tuple(nouns)
        self._forms = forms
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b")

    def find(self, caption: str) -> frozenset[int]:
        """Numbers of the nouns that a caption mentions."""
        return frozenset(self._forms[found] for found in self._pattern.findall(caption.lower()))


def find_nouns(
    captions: Sequence[str], extractor: NounsConfig, sample: int, min_mentions: int, seed: int
) -> NounFinder:
    """Learns the nouns from a random sample of captions.

    Args:
        captions: all captions.
        extractor: how nouns are found in the sample.
        sample: how many captions to read.
        min_mentions: nouns with fewer mentions in the sample are left out.
        seed: of the sample.

    Raises:
        UserError: no noun has so many mentions.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(len(captions))[:sample]
    extract = build_extractor(extractor)
    mentions: Counter[str] = Counter()
    canonical: dict[str, Counter[str]] = {}
    for found in extract.extract([captions[int(number)] for number in numbers]):
        for noun in found.nouns:
            mentions[noun.canonical] += 1
            canonical.setdefault(noun.surface, Counter())[noun.canonical] += 1
    nouns = sorted(noun for noun, count in mentions.items() if count >= min_mentions)
    if not nouns:
        commonest = max(sorted(mentions), key=mentions.__getitem__, default=None)
        most = f"the commonest, {commonest!r}, has {mentions[commonest]}" if commonest else "no noun was found at all"
        raise UserError(
            f"nouns.min_mentions: no noun has {min_mentions} mentions in {len(numbers):,} captions; {most}. Set a "
            "lower nouns.min_mentions, or take more captions (nouns.sample, shards)"
        )
    known = {noun: number for number, noun in enumerate(nouns)}
    best = {form: max(sorted(counts), key=counts.__getitem__) for form, counts in canonical.items()}
    return NounFinder({form: known[noun] for form, noun in best.items() if noun in known}, nouns)
