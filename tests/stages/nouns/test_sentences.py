"""Sentences whose verbs the parser takes for nouns, or whose nouns it takes for something else."""

from __future__ import annotations

from itertools import product

import pytest

from stages.nouns import NounExtractor
from tests.stages.nouns.test_spacy_heads import kept

SUBJECTS = ["black dog", "man in a white apron", "woman in red", "carpenter", "young girl", "motorcyclist"]
ENDINGS = [
    *("splashes in the pond", "climbs a set of stairs", "kicks the ball", "slices meat at a counter"),
    *("leans into the wall", "lifts a box", "sprays water on a car", "chases a ball", "directs traffic"),
    *("rides a horse", "jumps over a fence", "reaches for the puck", "waters the plants", "swings a bat"),
]
VERBS = {ending.split()[0] for ending in ENDINGS}


def test_subject_is_kept_and_verb_is_none(spacy_extractor: NounExtractor) -> None:
    wrong = []
    for subject, ending in product(SUBJECTS, ENDINGS):
        found = kept(spacy_extractor, f"A {subject} {ending}.")
        if subject.split()[-1 if "in" not in subject.split() else 0] not in found or VERBS & {*found}:
            wrong.append((subject, ending, found))
    assert len(wrong) <= 0.05 * len(SUBJECTS) * len(ENDINGS), wrong


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("A black dog splashes in the pond.", ["dog", "pond"]),
        ("A man in black reaches for the puck", ["man", "puck"]),
        ("An older man sits shirtless on a bench.", ["man", "bench"]),
        ("A boy stands barefoot on a skateboard in midair.", ["boy", "skateboard"]),
        ("A skateboarder makes a leap in midair.", ["skateboarder"]),
        ("Two men unload boxes from a truck.", ["men", "boxes", "truck"]),
        ("Volunteers plant trees along the river", ["volunteers", "trees", "river"]),
        ("A man with a tattoo on his arm plays the drums.", ["man", "tattoo", "arm", "drums"]),
        ("An usher stands at the door of a church.", ["usher", "door", "church"]),
        ("Workers on scaffolding near a wall.", ["workers", "scaffolding", "wall"]),
        ("three men eating banana as fast as they can", ["men", "banana"]),
        ("A couple walks hand in hand, side by side.", ["couple"]),
        ("A table set for dinner with plates.", ["table", "plates"]),
    ],
)
def test_tags_are_put_right(spacy_extractor: NounExtractor, caption: str, nouns: list[str]) -> None:
    assert kept(spacy_extractor, caption) == nouns


@pytest.mark.parametrize("plural", ["flowers", "chairs", "cars", "trees", "cows", "signs", "toys", "boots", "pots"])
def test_plurals_stay_nouns(spacy_extractor: NounExtractor, plural: str) -> None:
    for caption in (
        f"Some {plural} in front of a wall.",
        f"A wall and red {plural} a bench",
        f"The {plural} and a wall.",
    ):
        assert plural in kept(spacy_extractor, caption)


@pytest.mark.parametrize(
    "thing",
    [
        *("riding horses", "flying kites", "eating apples", "selling flowers", "riding bikes", "carrying boxes"),
        *("wearing hats", "washing dishes", "feeding ducks", "walking dogs", "cutting vegetables", "reading books"),
    ],
)
def test_a_verb_and_its_object_are_no_compound(spacy_extractor: NounExtractor, thing: str) -> None:
    for subject in ("Kids", "Two men", "A girl"):
        assert thing.split()[1] in kept(spacy_extractor, f"{subject} {thing} in the sun")


@pytest.mark.parametrize(
    "compound", ["rocking chair", "washing machine", "fishing rod", "sleeping bag", "dining table"]
)
def test_other_words_in_ing_begin_compounds(spacy_extractor: NounExtractor, compound: str) -> None:
    assert compound in kept(spacy_extractor, f"Man with {compound} and cup")
    assert compound in kept(spacy_extractor, f"A {compound} beside a wall.")


@pytest.mark.parametrize(
    "phrase",
    [
        *("yellow jacket", "white horse", "blue wall", "red carpet", "black sheep", "green door", "white house"),
        *("black belt", "red light", "white flag", "blue angel", "black tie", "brown cup", "yellow trumpet"),
    ],
)
def test_colours_make_no_compounds(spacy_extractor: NounExtractor, phrase: str) -> None:
    assert kept(spacy_extractor, f"A man beside a {phrase}.")[1:] == [phrase.split()[1]]


@pytest.mark.parametrize("compound", ["red wine", "green beans", "brown rice", "polar bear", "red fox", "blue jay"])
def test_colours_before_species_and_food_do(spacy_extractor: NounExtractor, compound: str) -> None:
    assert kept(spacy_extractor, f"A man beside some {compound}.")[1:] == [compound]


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [
        ("harbor patrol boat", "boat"),
        ("coast guard ship", "ship"),
        ("border patrol truck", "truck"),
        ("professional tennis player", "tennis player"),
        ("chocolate birthday cake", "birthday cake"),
        ("mp3 player", "mp3 player"),
        ("dvd player", "dvd player"),
        ("half pipe", "half pipe"),
        ("half - pipe", "half - pipe"),
        ("t - shirt", "t - shirt"),
        ("surf - board", "surf - board"),
    ],
)
def test_compounds_are_whole(spacy_extractor: NounExtractor, phrase: str, noun: str) -> None:
    assert kept(spacy_extractor, f"A {phrase} is near a man.") == [noun, "man"]


@pytest.mark.parametrize("parts", ["team - mates", "class - mates", "room - mates", "school - boys", "cow - boys"])
def test_words_with_spaced_hyphens_are_one(spacy_extractor: NounExtractor, parts: str) -> None:
    assert kept(spacy_extractor, f"Two {parts} hug near a goal.")[0] == parts
