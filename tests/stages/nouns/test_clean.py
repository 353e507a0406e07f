"""Captions with characters that nobody sees give the nouns that a person reads."""

from __future__ import annotations

import pytest

from stages.nouns import NltkNouns, NounExtractor, SpacyNouns, build_extractor

SPELLINGS = {
    "mark": "\ufeffA dog and a cup on a sofa.",
    "zero_width": "A d\u200bog and a cup\u200b on a s\u2060ofa.",
    "soft_hyphen": "A dog and a c\u00adup on a so\u00adfa.",
    "nul": "A dog\0and a cup on a sofa.\0",
    "direction": "\u202aA dog and a \u200ecup on a sofa.\u202c",
    "full_width": "A \uff44\uff4f\uff47 and a cup on a sofa.",
}


@pytest.fixture(scope="module", params=["spacy", "nltk"])
def extractor(request: pytest.FixtureRequest) -> NounExtractor:
    return build_extractor(SpacyNouns() if request.param == "spacy" else NltkNouns())


@pytest.mark.parametrize("name", SPELLINGS)
def test_nouns_are_found_and_their_spans_are_those_of_the_caption(extractor: NounExtractor, name: str) -> None:
    caption = SPELLINGS[name]
    (found,) = extractor.extract([caption])
    assert [noun.surface for noun in found.nouns] == ["dog", "cup", "sofa"]
    for noun in found.nouns:
        letters = caption[noun.start : noun.end]
        assert letters[0] + letters[-1] in (noun.surface[0] + noun.surface[-1], "\uff44\uff47")


def test_letters_of_two_marks_are_those_of_one(extractor: NounExtractor) -> None:
    composed, decomposed = "A caf\u00e9 and a pi\u00f1ata.", "A cafe\u0301 and a pin\u0303ata."
    (one,), (two,) = extractor.extract([composed]), extractor.extract([decomposed])
    assert [noun.surface for noun in one.nouns] == [noun.surface for noun in two.nouns]
    assert "caf\u00e9" in [noun.surface for noun in two.nouns]
    assert decomposed[two.nouns[0].start : two.nouns[0].end] == "cafe\u0301"


def test_dropped_nouns_have_spans_of_the_caption_too() -> None:
    caption = "\ufeffa photo of a dog"
    (found,) = build_extractor(SpacyNouns()).extract([caption])
    assert [caption[noun.start : noun.end] for noun in found.dropped] == ["photo"]
