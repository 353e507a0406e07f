"""WordNet is read once for all tests of this folder."""

from __future__ import annotations

import pytest

from pipeline.audit import labels
from stages.nouns.lexicon import Lexicon


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest.fixture(autouse=True)
def _one_lexicon(lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "Lexicon", lambda: lexicon)
