"""The curated list, its art and its textures."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np
import pytest

from pipeline.world.art import Art
from pipeline.world.textures import TILE_PX, Textures
from pipeline.world.vocabulary import NounNumber, Vocabulary, load_vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary()


def test_the_world_is_large_enough(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.things) >= 350
    assert len(vocabulary.stuff) >= 12
    assert sum(bool(thing.synonyms) for thing in vocabulary.things) >= 80


def test_a_word_means_one_category_only(vocabulary: Vocabulary) -> None:
    categories = [(thing.name, thing.forms) for thing in vocabulary.things]
    categories += [(stuff.name, stuff.forms) for stuff in vocabulary.stuff]
    owners: dict[str, str] = {}
    for name, forms in categories:
        for form in forms:
            assert owners.setdefault(form, name) == name, form


def test_entries_are_well_formed(vocabulary: Vocabulary) -> None:
    for thing in vocabulary.things:
        assert thing.number in get_args(NounNumber)
        assert thing.supercategory
        for form in thing.forms:
            assert re.fullmatch(r"[a-z][a-z'\- ]*[a-z]", form), form
        if thing.number == "count":
            assert thing.noun.many != thing.noun.one or thing.name in _UNCHANGED, thing.name
        else:
            assert thing.noun.many == thing.noun.one, thing.name


_UNCHANGED = {"moose", "deer", "sheep", "fish", "squid", "jellyfish", "shrimp", "dice"}


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("mouse", "mice"),
        ("wolf", "wolves"),
        ("fox", "foxes"),
        ("knife", "knives"),
        ("cherries", "cherries"),
        ("butterfly", "butterflies"),
        ("monkey", "monkeys"),
        ("tomato", "tomatoes"),
        ("man", "men"),
        ("maple leaf", "maple leaves"),
        ("snowman", "snowmen"),
        ("tooth", "teeth"),
    ],
)
def test_plurals_are_right(vocabulary: Vocabulary, name: str, plural: str) -> None:
    assert vocabulary.thing_by_name[name].noun.many == plural


def test_every_look_has_its_own_art(vocabulary: Vocabulary) -> None:
    codepoints = [codepoint for thing in vocabulary.things for codepoint in thing.codepoints]
    assert len(set(codepoints)) == len(codepoints)
    art = Art(96)
    for codepoint in codepoints:
        sprite = art.sprite(codepoint)
        assert sprite.area_px > 150, codepoint
        assert (sprite.levels[0][..., :3] <= sprite.levels[0][..., 3:]).all(), "colours are premultiplied"


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("banana", "yellow"),
        ("tomato", "red"),
        ("frog", "green"),
        ("elephant", "grey"),
        ("ninja", "black"),
        ("pig", "pink"),
        ("horse", "brown"),
        ("egg", "white"),
        ("whale", "blue"),
        ("orange", "orange"),
    ],
)
def test_colors_are_those_that_people_see(vocabulary: Vocabulary, name: str, color: str) -> None:
    word = Art(96).sprite(vocabulary.thing_by_name[name].codepoints[0]).color
    assert word == color


def test_textures_differ_between_stuff(vocabulary: Vocabulary) -> None:
    textures = Textures()
    seen: set[bytes] = set()
    for stuff in vocabulary.stuff:
        tile = textures.tile(stuff.name, 0)
        assert tile.shape == (TILE_PX, TILE_PX, 3)
        assert tile.dtype == np.uint8
        assert tile.std() > 2
        seen.add(tile.tobytes())
    assert len(seen) == len(vocabulary.stuff)
