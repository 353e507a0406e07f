from __future__ import annotations

import gzip
import json

import pytest

from stages.nouns.lexicon import Curated, Lexicon
from stages.nouns.nltk_tags import TAGGER_FILE
from stages.nouns.normalize import parsable


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


def test_visibility_follows_the_common_senses(lexicon: Lexicon) -> None:
    assert lexicon.visibility("dog") == pytest.approx(1.0, abs=0.05)
    assert lexicon.visibility("freedom") == 0.0
    assert lexicon.visibility("love") < 0.15  # type: ignore[operator]
    assert lexicon.visibility("table") > 0.15  # type: ignore[operator]
    assert lexicon.visibility("qwertz") is None


def test_hypernyms_lead_from_dog_to_animal(lexicon: Lexicon) -> None:
    sense = lexicon.senses("dog")[0]
    assert lexicon.is_a(sense.synset, "animal")
    assert not lexicon.is_a(sense.synset, "vehicle")
    assert "domestic dog" in lexicon.words(sense.synset)
    assert next(lexicon.ancestors(sense.synset)) == sense.synset


def test_names_are_told_by_wordnets_capitals(lexicon: Lexicon) -> None:
    assert lexicon.is_name("paris")
    assert not lexicon.is_name("christmas tree")
    assert lexicon.is_landmark("eiffel tower")
    assert not lexicon.is_landmark("paris")


def test_unlisted_plurals_go_by_spelling(lexicon: Lexicon) -> None:
    curated = Curated.load()
    forms = {
        word: lexicon.singular(word, curated, is_plural=True) for word in ("selfies", "zumboxes", "blorgs", "glass")
    }
    assert forms == {"selfies": "selfy", "zumboxes": "zumbox", "blorgs": "blorg", "glass": "glass"}


def test_no_word_is_both_junk_and_kept() -> None:
    curated = Curated.load()
    assert not curated.keep & (curated.junk | curated.abstract)
    assert not curated.plain & curated.compounds


def test_tagger_weights_are_nltks_three_parts() -> None:
    weights, tagdict, classes = json.loads(gzip.decompress(TAGGER_FILE.read_bytes()))
    assert {"NN", "NNS", "NNP", "NNPS", "VBG"} <= set(classes)
    assert all(set(row) <= set(classes) for row in weights.values())
    assert set(tagdict.values()) <= set(classes)


@pytest.mark.parametrize(
    ("caption", "text", "has_case"),
    [
        ("A dog", "A dog", True),
        ("DOG ON GRASS", "dog on grass", False),
        ("Black Chairs On White Beach", "black chairs on white beach", False),
        ("a&amp;b", "a     b", True),
        ("cat-on_mat.jpg", "cat on mat    ", True),
        ("İ", "İ", False),
    ],
)
def test_text_for_the_parser_keeps_its_length(caption: str, text: str, has_case: bool) -> None:
    made = parsable(caption)
    assert (made.text, made.has_case) == (text, has_case)
    assert len(made.text) == len(caption)
