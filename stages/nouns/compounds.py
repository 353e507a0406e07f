"""Finds the compounds that the lexicon, LVIS or the hand-kept list has: "hot dog", "fire hydrant", "t-shirt"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stages.nouns.lexicon import COMPOUND_JOINT
from stages.nouns.repairs import ADJECTIVE_TAGS, NOUN_TAGS
from stages.nouns.words import BASIC_COLOURS, WordList

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

PLAIN_PERSONS = frozenset({"man", "woman", "boy", "girl", "lady", "guy", "kid", "child", "person", "people"})
"""After an adjective these make no compound, although WordNet lists "old man" and "little girl"."""

PLAIN_ADJECTIVES = frozenset({"big", "large", "left", "little", "new", "old", "right", "small", "wooden", "young"})
"""The same goes for every compound that begins with one of these: "big wheel", "right hand"."""

BEFORE_PHRASES = frozenset({"with", "in", "on", "a", "an", "the", "near", "by", "and", "under", "from"})
SHORTEST_HALF = 3
"""Letters of a half of a word that is written apart."""

HYPHEN = re.compile(r"\s*-\s*")
LAST_WORD = re.compile(r"[^\W\d_]{2,40}")


class CompoundFinder:
    """Looks for the longest compound at a place.

    Args:
        words: the word lists.
        max_words: words in a compound, at most.
    """

    def __init__(self, words: WordList, max_words: int) -> None:
        self._words, self._max_words = words, max_words
        self._starts = words.lexicon.compound_starts([*words.curated.compounds, *words.curated.lvis])

    def length(self, doc: Doc, place: int, end: int, has_case: bool) -> int:
        """Tokens, hyphens included, of the compound that begins at token `place`; 0 if none does, or a better one
        begins inside it: "fire hydrant" in "red fire hydrant"."""
        length = self._longest(doc, place, end, has_case)
        return 0 if length and self._is_overtaken(doc, place, length, end, has_case) else length

    def _longest(self, doc: Doc, place: int, end: int, has_case: bool) -> int:
        if place + 1 >= end:
            return 0
        first, *rest = COMPOUND_JOINT.split(doc[place].lower_)
        following = doc[place + 1].lower_
        most_words, letters = self._starts.get(first, (1, ""))
        if following == "-":
            most_words = max(most_words, 2)  # "team - mates": listed as one word
        elif not rest and doc[place].whitespace_ and following[0] not in letters:  # not before "'s"
            most_words = 1
        most_words = min(self._max_words, most_words)
        for length in range(min(2 * most_words - 1, end - place), 1, -1):
            span = doc[place : place + length]
            forms = _forms(span)
            if not LAST_WORD.fullmatch(span[-1].lower_) or len(forms[1].split()) > most_words:
                continue
            if any(self._is_compound(span, form, has_case) for form in forms) and not self._is_qualified(span, end):
                return length
        return 2 if self._is_split(doc[place], doc[place + 1]) else 0

    def _is_split(self, first: Token, last: Token) -> bool:
        """Whether two nouns are one word that the lexicon has, written apart: "tooth brush", "team mates"."""
        if not (first.tag_ in NOUN_TAGS and last.tag_ in NOUN_TAGS and first.whitespace_):
            return False
        words = self._words
        joined = words.singular(first.lower_ + last.lower_, is_plural=True)
        return (
            min(len(first), len(last)) >= SHORTEST_HALF
            and words.is_visible(joined)
            and words.is_visible(last.lower_)
            and not words.lexicon.is_name(joined)
            and not words.is_colour(first.lower_)
            and not self._is_modified_inside(first.doc[first.i : last.i + 1])
        )

    def _is_overtaken(self, doc: Doc, place: int, length: int, end: int, has_case: bool) -> bool:
        """Whether a better compound begins inside this one.

        English compounds have their head at the end, so the later one wins unless it is shorter; one that was
        listed by hand wins over one that was not.
        """
        for start in range(place + 1, place + length):
            later = self._longest(doc, start, end, has_case)
            if start + later > place + length:
                by_hand = self._is_by_hand(doc[place : place + length])
                later_by_hand = self._is_by_hand(doc[start : start + later])
                if later_by_hand > by_hand or (later_by_hand == by_hand and later >= length):
                    return True
        return False

    def _is_by_hand(self, span: Span) -> bool:
        return any(self._words.singular(form, is_plural=True) in self._words.curated.compounds for form in _forms(span))

    def _is_compound(self, span: Span, text: str, has_case: bool) -> bool:
        words = self._words
        singular = words.singular(text, is_plural=True)
        for form in (text, singular):
            if form in words.curated.compounds:
                return True
            is_noun = span[-1].tag_ in NOUN_TAGS or form.isalpha()  # "team - mates" is one word, whatever its tags
            if form in words.curated.plain or span[0].tag_ in ("IN", "DT") or not is_noun:
                continue
            if words.lexicon.is_name(form):
                return self._is_name(span, has_case)
            if self._is_listed(form) and not (self._is_plain(span, form) or words.is_nickname(form)):
                return not (words.is_abstract(form) and singular.split()[-1] in words.keep)
        return False

    def _is_name(self, span: Span, has_case: bool) -> bool:
        """Whether a span that WordNet lists as a name is one, in spite of its letters: "white house", "new york"."""
        if has_case and not span.text.islower():
            return span[0].is_title and span[-1].is_title
        words = [token for token in span if token.tag_ != "DT"]  # WordNet has a name "The City"
        return len(words) > 2 or (has_case and not all(self._words.is_common(token.lower_) for token in words))

    def _is_listed(self, form: str) -> bool:
        """Whether a list has the form, or its plural, as of "french fry"."""
        lists = (self._words.lexicon, self._words.curated.lvis)
        return any(one in words for words in lists for one in (form, _plural(form)))

    def _is_plain(self, span: Span, form: str) -> bool:
        """Whether a listed compound says no more here than its last word, or names several things, or is none."""
        last = form.split()[-1]
        if span[0].tag_ in ADJECTIVE_TAGS and (last in PLAIN_PERSONS or span[0].lower_ in PLAIN_ADJECTIVES):
            return True
        if any(token.lower_ in ("and", "of") for token in span):
            return True
        if span[0].lower_ in BASIC_COLOURS or (span[0].lower_ == "orange" and span[0].tag_ in ADJECTIVE_TAGS):
            return not self._words.lexicon.is_species(form, last)
        is_split = self._is_modified_inside(span) and not self._words.is_abstract(form)
        return is_split or _is_verb_and_object(span[0], span[-1])

    def _is_modified_inside(self, span: Span) -> bool:
        """Whether a noun before the span goes with its first word alone: "harbor patrol | boat"."""
        before = span[0].nbor(-1) if span.start else None
        if before is None or before.tag_ not in NOUN_TAGS:
            return False
        is_parsed_so = before.tag_ != "NNP" and before.dep_ == "compound" and before.head == span[0]
        return is_parsed_so or self._words.lexicon.is_group(f"{before.lower_} {span[0].lower_}")

    def _is_qualified(self, span: Span, end: int) -> bool:
        """Whether the rest is a compound of its own after an adjective: "professional | tennis player"."""
        if span[0].tag_ not in ADJECTIVE_TAGS or len(span) < 3 or self._is_by_hand(span):
            return False
        return self._longest(span.doc, span.start + 1, end, has_case=True) >= len(span) - 1


def _forms(span: Span) -> list[str]:
    """How the lexicon may write the span: with its hyphens, with spaces, and, of two words with a hyphen, as one."""
    text = HYPHEN.sub("-", " ".join(span.text.lower().split()))
    forms = [text, text.replace("-", " ")]
    return [*forms, text.replace("-", "")] if "-" in text else forms


def _plural(form: str) -> str:
    return f"{form[:-1]}ies" if re.search("[^aeiou]y$", form) else f"{form}s"


def _is_verb_and_object(first: Token, last: Token) -> bool:
    """Whether the first word is the verb of the last: "kids riding horses", but "a man with measuring cups"."""
    is_inside = first.i > 0 and first.nbor(-1).lower_ in BEFORE_PHRASES
    return first.tag_ == "VBG" and last.dep_ == "dobj" and last.head == first and not is_inside
