"""NLTK's averaged perceptron tagger with the weights that ship, or with NLTK's own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stages.common import Folder, UserError
from stages.nouns.lexicon import DATA

TAGGER_FILE = DATA / "tagger_eng.json.gz"
NLTK_NAME = "averaged_perceptron_tagger_eng"
TAGGER_PARTS = ("weights", "tagdict", "classes")


class Tagger:
    """NLTK's tagger with the scores of all tags added as arrays: the same tags in a quarter of the time.

    Attributes:
        tagdict: tags of the words that have but one.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        """Takes weights, tagdict and all tags, as NLTK's files have them."""
        from nltk.tag.perceptron import PerceptronTagger

        features, self.tagdict, classes = parts
        self._nltk = PerceptronTagger(load=False)
        # Of equal scores NLTK takes the tag that is last in the alphabet, argmax what comes first.
        self._tags: list[str] = sorted(classes, reverse=True)
        place = {tag: number for number, tag in enumerate(self._tags)}
        self._rows = {feature: row for row, feature in enumerate(features)}
        self._weights = np.zeros((len(self._rows), len(self._tags)))
        for row, weights in enumerate(features.values()):
            for tag, weight in weights.items():
                self._weights[row, place[tag]] = weight

    def tag(self, tokens: Sequence[str]) -> list[tuple[str, str]]:
        """The tokens with their Penn Treebank tags."""
        start, normalize = self._nltk.START, self._nltk.normalize
        before, last = start
        words = [*start, *map(normalize, tokens), *self._nltk.END]
        tagged = []
        for place, token in enumerate(tokens):
            tag = self.tagdict.get(token) or self._best(words, place + len(start), token, before, last)
            tagged.append((token, tag))
            before, last = tag, before
        return tagged

    def _best(self, words: list[str], at: int, token: str, before: str, last: str) -> str:
        """The tag with the highest score; the features are those of NLTK's `_get_features`, in its order."""
        word, previous, following = words[at], words[at - 1], words[at + 1]
        features = (
            "bias",
            f"i suffix {token[-3:]}",
            f"i pref1 {token[:1]}",
            f"i-1 tag {before}",
            f"i-2 tag {last}",
            f"i tag+i-2 tag {before} {last}",
            f"i word {word}",
            f"i-1 tag+i word {before} {word}",
            f"i-1 word {previous}",
            f"i-1 suffix {previous[-3:]}",
            f"i-2 word {words[at - 2]}",
            f"i+1 word {following}",
            f"i+1 suffix {following[-3:]}",
            f"i+2 word {words[at + 2]}",
        )
        rows = [row for row in map(self._rows.get, features) if row is not None]
        return self._tags[int(self._weights[rows].sum(axis=0).argmax())]


def load_tagger(location: str | None = None) -> Tagger:
    """The tagger with the shipped weights, or with those of a folder or URL.

    Raises:
        UserError: `location` is no folder with NLTK's three JSON files.
    """
    return Tagger(_shipped_weights() if location is None else _own_weights(location))


def with_lower_start(words: Sequence[str], names: Iterable[str]) -> list[str]:
    """A sentence's words, the first in lower case unless it is among the names.

    A capital at the start says nothing, and the tagger would take "An" or "Three" for a name.

    Args:
        words: the sentence's tokens; marks may come before its first word.
        names: words that the caption writes with a capital elsewhere.
    """
    place = next((place for place, word in enumerate(words) if word[:1].isalpha()), None)
    if place is None or words[place][1:] != words[place][1:].lower() or words[place] in names:
        return list(words)
    return [*words[:place], words[place].lower(), *words[place + 1 :]]


def _shipped_weights() -> list[Any]:
    parts: list[Any] = json.loads(gzip.decompress(TAGGER_FILE.read_bytes()))
    return parts


def _own_weights(location: str) -> list[Any]:
    """Reads the user's copy of averaged_perceptron_tagger_eng: its three parts."""
    contents, folder = [], Folder(location)
    for part in TAGGER_PARTS:
        name = f"{NLTK_NAME}.{part}.json"
        try:
            contents.append(folder.read(name))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise UserError(
                f"nouns.extractor.tagger: cannot read {folder.location(name)} ({why}); expected the unpacked folder "
                f"{NLTK_NAME} of NLTK's data, or no key `tagger` for the shipped weights"
            ) from error
    try:
        return [json.loads(content) for content in contents]
    except ValueError as error:
        raise UserError(f"nouns.extractor.tagger: {location} holds a file that is no JSON: {error}") from error
