"""Recall of the noun rules on fragments made of two of LVIS's names: "Cup and spoon", "Man with hat and shovel".

    python -m benchmarks.nouns_pairs [--pairs 1500] [--seed 0] [--missed]

A name is found if a noun has it as its surface form, or, where the name has several words, its last word. The names
that stages/nouns/data/curated.toml leaves out of LVIS's (`not_lvis`) take part as well.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter

from stages.nouns import NltkNouns, NounExtractor, SpacyNouns, build_extractor
from stages.nouns.lexicon import lvis_names

PATTERNS = ("{First} and {second}", "Man with {first} and {second}", "{first} with {second} on white")


def name_pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Different names, drawn at random."""
    names, rng = sorted(set(lvis_names())), random.Random(seed)
    return [tuple(rng.sample(names, 2)) for _ in range(number)]  # type: ignore[misc]


def caption(pattern: str, first: str, second: str) -> str:
    """The pattern filled in."""
    return pattern.format(First=first[0].upper() + first[1:], first=first, second=second)


def missed(extractor: NounExtractor, pattern: str, pairs: list[tuple[str, str]]) -> Counter[str]:
    """Names that the rule does not give, and how often."""
    lost: Counter[str] = Counter()
    results = extractor.extract([caption(pattern, *pair) for pair in pairs])
    for pair, result in zip(pairs, results, strict=True):
        found = {noun.surface for noun in result.nouns}
        lost.update(name for name in pair if not {name, name.split()[-1]} & found)
    return lost


def recall(extractor: NounExtractor, pattern: str, pairs: list[tuple[str, str]]) -> float:
    """Share of the names that the rule gives, in [0, 1]."""
    return 1 - missed(extractor, pattern, pairs).total() / (2 * len(pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--missed", action="store_true", help="list the names that are missed most")
    arguments = parser.parse_args()
    pairs = name_pairs(arguments.pairs, arguments.seed)
    for rule, config in (("nltk", NltkNouns()), ("spacy", SpacyNouns())):
        extractor = build_extractor(config)
        print(rule, *(f"{pattern!r} {recall(extractor, pattern, pairs):.3f}" for pattern in PATTERNS), sep=" | ")
        if arguments.missed:
            for pattern in PATTERNS:
                print("  ", pattern, missed(extractor, pattern, pairs).most_common(80))


if __name__ == "__main__":
    main()
