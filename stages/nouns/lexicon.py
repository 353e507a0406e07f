"""WordNet 3.0 as one table: which words name visible things, compounds, singulars, synonyms, hypernyms, other uses."""

from __future__ import annotations

import lzma
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DATA = Path(__file__).parent / "data"
LEXICON_FILE = DATA / "wordnet_nouns.txt.xz"
CURATED_FILE = DATA / "curated.toml"
LVIS_FILE = DATA / "lvis_names.txt"

VISIBLE_FILES = frozenset({3, 5, 6, 8, 13, 15, 17, 18, 20, 27})
"""WordNet's lexicographer files: tops (the highest words: food, person), animal, artifact, body, food, location,
object, person, plant, substance."""

LANDMARK_FILES = frozenset({6, 17})
"""WordNet's lexicographer files: artifact, object."""

KIND_FILES = frozenset({5, 6, 13, 20})
"""WordNet's lexicographer files whose kinds are no names, whatever their capitals: animal, artifact, food, plant."""

BUILT = ("building", "bridge", "tower", "zoo", "stadium")
TAXON = "taxonomic group"
"""Above Latin names of animals and plants: "Paris" is a genus, too."""

SPECIES_FILES = KIND_FILES - {6}
GROUP_FILE = 14
"""WordNet's lexicographer file of groups of people and things."""

ATTRIBUTE_FILE = 7
"""WordNet's lexicographer file of what things are like, colours among it."""

COLOURS = ("chromatic color", "achromatic color")
COMPOUND_JOINT = re.compile("[ -]")
NAME_PARTICLES = frozenset({"of", "the", "and", "de"})
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


@dataclass(frozen=True, slots=True)
class OtherUses:
    """How often WordNet's tagged texts have a word as no noun; None for a part of speech that it is not listed as."""

    verb: int | None = None
    adjective: int | None = None
    adverb: int | None = None


@dataclass(frozen=True, eq=False)
class Curated:
    """Hand-kept word lists; curated.toml says what each is for."""

    junk: frozenset[str]
    quantity: frozenset[str]
    abstract: frozenset[str]
    keep: frozenset[str]
    compounds: frozenset[str]
    plain: frozenset[str]
    plural_only: frozenset[str]
    games: frozenset[str]
    pictures: frozenset[str]
    deeds: frozenset[str]
    meals: frozenset[str]
    audience: frozenset[str]
    packs: frozenset[str]
    not_lvis: frozenset[str]
    singulars: dict[str, str]
    lvis: frozenset[str]

    @classmethod
    def load(cls, path: Path = CURATED_FILE) -> Curated:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        lines = {name: frozenset(tables.pop(name).split("\n")) - {""} for name in ("compounds", "plain")}
        singulars = tables.pop("singulars")
        words = {name: frozenset(text.split()) for name, text in tables.items()}
        lvis = frozenset(lvis_names()) - words["not_lvis"] - lines["plain"]
        return cls(**lines, **words, singulars=singulars, lvis=lvis)


def lvis_names(path: Path = LVIS_FILE) -> Iterator[str]:
    """LVIS's names in lower case, spaces for underscores, without what it says in brackets to tell senses apart."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line.partition("_(")[0].lower().replace("_", " ")


class Lexicon:
    """Read-only lookups by word; words are lower case with single spaces, whatever they have in WordNet."""

    def __init__(self, path: Path = LEXICON_FILE) -> None:
        synsets, plurals, others = lzma.decompress(path.read_bytes()).decode().split("\n\n")
        self._files: list[int] = []
        self._parents: list[tuple[int, ...]] = []
        self._is_instance: list[bool] = []
        self._words: list[tuple[str, ...]] = []
        self._senses: dict[str, list[Sense]] = {}
        for synset, line in enumerate(synsets.split("\n")):
            file, parents, words = line.split("\t")
            self._files.append(int(file))
            self._parents.append(tuple(int(parent.removeprefix("i")) for parent in parents.split()))
            self._is_instance.append(parents.startswith("i"))
            entries = [entry.rsplit(":", 2) for entry in words.split("|")]
            self._words.append(tuple(word for word, _, _ in entries))
            for word, number, count in entries:
                key = word.lower().replace("_", " ")
                self._senses.setdefault(key, []).append(Sense(synset, int(number), int(count), word))
        for senses in self._senses.values():
            senses.sort(key=lambda sense: (sense.number, sense.synset))
        self._irregular = dict(line.split("\t") for line in plurals.split("\n"))
        self._others: dict[str, OtherUses] = {}
        for line in others.split("\n"):
            word, *counts = line.split("\t")
            self._others[word] = OtherUses(*(int(count) if count else None for count in counts))

    def compound_starts(self, more: Iterable[str]) -> dict[str, tuple[int, str]]:
        """First word of compounds -> most words of one, first letters of second words, which plurals keep."""
        starts: dict[str, tuple[int, str]] = {}
        for compound in (*self._senses, *more):
            words = COMPOUND_JOINT.split(compound)
            if len(words) > 1:
                most, letters = starts.get(words[0], (0, ""))
                starts[words[0]] = max(len(words), most), letters + words[1][: words[1][0] not in letters]
        return starts

    def __contains__(self, word: object) -> bool:
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

        A sense is visible if it descends from physical_entity and stands in one of `VISIBLE_FILES`, which have neither
        processes nor causes. Uses are WordNet's counts, smoothed, as most senses were never counted.
        """
        return self._share(word, lambda sense: self._visible[sense.synset]) if word in self._senses else None

    def _share(self, word: str, holds: Callable[[Sense], bool]) -> float:
        """Share of the uses of a listed word, in [0, 1], whose sense passes the test."""
        senses = self._senses[word]
        weights = [sense.count + UNSEEN_SENSE_COUNT / rank for rank, sense in enumerate(senses, start=1)]
        return sum(weight for weight, sense in zip(weights, senses, strict=True) if holds(sense)) / sum(weights)

    def is_name(self, word: str) -> bool:
        """Whether WordNet writes all of the word with capitals, in every sense: a place, a person, a make.

        What it writes so and yet sorts as a kind of animal, plant, food or made thing is no name: Dalmatian, DVD.
        """
        senses = self._senses.get(word, ())
        return bool(senses) and all(self._is_capitalised(sense) for sense in senses)

    def name_share(self, word: str) -> float:
        """Share of the word's uses, in [0, 1], that WordNet writes with capitals; 1 for an unlisted word."""
        return self._share(word, self._is_capitalised) if word in self._senses else 1.0

    def is_landmark(self, word: str) -> bool:
        """Whether the word is the name of a made or natural object: 'eiffel tower', 'panama canal'."""
        return self.is_name(word) and any(self._files[sense.synset] in LANDMARK_FILES for sense in self.senses(word))

    def is_building(self, word: str) -> bool:
        """Whether one of the word's two commonest senses is something built: "bridge", "zoo", "colosseum"."""
        return any(self.is_a(sense.synset, kind) for sense in self.senses(word)[:2] for kind in BUILT)

    def _is_capitalised(self, sense: Sense) -> bool:
        """Whether the sense is written as a name and is none of a kind: "Laundromat" and "Dalmatian" are kinds."""
        parts = [part for part in sense.word.split("_") if part not in NAME_PARTICLES]
        if not all(part[0].isupper() for part in parts):
            return False
        is_kind = self._files[sense.synset] in KIND_FILES and not self._is_instance[sense.synset]
        return not is_kind or self.is_a(sense.synset, TAXON)

    def is_colour(self, word: str) -> bool:
        """Whether one of the word's senses is a colour: "taupe", "olive", "orange"."""
        return word in self._colours

    @cached_property
    def _colours(self) -> frozenset[str]:
        attributes = (synset for synset, file in enumerate(self._files) if file == ATTRIBUTE_FILE)
        colours = (synset for synset in attributes if any(self.is_a(synset, colour) for colour in COLOURS))
        return frozenset(word.lower() for synset in colours for word in self.words(synset))

    def is_species(self, compound: str, last: str) -> bool:
        """Whether the compound is a kind of animal, plant or food that its last word names: "brown bear" is a bear."""
        return any(
            self._files[sense.synset] in SPECIES_FILES and self.is_a(sense.synset, last)
            for sense in self.senses(compound)
        )

    def is_group(self, word: str) -> bool:
        """Whether one of the word's senses is a group of things or living beings: "knot", "pride", "fleet"."""
        return any(self._files[sense.synset] == GROUP_FILE for sense in self.senses(word))

    def other_uses(self, word: str) -> OtherUses | None:
        """How often a single word was met as no noun; None if WordNet lists it as a noun alone, or not at all."""
        return self._others.get(word)

    def noun_count(self, word: str) -> int:
        """How often the word was met as a noun in WordNet's tagged texts."""
        return sum(sense.count for sense in self.senses(word))

    def verb_of(self, word: str) -> str | None:
        """The verb that the word can be a form of in the present tense: "slices", "slice"; None if it is none."""
        for ending, replacement in (("", ""), ("s", ""), ("es", ""), ("ies", "y")):
            form = word.removesuffix(ending) + replacement
            uses = self._others.get(form)
            if word.endswith(ending) and uses is not None and uses.verb is not None:
                return form
        return None

    def may_be_verb(self, word: str) -> bool:
        """Whether the word can be a form of a verb that WordNet lists, irregular past forms left aside."""
        stem = re.sub("(ed|ing|d)$", "", word)
        forms = (word, stem, stem + "e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem)
        return any(self.verb_of(form) is not None for form in forms)

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
        is_for_several = all(self._files[sense.synset] == GROUP_FILE for sense in self.senses(word))  # "businessmen"
        if word.endswith("men") and is_for_several and (word[:-3] + "man" in self._senses or is_plural):
            return word[:-3] + "man"
        if word in self._senses and not is_plural:
            return word
        for ending, replacement in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f")):
            form = word.removesuffix(ending) + replacement
            is_listed = form in self._senses or form in curated.compounds
            if word.endswith(ending) and not word.endswith("ss") and is_listed:
                return form
        head, space, last = word.rpartition(" ")
        if space:
            return f"{head} {self.singular(last, curated, is_plural)}"
        return _regular_singular(word) if is_plural and is_for_several else word


def _regular_singular(word: str) -> str:
    """The singular by spelling alone, for plurals that WordNet does not list."""
    if re.search("(s|x|z|ch|sh)es$", word):
        return word[:-2]
    if re.search("[^aeiou]ies$", word):
        return word[:-3] + "y"
    return word[:-1] if re.search("[^s]s$", word) else word
