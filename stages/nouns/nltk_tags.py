"""The published rule (OVSeg, arXiv 2210.04150, section 3.2): every noun of the caption, by part-of-speech tag."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from stages.common import CaptionNouns, Config, Folder, Location, Noun, UserError
from stages.nouns.lexicon import DATA, Curated, Lexicon

TAGGER_FILE = DATA / "tagger_eng.json.gz"
NLTK_NAME = "averaged_perceptron_tagger_eng"
TAGGER_PARTS = ("weights", "tagdict", "classes")
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
        from nltk.tag.perceptron import PerceptronTagger
        from nltk.tokenize import NLTKWordTokenizer

        self._tags = frozenset(config.tags)
        parts = _shipped_weights() if config.tagger is None else _own_weights(config.tagger)
        self._tagger = PerceptronTagger(load=False)
        self._tagger.decode_json_params(parts)
        self._tokenizer = NLTKWordTokenizer()
        self._lexicon, self._curated = Lexicon(), Curated.load()

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """See `NounExtractor.extract`."""
        return [CaptionNouns(tuple(self._nouns(number, caption))) for number, caption in enumerate(captions)]

    def _nouns(self, number: int, caption: str) -> Iterator[Noun]:
        for sentence_start, sentence in _sentences(caption):
            spans = self._spans(sentence)
            for (start, end), (token, tag) in zip(
                spans, self._tagger.tag([sentence[start:end] for start, end in spans]), strict=True
            ):
                if tag in self._tags and token.isprintable() and any(map(str.isalpha, token)):
                    surface = token.lower()
                    canonical = self._lexicon.singular(surface, self._curated, is_plural=tag.endswith("S"))
                    yield Noun(surface, canonical, number, sentence_start + start, sentence_start + end, f"tag:{tag}")

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


def _shipped_weights() -> list[Any]:
    parts: list[Any] = json.loads(gzip.decompress(TAGGER_FILE.read_bytes()))
    return parts


def _own_weights(location: str) -> list[Any]:
    """Reads the user's copy of averaged_perceptron_tagger_eng: its three parts."""
    contents, folder = [], Folder(location)
    for part in TAGGER_PARTS:
        name = f"{NLTK_NAME}.{part}.json"
        try:
            contents.append(folder.read(name))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise UserError(
                f"nouns.extractor.tagger: cannot read {folder.location(name)} ({why}); expected the unpacked folder "
                f"{NLTK_NAME} of NLTK's data, or no key `tagger` for the shipped weights"
            ) from error
    try:
        return [json.loads(content) for content in contents]
    except ValueError as error:
        raise UserError(f"nouns.extractor.tagger: {location} holds a file that is no JSON: {error}") from error
