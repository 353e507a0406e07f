"""What single words are: the lexicon and the hand-kept lists, asked together."""

from __future__ import annotations

from functools import lru_cache

from stages.nouns.lexicon import Curated, Lexicon

PERSON, ANIMAL = "person", "animal"
BASIC_COLOURS = frozenset(
    {"black", "white", "red", "green", "blue", "yellow", "brown", "gray", "grey", "purple", "pink"}
)
MIN_NAME_SHARE = 0.5
REMEMBERED = 1 << 15
"""Answers that are kept for each of the questions that are asked again and again."""

UNSEEN = 0.5
"""Uses as verb and as noun that each verb is credited with beyond those in WordNet's tagged texts."""


class WordList:
    """Lookups by word in lower case.

    Args:
        lexicon: WordNet.
        curated: the hand-kept lists.
        junk, keep: more words for the lists of these names.
        min_visibility: a noun is abstract if a smaller share of its uses is a visible thing.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        curated: Curated,
        junk: frozenset[str] = frozenset(),
        keep: frozenset[str] = frozenset(),
        min_visibility: float = 0.15,
    ) -> None:
        self.lexicon, self.curated = lexicon, curated
        self.junk, self.keep = curated.junk | junk, curated.keep | keep
        self._min_visibility = min_visibility
        self._singular = lru_cache(REMEMBERED)(lexicon.singular)
        self._remembered_abstract = lru_cache(REMEMBERED)(self._is_abstract)
        self._remembered_kind = lru_cache(REMEMBERED)(self._is_a)

    def singular(self, word: str, is_plural: bool) -> str:
        """Dictionary form; see `Lexicon.singular`."""
        return self._singular(word, self.curated, is_plural)

    def knows(self, canonical: str) -> bool:
        """Whether any list has the noun."""
        return any(canonical in words for words in (self.lexicon, self.keep, self.curated.compounds, self.curated.lvis))

    def is_common(self, word: str) -> bool:
        """Whether the word is listed, and not as a name above all."""
        if self.lexicon.other_uses(word) is not None:
            return True
        canonical = self.singular(word, is_plural=True)
        return canonical in self.curated.lvis or (
            self.knows(canonical) and self.lexicon.name_share(canonical) < MIN_NAME_SHARE
        )

    def is_visible(self, word: str) -> bool:
        """Whether the word, singular or plural, is a listed noun for something one can see."""
        canonical = self.singular(word, is_plural=True)
        if canonical in self.junk or canonical in self.curated.abstract:
            return False
        return self.knows(canonical) and not self.is_abstract(canonical)

    def is_abstract(self, canonical: str) -> bool:
        """Whether a singular noun or compound names nothing that one can see."""
        return self._remembered_abstract(canonical)

    def _is_abstract(self, canonical: str) -> bool:
        if canonical in self.curated.abstract:
            return True
        if canonical in self.keep or canonical in self.curated.lvis:
            return False
        visibility = self.lexicon.visibility(canonical)
        if visibility is None:
            return canonical.endswith("ing")  # activities that WordNet does not list: "texting"
        if visibility >= self._min_visibility:
            return False
        # WordNet calls a "credit card" a sum of money; but a compound is most often a kind of what its last word says.
        last = canonical.split()[-1]
        return last == canonical or last in self.curated.abstract or (self.lexicon.visibility(last) or 0) < 0.5

    def is_compound(self, first: str, last: str) -> bool:
        """Whether LVIS or the hand-kept list has the two words as a compound, or WordNet just as they are."""
        text = f"{first} {last}"
        compound = self.singular(text, is_plural=True)
        return compound in self.curated.compounds or compound in self.curated.lvis or text in self.lexicon

    def is_person(self, word: str) -> bool:
        """Whether the word's first sense is a person."""
        return self._remembered_kind(word, PERSON)

    def is_living(self, word: str) -> bool:
        """Whether the word's first sense is a person or an animal."""
        return self._remembered_kind(word, PERSON) or self._remembered_kind(word, ANIMAL)

    def _is_a(self, word: str, kind: str) -> bool:
        senses = self.lexicon.senses(self.singular(word, is_plural=True))
        return bool(senses) and self.lexicon.is_a(senses[0].synset, kind)

    def is_nickname(self, compound: str) -> bool:
        """Whether a compound that ends with an animal is nothing but people to WordNet: "lone wolf", "sitting duck"."""
        senses = self.lexicon.senses(compound)
        is_people = bool(senses) and all(self.lexicon.is_a(sense.synset, PERSON) for sense in senses)
        return is_people and self._remembered_kind(compound.split()[-1], ANIMAL)

    def is_colour(self, word: str) -> bool:
        """Whether the word can be a colour's name."""
        return word in BASIC_COLOURS or self.lexicon.is_colour(word)

    def verb_share(self, verb: str) -> float:
        """Share of a verb's uses, in [0, 1], in which it is the verb and not the noun of the same form."""
        uses = self.lexicon.other_uses(verb)
        as_verb = 0 if uses is None or uses.verb is None else uses.verb
        return (as_verb + UNSEEN) / (as_verb + self.lexicon.noun_count(verb) + 2 * UNSEEN)
