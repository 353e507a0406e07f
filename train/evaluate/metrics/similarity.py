"""Similarity of class names by their places in WordNet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.nouns.lexicon import VISIBLE_FILES, Curated, Lexicon, Sense

PREPOSITIONS = frozenset({"of", "with", "in", "on", "for", "at", "by", "to", "from"})
UNRELATED = np.iinfo(np.int16).max


@dataclass(frozen=True, slots=True)
class Entry:
    """What WordNet knows of one class.

    Attributes:
        synset: the lexicon's number of the sense that the class is taken in; None for none.
        sense: the words of that sense, for a person to check.
        by: how it was found: ``name``, by a name of the class; ``head``, by the head word of a name that WordNet lacks
            (the 'plant' of 'potted plant'); ``nothing``, not at all.
    """

    synset: int | None
    sense: tuple[str, ...]
    by: Literal["name", "head", "nothing"]


class Taxonomy(Lexicon):
    """WordNet 3.0's nouns, read for the senses of class names and for the way from one sense to another."""

    def __init__(self) -> None:
        super().__init__()
        self._curated = Curated.load()

    def entry(self, names: Sequence[str]) -> Entry:
        """The sense that most of a class's names share.

        Of equals: first one that can be seen (of 'table' the furniture, not the rows and columns) and is no name of a
        person or place, then that of the earlier name, then the commoner.
        """
        clean = [" ".join(name.lower().replace("_", " ").split()) for name in names]
        by: Literal["name", "head"] = "name"
        words = [word for word in map(self._listed, clean) if word]
        if not words:
            by = "head"
            words = [word for word in map(self._head, clean) if word]
        if not words:
            return Entry(None, (), "nothing")
        senses = {word: self.senses(word) for word in words}
        names_of = Counter(synset for found in senses.values() for synset in {sense.synset for sense in found})
        every = (sense for found in senses.values() for sense in found)
        best = min(every, key=lambda sense: (-names_of[sense.synset], self._tier(sense)))
        return Entry(best.synset, self.words(best.synset), by)

    def _tier(self, sense: Sense) -> int:
        """0 for a visible kind of thing, 1 for a visible thing with a name or an abbreviation, 2 for the rest."""
        if self._files[sense.synset] not in VISIBLE_FILES:
            return 2
        return 0 if sense.word.islower() else 1

    def _listed(self, name: str) -> str | None:
        """The form of the name that WordNet lists: itself, with spaces for hyphens, or in the singular."""
        for form in (name, name.replace("-", " ")):
            for candidate in (form, self.singular(form, self._curated, is_plural=True)):
                if candidate in self:
                    return candidate
        return None

    def _head(self, name: str) -> str | None:
        """The longest ending that WordNet lists of the name up to its first preposition."""
        words = name.replace("-", " ").split()
        end = next((place for place, word in enumerate(words) if place and word in PREPOSITIONS), len(words))
        endings = (self._listed(" ".join(words[start:end])) for start in range(end))
        return next((ending for ending in endings if ending), None)

    def steps_up(self, synset: int) -> dict[int, int]:
        """The synset and all its hypernyms -> the fewest steps to each."""
        steps = {synset: 0}
        queue = [synset]
        for current in queue:
            for parent in self._parents[current]:
                if parent not in steps:
                    steps[parent] = steps[current] + 1
                    queue.append(parent)
        return steps


def wordnet_entries(classes: Sequence[Sequence[str]], taxonomy: Taxonomy | None = None) -> list[Entry]:
    """The senses that `wordnet_similarity` goes by, one per class; report those that were not found by name.

    Args:
        classes: the names of each class, synonyms of each other.
        taxonomy: one that is loaded already (loading takes a second).

    Raises:
        ValueError: a class is a bare text, not a list of names.
    """
    for number, names in enumerate(classes):
        if isinstance(names, str):
            raise ValueError(f"class {number}: expected a list of names, got the text {names!r}; write [{names!r}]")
    taxonomy = taxonomy or Taxonomy()
    return [taxonomy.entry(names) for names in classes]


def wordnet_similarity(classes: Sequence[Sequence[str]], taxonomy: Taxonomy | None = None) -> NDArray[np.float64]:
    """WordNet's path similarity of classes: 1 / (1 + fewest hypernym steps from one to the other).

    Path similarity is what the published matrices of Open-mIoU hold (Zhou et al., arXiv 2311.03352; qqlu/Entity,
    Open-Metrics/similarity_matrix), for one name and one sense per class. Which sense is this project's rule:
    `Taxonomy.entry`. A class whose names WordNet lacks goes by the head word of a name, and without that is similar to
    itself alone.

    Args:
        classes: the names of each of C classes, synonyms of each other, in any case, in the singular or plural.
        taxonomy: one that is loaded already (loading takes a second).

    Returns:
        float64 [C, C], symmetric, from 0 to 1, 1 on the diagonal. WordNet's nouns have one root, so only classes that
        it lacks are 0 to others. Classes of the same sense are 1 to each other.

    Raises:
        ValueError: a class is a bare text, not a list of names.
    """
    taxonomy = taxonomy or Taxonomy()
    below: dict[int, list[tuple[int, int]]] = {}
    for number, entry in enumerate(wordnet_entries(classes, taxonomy)):
        if entry.synset is not None:
            for hypernym, steps in taxonomy.steps_up(entry.synset).items():
                below.setdefault(hypernym, []).append((number, steps))
    fewest = np.full((len(classes), len(classes)), UNRELATED)
    for found in below.values():
        numbers, up = np.array(found, np.int16).T
        pairs = np.ix_(numbers, numbers)
        fewest[pairs] = np.minimum(fewest[pairs], up[:, None] + up)
    np.fill_diagonal(fewest, 0)
    return np.where(fewest == UNRELATED, 0.0, 1 / (1 + fewest.astype(np.float64)))
