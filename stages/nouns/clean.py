"""Captions made plain before their nouns are looked for; spans point into the captions as they were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stages.common import CaptionNouns, PlainText, plain_text
from stages.nouns.base import NounExtractor


class PlainCaptions:
    """A noun extractor that reads captions without the characters that nobody sees, letters in one form.

    Args:
        extractor: the rule; it is given plain texts alone.
    """

    def __init__(self, extractor: NounExtractor) -> None:
        self._extractor = extractor

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """See `NounExtractor.extract`."""
        plain = [plain_text(caption) for caption in captions]
        found = self._extractor.extract([one.text for one in plain])
        return [_moved_back(nouns, text) for nouns, text in zip(found, plain, strict=True)]


def _moved_back(found: CaptionNouns, plain: PlainText) -> CaptionNouns:
    """With the spans of the caption that a text was made of."""
    if plain.starts is None:
        return found
    nouns, dropped = [], []
    for noun in found.nouns:
        start, end = plain.span_of_original(noun.start, noun.end)
        nouns.append(replace(noun, start=start, end=end))
    for left in found.dropped:
        start, end = plain.span_of_original(left.start, left.end)
        dropped.append(replace(left, start=start, end=end))
    return CaptionNouns(tuple(nouns), tuple(dropped))
