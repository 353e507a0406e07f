"""The nouns of one image, from the nouns of its captions."""

from __future__ import annotations

from collections.abc import Iterable

from stages.records import Noun

Mention = tuple[int, int, int]
"""Caption number, start, end of a noun's words."""


def merge_mentions(nouns: Iterable[Noun]) -> list[tuple[Noun, list[Mention]]]:
    """Every surface form once, by its first mention, with all places where it is mentioned.

    Surface forms, not canonical ones, are what CLIP is shown and trained on: 'dog' and 'dogs' stay two nouns.
    """
    merged: dict[str, tuple[Noun, list[Mention]]] = {}
    for noun in nouns:
        mentions = merged.setdefault(noun.surface, (noun, []))[1]
        mentions.append((noun.caption_number, noun.start, noun.end))
    return list(merged.values())
