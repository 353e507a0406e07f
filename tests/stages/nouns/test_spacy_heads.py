from __future__ import annotations

from collections.abc import Callable

import pytest

from stages.nouns import NounExtractor


def kept(extractor: NounExtractor, caption: str) -> list[str]:
    return [noun.surface for noun in extractor.extract([caption])[0].nouns]


def reasons(extractor: NounExtractor, caption: str) -> dict[str, str]:
    return {noun.surface: noun.reason for noun in extractor.extract([caption])[0].dropped}


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("A group of dogs in a field.", ["dogs", "field"]),
        ("A man eats a hot dog by a fire hydrant.", ["man", "hot dog", "fire hydrant"]),
        ("A red fire hydrant on a road.", ["fire hydrant", "road"]),
        ("Two teddy bears sit under a stop sign.", ["teddy bears", "stop sign"]),
        ("Traffic lights hang over the street.", ["traffic lights", "street"]),
        ("The garage door is made of wood.", ["door", "wood"]),
        ("A farmer harvesting wheat in a field", ["farmer", "wheat", "field"]),
        ("A kitchen area with a stove.", ["kitchen", "stove"]),
        ("The sky and its light over a dog and its shadow.", ["sky", "light", "dog", "shadow"]),
        ("A herd of elephants next to a cup of coffee.", ["elephants", "cup", "coffee"]),
        ("TWO WOMEN ON A WOODEN CHAIR", ["women", "chair"]),
        ("Vintage Red Car Parked In Front Of Old Brick Building", ["car", "building"]),
        ("Tourists in front of the Eiffel Tower, Paris, France", ["tourists", "eiffel tower"]),
        ("dog &amp; cat on a sofa https://example.com/a-house.jpg", ["dog", "cat", "sofa"]),
        ("woman_on_horse.png", ["woman", "horse"]),
        ("An old man and a little girl", ["man", "girl"]),
    ],
)
def test_keeps_the_nouns_that_name_a_region(spacy_extractor: NounExtractor, caption: str, nouns: list[str]) -> None:
    assert kept(spacy_extractor, caption) == nouns


@pytest.mark.parametrize(
    ("caption", "surface", "reason"),
    [
        ("A group of dogs.", "group", "junk"),
        ("A herd of elephants.", "herd", "junk"),
        ("Freedom is a dog.", "freedom", "abstract"),
        ("A garage door.", "garage", "modifier"),
        ("A street with no people.", "people", "negated"),
        ("A dog and another dog.", "dog", "repeated"),
        ("Women near a beach in Austria.", "austria", "name"),
        ("A boat called XB4000.", "xb4000", "not_a_word"),
    ],
)
def test_says_why_it_drops_a_noun(spacy_extractor: NounExtractor, caption: str, surface: str, reason: str) -> None:
    assert reasons(spacy_extractor, caption)[surface] == reason


@pytest.mark.parametrize(
    ("option", "caption", "surface"),
    [
        ({"drop_junk": False}, "The top of a house.", "top"),
        ({"drop_abstract": False}, "Freedom is a dog.", "freedom"),
        ({"min_visibility": 0.0}, "A tennis ball in the tournament.", "tournament"),
        ({"drop_modifiers": False}, "A garage door.", "garage"),
        ({"drop_negated": False}, "A street with no people.", "people"),
        ({"drop_names": False}, "Women near a beach in Austria.", "austria"),
        ({"multiword": False, "drop_modifiers": False}, "A man eats at a fire hydrant.", "hydrant"),
        ({"max_words": 1}, "A man eats at a fire hydrant.", "hydrant"),
        ({"extra_keep": ("tournament",)}, "The tournament is on a court.", "tournament"),
    ],
)
def test_each_option_switches_its_rule_off(
    build_spacy: Callable[..., NounExtractor], option: dict[str, object], caption: str, surface: str
) -> None:
    assert surface not in kept(build_spacy(), caption)
    assert surface in kept(build_spacy(**option), caption)


def test_extra_junk_is_dropped(build_spacy: Callable[..., NounExtractor]) -> None:
    assert kept(build_spacy(extra_junk=("dog",)), "Two dogs and a cat") == ["cat"]


def test_repeated_nouns_are_kept_when_asked_for(build_spacy: Callable[..., NounExtractor]) -> None:
    assert kept(build_spacy(drop_repeated=False), "A dog and a dog") == ["dog", "dog"]


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("people", "person"),
        ("men", "man"),
        ("women", "woman"),
        ("children", "child"),
        ("buses", "bus"),
        ("knives", "knife"),
        ("leaves", "leaf"),
        ("sheep", "sheep"),
        ("scissors", "scissors"),
        ("glasses", "glasses"),
        ("geese", "goose"),
        ("strawberries", "strawberry"),
        ("cookies", "cookie"),
        ("hot dogs", "hot dog"),
        ("wine glasses", "wine glass"),
        ("dresses", "dress"),
        ("smoothies", "smoothie"),
    ],
)
def test_canonical_form_is_singular(spacy_extractor: NounExtractor, plural: str, singular: str) -> None:
    nouns = spacy_extractor.extract([f"There are some {plural} on the table."])[0].nouns
    assert (nouns[0].surface, nouns[0].canonical) == (plural, singular)


def test_singular_words_that_end_in_s_stay(spacy_extractor: NounExtractor) -> None:
    nouns = spacy_extractor.extract(["A bus beside a glass, a dress and a cactus."])[0].nouns
    assert [noun.canonical for noun in nouns] == ["bus", "glass", "dress", "cactus"]
