"""WordNet 3.0's nouns as one table: which words name visible things, compounds, singulars, synonyms, hypernyms."""

from __future__ import annotations

import hashlib
import lzma
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DATA = Path(__file__).parent / "data"
LEXICON_FILE = DATA / "wordnet_nouns.txt.xz"
CURATED_FILE = DATA / "curated.toml"

VISIBLE_FILES = frozenset({5, 6, 8, 13, 17, 18, 20, 27})
"""WordNet's lexicographer files: animal, artifact, body, food, object, person, plant, substance."""

PHYSICAL_ENTITY = "physical_entity"
UNSEEN_SENSE_COUNT = 0.5
"""Occurrences that a sense is credited with beyond those in WordNet's tagged texts, divided by its rank."""


@dataclass(frozen=True, slots=True)
class Sense:
    """One sense of a word.

    Attributes:
        synset: line of the synset in the table.
        number: rank among the word's senses, from 1, commonest first.
        count: occurrences in WordNet's tagged texts.
        word: the word in its own case, underscores for spaces.
    """

    synset: int
    number: int
    count: int
    word: str


@dataclass(frozen=True)
class Curated:
    """Hand-kept word lists; curated.toml says what each is for."""

    junk: frozenset[str]
    quantity: frozenset[str]
    abstract: frozenset[str]
    keep: frozenset[str]
    compounds: frozenset[str]
    plain: frozenset[str]
    plural_only: frozenset[str]
    singulars: dict[str, str]

    @classmethod
    def load(cls, path: Path = CURATED_FILE) -> Curated:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        singulars = tables.pop("singulars")
        return cls(
            singulars=singulars,
            **{
                name: frozenset(text.split("\n")) - {""} if name == "compounds" else frozenset(text.split())
                for name, text in tables.items()
            },
        )


class Lexicon:
    """Read-only lookups by word; words are lower case with single spaces, whatever they have in WordNet."""

    def __init__(self, path: Path = LEXICON_FILE) -> None:
        synsets, _, plurals = lzma.decompress(path.read_bytes()).decode().partition("\n\n")
        self._files: list[int] = []
        self._parents: list[tuple[int, ...]] = []
        self._words: list[tuple[str, ...]] = []
        self._senses: dict[str, list[Sense]] = {}
        for synset, line in enumerate(synsets.split("\n")):
            file, parents, words = line.split("\t")
            self._files.append(int(file))
            self._parents.append(tuple(map(int, parents.split())))
            entries = [entry.rsplit(":", 2) for entry in words.split("|")]
            self._words.append(tuple(word for word, _, _ in entries))
            for word, number, count in entries:
                key = word.lower().replace("_", " ")
                self._senses.setdefault(key, []).append(Sense(synset, int(number), int(count), word))
        for senses in self._senses.values():
            senses.sort(key=lambda sense: (sense.number, sense.synset))
        self._irregular = dict(line.split("\t") for line in plurals.split("\n"))

    def __contains__(self, word: str) -> bool:
        return word in self._senses

    def senses(self, word: str) -> tuple[Sense, ...]:
        """The word's senses as a noun, commonest first; none for a word that WordNet does not list."""
        return tuple(self._senses.get(word, ()))

    def ancestors(self, synset: int) -> Iterator[int]:
        """The synset and all its hypernyms, nearest first, each once."""
        queue, seen = [synset], {synset}
        for current in queue:
            yield current
            fresh = [parent for parent in self._parents[current] if parent not in seen]
            seen.update(fresh)
            queue.extend(fresh)

    def words(self, synset: int) -> tuple[str, ...]:
        """The synset's words, single spaces for WordNet's underscores, in WordNet's order and case."""
        return tuple(word.replace("_", " ") for word in self._words[synset])

    def is_a(self, synset: int, word: str) -> bool:
        """Whether `word` is among the words of the synset or of one of its hypernyms."""
        return any(word in self.words(ancestor) for ancestor in self.ancestors(synset))

    @cached_property
    def _visible(self) -> list[bool]:
        physical = self._senses[PHYSICAL_ENTITY.replace("_", " ")][0].synset
        return [file in VISIBLE_FILES and physical in self.ancestors(synset) for synset, file in enumerate(self._files)]

    def visibility(self, word: str) -> float | None:
        """Share of the word's uses, in [0, 1], whose sense is a thing one can see; None for an unlisted word.

        A sense is visible if it descends from physical_entity and stands in one of `VISIBLE_FILES`: the second
        condition leaves out processes and causes, which WordNet counts as physical. Uses are WordNet's counts,
        smoothed, as most senses were never counted.
        """
        senses = self._senses.get(word)
        if not senses:
            return None
        weights = [sense.count + UNSEEN_SENSE_COUNT / rank for rank, sense in enumerate(senses, start=1)]
        seen = sum(weight for weight, sense in zip(weights, senses, strict=True) if self._visible[sense.synset])
        return seen / sum(weights)

    def is_name(self, word: str) -> bool:
        """Whether WordNet writes the word with capitals only: a name of a place, person or make."""
        return word in self._senses and all(sense.word != sense.word.lower() for sense in self._senses[word])

    def singular(self, word: str, curated: Curated, is_plural: bool) -> str:
        """Dictionary form of a word or compound; its last word is the one that changes.

        Args:
            word: lower case, single spaces.
            curated: its `plural_only` and `singulars` come before the rules.
            is_plural: the tagger's opinion; it decides for words that WordNet does not list.
        """
        if word in curated.singulars:
            return curated.singulars[word]
        if word in curated.plural_only:
            return word
        if word in self._irregular and (is_plural or word not in self._senses):
            return self._irregular[word]
        if word in self._senses and not is_plural:
            return word
        for ending, replacement in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f")):
            form = word.removesuffix(ending) + replacement
            if word.endswith(ending) and not word.endswith("ss") and form in self._senses:
                return form
        head, space, last = word.rpartition(" ")
        if space:
            return f"{head} {self.singular(last, curated, is_plural)}"
        return _regular_singular(word) if is_plural and word not in self._senses else word


def _regular_singular(word: str) -> str:
    """The singular by spelling alone, for plurals that WordNet does not list."""
    if re.search("(s|x|z|ch|sh)es$", word):
        return word[:-2]
    if re.search("[^aeiou]ies$", word):
        return word[:-3] + "y"
    return word[:-1] if re.search("[^s]s$", word) else word


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
