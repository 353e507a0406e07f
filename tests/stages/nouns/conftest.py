from __future__ import annotations

from collections.abc import Callable

import pytest

from stages.nouns import NltkNouns, NounExtractor, SpacyNouns, build_extractor
from stages.nouns.clean import PlainCaptions
from stages.nouns.lexicon import Lexicon
from stages.nouns.spacy_heads import SpacyExtractor, load_model


@pytest.fixture(scope="session")
def build_spacy() -> Callable[..., NounExtractor]:
    """Builds extractors by their options, with one model and lexicon for all."""
    nlp, lexicon = load_model(), Lexicon()
    return lambda **options: PlainCaptions(SpacyExtractor(SpacyNouns.model_validate(options), nlp, lexicon))


@pytest.fixture(scope="session")
def spacy_extractor(build_spacy: Callable[..., NounExtractor]) -> NounExtractor:
    return build_spacy()


@pytest.fixture(scope="session")
def nltk_extractor() -> NounExtractor:
    return build_extractor(NltkNouns())
