from __future__ import annotations

import gzip
import json

import pytest

from stages.nouns.lexicon import Curated, Lexicon, lvis_names
from stages.nouns.normalize import parsable
from stages.nouns.tagger import TAGGER_FILE

MEN = """
airman anchorman barman businessman cameraman cattleman chairman clergyman coachman conman cowman craftsman
deliveryman doorman fireman fisherman footman foreman freeman frogman frontiersman gentleman groundsman gunman
handyman horseman huntsman infantryman juryman lineman longshoreman lumberman madman mailman merman middleman
milkman nobleman oarsman outdoorsman patrolman policeman policewoman postman repairman rifleman salesman
saleswoman serviceman showman snowman spaceman spokesman sportsman stuntman swordsman trashman tradesman
watchman workman yachtsman
"""


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
        ("a&amp;b", "a&b", True),
        ("Coffee&nbsp;mug on a desk", "Coffee mug on a desk", True),
        ("caf&eacute; &amp;amp; bar&nosuch;", "café & bar", True),
        ("&lt;b&gt;dog&lt;/b&gt;", "dog", True),
        ("cat-on_mat.jpg", "cat on mat", True),
        ("🐶 puppy 🐾 on grass 🌱", "puppy , on grass", True),
        ("I ❤️ my 👩‍👩‍👧 family", "I , my , family", True),
        ("cap w/ visor, w/o strap", "cap with visor, without strap", True),
        ("★ NEW ★ lamp | desk", "NEW , lamp , desk", True),
        ("hot  \n dogs", "hot dogs", True),
        ("İ", "İ", False),
    ],
)
def test_text_for_the_parser_says_where_it_comes_from(caption: str, text: str, has_case: bool) -> None:
    made = parsable(caption)
    assert (made.text, made.has_case) == (text, has_case)
    assert len(made.text) == len(made.traced.starts) == len(made.traced.ends)
    for letter, start, end in zip(made.text, made.traced.starts, made.traced.ends, strict=True):
        if end == start + 1 and letter.isalpha():
            assert caption[start:end].lower() == letter.lower()


def test_a_stretch_of_decoded_text_spans_the_whole_entity() -> None:
    traced = parsable("a caf&eacute;, coffee&nbsp;mug").traced
    for word, written in (("café", "caf&eacute;"), ("coffee mug", "coffee&nbsp;mug")):
        start, end = traced.span(place := traced.text.index(word), place + len(word))
        assert "a caf&eacute;, coffee&nbsp;mug"[start:end] == written


def test_kinds_are_no_names_whatever_their_capitals(lexicon: Lexicon) -> None:
    assert not any(map(lexicon.is_name, ("laundromat", "lego", "frisbee", "jacuzzi", "dalmatian", "band aid")))
    assert all(map(lexicon.is_name, ("paris", "eiffel tower", "nixon", "himalayas")))


def test_lvis_names_are_all_there_and_readable() -> None:
    names = list(lvis_names())
    assert len(names) == 1203
    assert {"first-aid kit", "bat", "monitor", "aerosol can", "cd player"} <= set(names)
    assert not any(set("_()") & set(name) for name in names)


def test_other_parts_of_speech_are_known(lexicon: Lexicon) -> None:
    unload, shirt = lexicon.other_uses("unload"), lexicon.other_uses("sweatshirt")
    assert unload is not None
    assert unload.verb
    assert unload.adjective is None
    assert shirt is None
    assert lexicon.verb_of("slices") == "slice"
    assert lexicon.verb_of("carries") == "carry"
    assert lexicon.verb_of("sofas") is None


@pytest.mark.parametrize("man", MEN.split())
def test_men_have_a_singular(lexicon: Lexicon, man: str) -> None:
    assert lexicon.singular(man[:-2] + "en", Curated.load(), is_plural=True) == man


@pytest.mark.parametrize("word", ["specimen", "abdomen", "stamen", "ramen", "omen", "regimen", "cyclamen", "dolmen"])
def test_other_words_in_men_stay(lexicon: Lexicon, word: str) -> None:
    assert lexicon.singular(word, Curated.load(), is_plural=False) == word
