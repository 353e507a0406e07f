"""The published rule (OVSeg, arXiv 2210.04150, section 3.2): every noun of the caption, by part-of-speech tag."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from stages.common import CaptionNouns, Config, Location, Noun
from stages.nouns.lexicon import Curated, Lexicon
from stages.nouns.tagger import load_tagger, with_lower_start

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class NltkNouns(Config):
    """Every token with one of the tags is a noun, a token at a time; nothing is dropped."""

    kind: Literal["nltk"] = "nltk"
    tags: tuple[Literal["NN", "NNS", "NNP", "NNPS"], ...] = Field(
        default=("NN", "NNS", "NNP", "NNPS"),
        min_length=1,
        description="Penn Treebank tags that make a noun; [NN] alone is the strict reading, which loses plurals",
    )
    tagger: Location | None = Field(
        default=None,
        description="folder or URL with the JSON files of NLTK's own averaged_perceptron_tagger_eng; if absent, the "
        "shipped weights",
    )


class NltkExtractor:
    """NLTK's averaged perceptron tagger on NLTK's tokens; no NLTK data needs to be downloaded."""

    def __init__(self, config: NltkNouns) -> None:
        """Loads tagger and lexicon.

        Raises:
            UserError: `config.tagger` is no folder with NLTK's three JSON files.
        """
        from nltk.tokenize import NLTKWordTokenizer

        self._tags = frozenset(config.tags)
        self._tagger = load_tagger(config.tagger)
        self._tokenizer = NLTKWordTokenizer()
        self._lexicon, self._curated = Lexicon(), Curated.load()

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """See `NounExtractor.extract`."""
        return [CaptionNouns(tuple(self._nouns(number, caption))) for number, caption in enumerate(captions)]

    def _nouns(self, number: int, caption: str) -> Iterator[Noun]:
        sentences = list(_sentences(caption))
        spans = [self._spans(sentence) for _, sentence in sentences]
        words = [[text[start:end] for start, end in places] for (_, text), places in zip(sentences, spans, strict=True)]
        names = {word for sentence in words for word in sentence[1:] if word[0].isupper() and self._may_be_name(word)}
        for (sentence_start, _), places, tokens in zip(sentences, spans, words, strict=True):
            tags = self._tagger.tag(with_lower_start(tokens, names))
            for (start, end), token, (_, tag) in zip(places, tokens, tags, strict=True):
                if tag in self._tags and token.isprintable() and any(map(str.isalpha, token)):
                    surface = token.lower()
                    canonical = self._lexicon.singular(surface, self._curated, is_plural=tag.endswith("S"))
                    yield Noun(surface, canonical, number, sentence_start + start, sentence_start + end, f"tag:{tag}")

    def _may_be_name(self, word: str) -> bool:
        """Whether the word is none of those that the tagger knows to be no noun, as "A" in "A Dog And A Cat"."""
        return str(self._tagger.tagdict.get(word.lower(), "NN")).startswith("NN")

    def _spans(self, sentence: str) -> list[tuple[int, int]]:
        """Character spans of the sentence's tokens."""
        try:
            return list(self._tokenizer.span_tokenize(sentence))
        except ValueError:  # NLTK cannot align some mixtures of quotation marks
            return [match.span() for match in re.finditer(r"\w+(?:[-']\w+)*|[^\w\s]", sentence)]


def _sentences(caption: str) -> Iterator[tuple[int, str]]:
    """The caption's sentences with their starts: the tokenizer parts a full stop from a word at the end only."""
    start = 0
    for match in SENTENCE_END.finditer(caption):
        yield start, caption[start : match.start()]
        start = match.end()
    yield start, caption[start:]
