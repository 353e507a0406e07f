"""Nouns of captions: the published rule (`nltk`) and a better one (`spacy`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.nouns.base import NounExtractor
from stages.nouns.clean import PlainCaptions
from stages.nouns.language import EnglishCheck
from stages.nouns.nltk_tags import NltkExtractor, NltkNouns
from stages.nouns.normalize import is_spoken
from stages.nouns.spacy_heads import SpacyExtractor, SpacyNouns

__all__ = ["EnglishCheck", "NltkNouns", "NounExtractor", "NounsConfig", "SpacyNouns", "build_extractor", "is_spoken"]

NounsConfig = Annotated[NltkNouns | SpacyNouns, Field(discriminator="kind")]


def build_extractor(config: NltkNouns | SpacyNouns) -> NounExtractor:
    """Builds the extractor that a manifest's `nouns` part asks for; models are loaded here, not on import."""
    return PlainCaptions(NltkExtractor(config) if isinstance(config, NltkNouns) else SpacyExtractor(config))
