"""NLTK's averaged perceptron tagger with the weights that ship, or with NLTK's own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stages.common import Folder, UserError
from stages.nouns.lexicon import DATA

if TYPE_CHECKING:
    from nltk.tag.perceptron import PerceptronTagger

TAGGER_FILE = DATA / "tagger_eng.json.gz"
NLTK_NAME = "averaged_perceptron_tagger_eng"
TAGGER_PARTS = ("weights", "tagdict", "classes")


def load_tagger(location: str | None = None) -> PerceptronTagger:
    """The tagger with the shipped weights, or with those of a folder or URL.

    Raises:
        UserError: `location` is no folder with NLTK's three JSON files.
    """
    from nltk.tag.perceptron import PerceptronTagger

    tagger = PerceptronTagger(load=False)
    tagger.decode_json_params(_shipped_weights() if location is None else _own_weights(location))
    return tagger


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
