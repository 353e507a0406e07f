"""Captions and the truth about them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.world import WorldConfig, load_vocabulary, write_world
from pipeline.world.groups import Group, group_noun_phrase
from pipeline.world.phrases import Phrase, Referent, enumerate_phrases, say, with_article
from pipeline.world.scene import Placed


def _read(folder: Path, name: str) -> Any:  # noqa: ANN401 - any JSON value
    return json.loads((folder / name).read_text(encoding="utf-8"))


def _placed(name: str, side: float = 0.4) -> Placed:
    thing = load_vocabulary().thing_by_name[name]
    return Placed(thing, None, np.ones((4, 4), bool), (0.5, 0.5), side, bottom=0, depth=0)


def _said(name: str, count: int) -> set[str]:
    """What captions call so many of a thing, without adjectives of opinion."""
    placed = tuple(_placed(name) for _ in range(count))
    group = Group(placed[0].thing, tuple(range(1, count + 1)), placed)
    return {group_noun_phrase(np.random.default_rng(seed), group).text for seed in range(120)}


def test_spans_match_captions_and_ids_exist(world: Path) -> None:
    captions = {entry["id"]: entry["caption"] for entry in _read(world, "captions.json")["annotations"]}
    annotations = {
        entry["id"]: entry for name in ("instances.json", "stuff.json") for entry in _read(world, name)["annotations"]
    }
    forms = {entry["name"]: {form.lower() for form in entry["forms"]} for entry in _read(world, "classes.json")}
    truth = _read(world, "truth.json")["captions"]
    assert {entry["caption_id"] for entry in truth} == captions.keys()
    nouns = 0
    for entry in truth:
        text = captions[entry["caption_id"]]
        for noun in entry["nouns"]:
            nouns += 1
            assert text[noun["start"] : noun["end"]] == noun["text"]
            assert noun["text"].lower() in forms[noun["name"]]
            assert noun["ids"]
            for annotation_id in noun["ids"]:
                assert annotations[annotation_id]["image_id"] == entry["image_id"]
                assert annotations[annotation_id]["category_id"] == noun["category_id"]
        for junk in entry["junk"]:
            assert text[junk["start"] : junk["end"]] == junk["text"]
    assert nouns > len(captions)


def test_an_object_word_means_all_objects_of_its_name(world: Path) -> None:
    instances = _read(world, "instances.json")["annotations"]
    stuff_from = min(entry["id"] for entry in _read(world, "stuff.json")["categories"])
    for entry in _read(world, "truth.json")["captions"]:
        for noun in entry["nouns"]:
            if noun["category_id"] < stuff_from:
                same = [
                    annotation["id"]
                    for annotation in instances
                    if annotation["image_id"] == entry["image_id"] and annotation["category_id"] == noun["category_id"]
                ]
                assert noun["ids"] == same


def test_captions_are_varied_clean_text(world: Path) -> None:
    texts = [entry["caption"] for entry in _read(world, "captions.json")["annotations"]]
    assert len(set(texts)) > 0.9 * len(texts)
    joined = "\n".join(texts)
    assert not re.search(r"[{}<>\[\]]|  | \.|\ba [aeio](?!ne\b)\w", joined), "markup, spaces or a wrong article"
    for style in ("photo", " and ", "There ", "behind|in front of", "two |three ", "on the "):
        assert re.search(style, joined), f"no caption has {style!r}"


def test_mention_limits_captions_and_leaves_pictures_alone(world: Path, tmp_path: Path) -> None:
    vocabulary = load_vocabulary()
    allowed = (*(thing.name for thing in vocabulary.things[:150]), "grass", "sky")
    write_world(tmp_path / "w", 12, 7, WorldConfig(mention=allowed))
    named = {noun["name"] for entry in _read(tmp_path / "w", "truth.json")["captions"] for noun in entry["nouns"]}
    assert named
    assert named <= set(allowed)
    for picture in (tmp_path / "w" / "images").iterdir():
        assert picture.read_bytes() == (world / "images" / picture.name).read_bytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", "a dog"),
        ("apple", "an apple"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("ufo", "a ufo"),
        ("orange dog", "an orange dog"),
    ],
)
def test_articles_follow_the_sound(text: str, expected: str) -> None:
    assert with_article(text) == expected


def test_nouns_are_counted_as_english_counts_them() -> None:
    assert {"a dog", "the dog"} <= _said("dog", 1)
    assert {"two mice", "a couple of mice"} <= _said("mouse", 2)
    assert {"three fish", "a group of fish"} <= _said("fish", 3)
    assert {"some bread", "a piece of bread"} <= _said("bread", 1)
    assert {"a bunch of grapes", "some grapes"} <= _said("grapes", 1)
    assert {"a pair of scissors", "scissors"} <= _said("scissors", 1)
    assert {"two pairs of scissors"} <= _said("scissors", 2)
    assert {"a pair of mittens", "mittens"} <= _said("gloves", 1)
    assert not any(text.endswith("mitten") for text in _said("gloves", 1))
    assert not any(re.search(r"\ba (bread|grapes|scissors)\b", text) for text in _said("bread", 1) | _said("grapes", 1))


def test_spans_survive_composition() -> None:
    dog = say("a <dog>", Referent("dog", (1,)))
    sky = say("under the <sky>", Referent("sky", (2,)))
    whole = say("a [photo] of {x} {y}", x=enumerate_phrases([dog, dog, dog]), y=sky).capitalized() + Phrase(".")
    assert whole.text == "A photo of a dog, a dog and a dog under the sky."
    assert [whole.text[mark.start : mark.end] for mark in whole.marks] == ["photo", "dog", "dog", "dog", "sky"]
    assert [mark.category for mark in whole.marks] == [None, "dog", "dog", "dog", "sky"]
