"""Nouns that name a visible region: heads of noun phrases and compounds, less what no region shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.common import CaptionNouns, Config, DroppedNoun, Noun
from stages.nouns import context
from stages.nouns.compounds import CompoundFinder
from stages.nouns.lexicon import Curated, Lexicon
from stages.nouns.reading import Reader, Reading, load_model
from stages.nouns.repairs import ADJECTIVE_TAGS, NAME_TAGS, NOUN_TAGS, PLURAL_TAGS
from stages.nouns.words import MIN_NAME_SHARE, WordList

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Span, Token

__all__ = ["SpacyExtractor", "SpacyNouns", "load_model"]

NOUN_PLACES = frozenset({"nsubj", "nsubjpass", "dobj", "pobj", "attr"})
"""spaCy's dependency labels of a subject, an object, or a noun after "there are"."""

HOLLOW = frozenset({"junk", "abstract"})
MIN_CAPITALISED_NAME_SHARE = 0.1
"""A capitalised word is a name if so many of its uses are; in texts whose capitals say nothing, half of them."""

WORD = re.compile(r"[^\W\d_]{2,40}|[^\W\d_]{1,40}(?:[ _'’-]+[^\W\d_]{1,40})+")
COMPOUND = re.compile(r"[^\W_]{1,40}(?:[ _'’-]+[^\W_]{1,40})*")


class SpacyNouns(Config):
    """Heads and compounds by spaCy's small English model, filtered by what WordNet says one can see."""

    kind: Literal["spacy"] = "spacy"
    multiword: bool = Field(default=True, description="take the longest compound that the lexicon lists: 'hot dog'")
    max_words: int = Field(default=4, ge=1, le=8, description="words in a compound, at most")
    drop_modifiers: bool = Field(default=True, description="in 'garage door', 'garage' is no noun of its own")
    drop_junk: bool = Field(default=True, description="drop 'group', 'side', 'photo'; in 'group of dogs' keep 'dogs'")
    drop_abstract: bool = Field(default=True, description="drop what cannot be seen: 'time', 'love', 'freedom'")
    drop_names: bool = Field(default=True, description="drop names of people, places and makes, landmarks excepted")
    drop_negated: bool = Field(default=True, description="drop what the caption says is absent: 'no people'")
    drop_repeated: bool = Field(default=True, description="keep the first of several equal nouns of a caption")
    min_visibility: float = Field(
        default=0.15, ge=0, le=1, description="a noun is abstract if a smaller share of its uses is a visible thing"
    )
    extra_junk: tuple[str, ...] = Field(default=(), description="more junk nouns, singular")
    extra_keep: tuple[str, ...] = Field(
        default=(), description="nouns, singular, that are never junk, abstract or a name"
    )


class SpacyExtractor:
    """spaCy's small English model, NLTK's tagger, the WordNet lexicon and the curated lists."""

    def __init__(self, config: SpacyNouns, nlp: Language | None = None, lexicon: Lexicon | None = None) -> None:
        """Takes or loads the model, with tagger and parser, and the lexicon."""
        self._config = config
        self._words = WordList(
            lexicon or Lexicon(),
            Curated.load(),
            junk=frozenset(word.lower() for word in config.extra_junk),
            keep=frozenset(word.lower() for word in config.extra_keep),
            min_visibility=config.min_visibility,
        )
        self._reader = Reader(self._words, nlp)
        self._compounds = CompoundFinder(self._words, config.max_words)

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """See `NounExtractor.extract`."""
        return [self._select(number, reading) for number, reading in enumerate(self._reader.read(captions))]

    def _select(self, number: int, reading: Reading) -> CaptionNouns:
        found = list(self._candidates(reading))
        nouns: list[Noun] = []
        dropped: list[DroppedNoun] = []
        seen: set[str] = set()
        for (span, rule), reason in zip(found, self._reasons(found, reading.has_case), strict=True):
            surface = " ".join(span.text.lower().split())
            place = (number, *reading.place(span))
            if not (COMPOUND if rule == "compound" else WORD).fullmatch(surface):
                reason = "not_a_word"
            elif reason is None and self._config.drop_repeated and surface in seen:
                reason = "repeated"
            if reason is None:
                nouns.append(Noun(surface, self._canonical(span), *place, rule))
                seen.add(surface)
            else:
                dropped.append(DroppedNoun(surface, *place, reason))
        return CaptionNouns(tuple(nouns), tuple(dropped))

    def _canonical(self, span: Span) -> str:
        text = " ".join(span.text.lower().split())
        return self._words.singular(text, is_plural=span[-1].tag_ in PLURAL_TAGS)

    def _candidates(self, reading: Reading) -> Iterator[tuple[Span, str]]:
        """Spans and the rules that found them, in order, without overlap; the longest compound at a place wins."""
        place = reading.first
        while place < reading.end:
            length = 0
            if self._config.multiword:
                length = self._compounds.length(reading.doc, place, reading.end, reading.has_case)
            if length or self._is_noun(reading.doc[place]):
                yield reading.doc[place : place + max(length, 1)], "compound" if length else "head"
            place += max(length, 1)

    def _is_noun(self, token: Token) -> bool:
        """By its tag, or an "adjective" that stands where a noun must and that the lexicon lists: "out of the oven"."""
        if token.tag_ in NOUN_TAGS:
            return not (token.tag_ in NAME_TAGS and token.dep_ == "amod" and token.is_lower)  # "snowy", mistagged
        if token.tag_ not in ADJECTIVE_TAGS or token.dep_ not in NOUN_PLACES:
            return False
        return self._words.singular(token.lower_, is_plural=False) in self._words.lexicon

    def _reasons(self, found: list[tuple[Span, str]], has_case: bool) -> list[str | None]:
        """Why each candidate names no region; None if it does.

        A modifier takes the place of a head that shows nothing: in "kitchen area" the region is the kitchen.
        """
        reasons: list[str | None] = []
        for place in reversed(range(len(found))):
            span, rule = found[place]
            following = (
                found[place + 1][0] if place + 1 < len(found) and found[place + 1][0].start == span.end else None
            )
            stands_alone = following is not None and reasons[-1] in HOLLOW
            is_modifier = context.is_half_of_adjective(span[-1]) or (
                not stands_alone and self._is_modifier(span[-1], following, has_case)
            )
            if self._config.drop_modifiers and is_modifier:
                reasons.append("modifier")
            else:
                reasons.append(self._reason(span, rule, has_case))
        return reasons[::-1]

    def _reason(self, span: Span, rule: str, has_case: bool) -> str | None:
        config, words, last, canonical = self._config, self._words, span[-1], self._canonical(span)
        if span[0].i and span[0].nbor(-1).text == "#" and not words.knows(canonical):
            return "not_a_word"
        if config.drop_negated and context.is_negated(span):
            return "negated"
        is_quantity = canonical in words.curated.quantity and context.is_followed(last, {"of"})
        is_pack = not has_case and canonical in words.curated.packs
        if config.drop_junk and (is_quantity or is_pack or context.is_count(span)):
            return "junk"
        if config.drop_modifiers and not has_case and context.is_audience(span, words):
            return "modifier"
        if config.drop_abstract and self._is_abstract_here(span, canonical, has_case):
            return "abstract"
        if canonical in words.keep or canonical in words.curated.compounds or canonical in words.curated.plural_only:
            return None
        if has_case and canonical in words.curated.pictures and context.is_thing(span):
            return None
        if config.drop_junk and canonical in words.junk:
            return "junk"
        if config.drop_names and self._is_name(span, canonical, rule, has_case):
            return "name"
        if config.drop_abstract and words.is_abstract(canonical):
            return "abstract"
        return None

    def _is_abstract_here(self, span: Span, canonical: str, has_case: bool) -> bool:
        """Whether what stands around a noun that often names a thing makes it a colour, a game, a deed."""
        curated = self._words.curated
        return (
            (canonical in curated.games and context.is_game(span))
            or (canonical in curated.deeds and context.is_deed(span))
            or (canonical in curated.meals and context.is_to_come(span))
            or context.is_idiom(span)
            or context.is_looked_into(span)
            or context.is_colour(span, self._words, has_case)
        )

    def _is_name(self, span: Span, canonical: str, rule: str, has_case: bool) -> bool:
        lexicon, token = self._words.lexicon, span[-1]
        if lexicon.is_name(canonical):
            if rule == "compound":
                return not (lexicon.is_landmark(canonical) or lexicon.is_building(canonical.split()[-1]))
            return not (lexicon.is_landmark(canonical) and lexicon.is_building(canonical))
        if rule == "compound":
            return has_case and context.ends_name(span) and not lexicon.is_building(canonical)
        is_listed = canonical in self._words.curated.lvis
        if not has_case:
            return not is_listed and lexicon.name_share(canonical) >= MIN_NAME_SHARE
        if token.tag_ not in NAME_TAGS or not token.text[0].isupper():
            return False
        is_run = context.is_in_capitalised_run(token) and not lexicon.is_building(canonical)
        return lexicon.name_share(canonical) >= MIN_CAPITALISED_NAME_SHARE or is_run

    def _is_modifier(self, token: Token, following: Span | None, has_case: bool) -> bool:
        """Whether the token only modifies the noun after it: "garage door", "men's jeans".

        Titles say "bath towel set" where sentences have a verb between nouns, so there the next noun is the head.
        """
        if token.dep_ == "poss":
            return token.tag_ in PLURAL_TAGS
        if not has_case and following is not None and self._may_be_head(following[-1]):
            return True
        if following is not None and following[-1].head == token and following[-1].dep_ == "dobj":
            return self._may_be_head(following[-1])  # the parser took the noun for a verb: "avocado toast"
        if token.dep_ not in context.MODIFIES or token.head.i < token.i:
            return False
        if not self._may_be_head(token.head):  # a verb that the parser took for a noun: "A police horse drinks"
            return following is not None and following[-1].head == token.head and self._may_be_head(following[-1])
        return all(self._may_follow_modifier(other) for other in token.doc[token.i + 1 : token.head.i + 1])

    def _may_be_head(self, token: Token) -> bool:
        """Whether a noun can be what the one before it modifies: neither a code nor a colour, "Kettle 1.7L Black"."""
        is_colour = self._words.is_colour(token.lower_) and not self._words.is_visible(token.lower_)
        is_half = context.is_half_of_adjective(token)
        return token.tag_ in NOUN_TAGS and token.is_alpha and not is_colour and not is_half

    def _may_follow_modifier(self, token: Token) -> bool:
        """Whether a compound may go on with the token; "harvesting" in "farmer harvesting wheat" is
        a verb, whatever its tag."""
        if token.tag_ not in NOUN_TAGS | ADJECTIVE_TAGS:
            return context.is_hyphen(token)
        return not (token.lower_.endswith("ing") and self._words.is_abstract(token.lower_))
