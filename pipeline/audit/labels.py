"""When a caption's noun and a class of the truth mean the same: docs/audit.md, "Labels"."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, TypeVar

from stages.common import UserError, read_json
from stages.nouns.lexicon import Curated, Lexicon, Sense

SAME_PLURAL = frozenset(("aircraft", "bison", "cattle", "deer", "fish", "moose", "salmon", "sheep", "shrimp", "trout"))
"""Nouns whose plural is their singular: a caption's 'sheep' may be one or many."""


class Level(IntEnum):
    """How a noun agrees with a class, tightest first; each level includes those before it."""

    EXACT = 0
    SYNONYM = 1
    HYPERNYM = 2
    HYPONYM = 3
    NONE = 4


LEVELS = (Level.EXACT, Level.SYNONYM, Level.HYPERNYM, Level.HYPONYM)


def is_plural(noun: str, canonical: str) -> bool:
    """Whether the noun may mean several things at once."""
    return noun != canonical or noun.rpartition(" ")[2] in SAME_PLURAL


def normalised(name: str) -> str:
    """A class name as a caption would have it: lower case, single spaces, no underscores or hyphens, no (remark)."""
    return " ".join(re.sub(r"\(.*?\)|[_-]", " ", name.lower()).split())


class Labels:
    """Agreement of nouns with the classes of a truth.

    Args:
        names: the classes.
        synonyms: class name -> other words for it.
        lexicon, curated: WordNet and the hand-kept singulars; loaded if not given.
    """

    def __init__(
        self,
        names: Sequence[str],
        synonyms: Mapping[str, Iterable[str]],
        lexicon: Lexicon | None = None,
        curated: Curated | None = None,
    ) -> None:
        self.names = tuple(names)
        self._lexicon = lexicon or Lexicon()
        self._exact: dict[str, set[int]] = {}
        self._listed: dict[str, set[int]] = {}
        self._broader: dict[str, set[int]] = {}
        self._by_synset: dict[int, set[int]] = {}
        self._by_main_sense: dict[int, set[int]] = {}
        self._below: dict[int, set[int]] = {}
        self._known: dict[tuple[str, str], dict[int, Level]] = {}
        curated = curated or Curated.load()
        for number, name in enumerate(names):
            word = normalised(name)
            singular = self._lexicon.singular(word, curated, is_plural=False)
            _add(self._exact, {word, singular}, number)
            _add(self._listed, map(normalised, synonyms.get(name, ())), number)
            _add(self._broader, {normalised(name.partition("-")[0])}, number)  # COCO's "wall-brick" is a wall
            self._place(number, word if word in self._lexicon else singular)

    def _place(self, number: int, word: str) -> None:
        """Notes where in WordNet a class stands; a compound that WordNet lacks stands below its last word."""
        _add(self._by_synset, (sense.synset for sense in self._lexicon.senses(word)), number)
        main = self._main_sense(word)
        if main is None:
            head = self._main_sense(word.rpartition(" ")[2])
            _add(self._below, self._lexicon.ancestors(head) if head is not None else (), number)
        else:
            _add(self._by_main_sense, {main}, number)
            _add(self._below, (synset for synset in self._lexicon.ancestors(main) if synset != main), number)

    def agreeing(self, noun: str, canonical: str) -> dict[int, Level]:
        """Numbers of the classes that the noun may mean, each with its tightest level; empty if there is none.

        Args:
            noun: the caption's own words, lower case.
            canonical: its singular dictionary form.
        """
        key = (noun, canonical)
        if key not in self._known:
            self._known[key] = self._agreeing(noun, canonical)
        return self._known[key]

    def _agreeing(self, noun: str, canonical: str) -> dict[int, Level]:
        forms = dict.fromkeys((noun, canonical, normalised(noun), normalised(canonical)))
        senses = self._lexicon.senses(canonical) or self._lexicon.senses(noun)
        main = self._main_sense(canonical)
        found: dict[int, Level] = {}

        def add(numbers: Iterable[int], level: Level) -> None:
            for number in sorted(numbers):
                found.setdefault(number, level)

        for form in forms:
            add(self._exact.get(form, ()), Level.EXACT)
        for form in forms:
            add(self._listed.get(form, ()), Level.SYNONYM)
        named = bool(found)
        if not named:  # a noun that names a class means that class, whatever else the word may mean: 'can', 'toilet'
            add(self._by_synset.get(main, ()) if main is not None else (), Level.SYNONYM)
            for sense in senses:
                add(self._by_main_sense.get(sense.synset, ()), Level.SYNONYM)
        for form in forms:
            add(self._broader.get(form, ()), Level.HYPERNYM)
        for sense in senses:
            add(self._below.get(sense.synset, ()), Level.HYPERNYM)
        kind = main if main is not None else self._main_sense(canonical.rpartition(" ")[2])
        if not named and kind is not None:
            for synset in self._lexicon.ancestors(kind):
                add(self._by_main_sense.get(synset, ()), Level.HYPONYM)
        return found

    def _main_sense(self, word: str) -> int | None:
        """The word's commonest sense that is a physical thing and no name; else its commonest; None if unlisted.

        A kind of person that WordNet's texts never use the word for comes after other things: 'tiger', 'hot dog'.
        """
        senses = self._lexicon.senses(word)
        things = [
            sense for sense in senses if not _is_name(sense) and self._lexicon.is_a(sense.synset, "physical entity")
        ]
        things.sort(key=lambda sense: sense.count == 0 and self._lexicon.is_a(sense.synset, "person"))
        return (things or senses)[0].synset if senses else None


Key = TypeVar("Key", int, str)


def _add(table: dict[Key, set[int]], keys: Iterable[Key], number: int) -> None:
    for key in keys:
        table.setdefault(key, set()).add(number)


def _is_name(sense: Sense) -> bool:
    return sense.word[0].isupper() and not sense.word.isupper()


def read_synonyms(path: str) -> dict[str, list[str]]:
    """Class name -> other words for it.

    Args:
        path: JSON file or URL: {name: [words]}, or a list of {name, forms} as a world's classes.json.

    Raises:
        UserError: there is no such file, or it is neither of the two.
    """
    data = read_json(path, "synonyms")
    if isinstance(data, list) and all(isinstance(entry, dict) and {"name", "forms"} <= entry.keys() for entry in data):
        data = {str(entry["name"]): entry["forms"] for entry in data}
    if not isinstance(data, dict):
        raise UserError(f"synonyms: {path}: expected {{name: [words]}}, or a list of {{name, forms}}")
    for name, words in data.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(
                f"synonyms: {path}: {name!r}: expected a list of words, found {json.dumps(words, default=str)[:80]}"
            )
    return data


def merged_synonyms(names: Sequence[str], *tables: Mapping[str, Iterable[Any]]) -> dict[str, list[str]]:
    """All tables' words by the class names as the truth spells them; tables may spell them otherwise ('dining_table').

    Raises:
        UserError: a table has words, and none of them is for a class of the truth.
    """
    spelling = {normalised(name): name for name in names}
    merged: dict[str, list[str]] = {}
    for table in tables:
        known = {name: words for name, words in table.items() if normalised(name) in spelling}
        if table and not known:
            raise UserError(
                f"synonyms: none of the names is a class of the truth; it has {sorted(table)[0]!r} and so on, "
                f"the truth has {sorted(names)[0]!r} and so on"
            )
        for name, words in known.items():
            merged.setdefault(spelling[normalised(name)], []).extend(words)
    return merged
