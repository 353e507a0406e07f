"""The lists of classes, against what is known of them from elsewhere."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from stages.common import UserError
from train.class_names import ClassName
from train.evaluate.benchmark_sets.classes import benchmark_classes, parse_class_list
from train.evaluate.benchmark_sets.layouts import FACTS, BenchmarkKind


@pytest.mark.parametrize(
    ("kind", "classes", "pictures"),
    [
        ("a150", 150, 2000),
        ("a847", 847, 2000),
        ("pc59", 59, 5105),
        ("pc459", 459, 5105),
        ("pas20", 20, 1449),
        ("coco_stuff171", 171, 5000),
    ],
)
def test_benchmarks_have_their_number_of_classes_and_pictures(kind: BenchmarkKind, classes: int, pictures: int) -> None:
    listed = benchmark_classes(kind)
    assert len(listed.names) == len(listed.of_id) == classes
    assert list(listed.of_id.values()) == list(range(classes))
    assert FACTS[kind].pictures[0] == pictures
    assert len({names.name for names in listed.names}) == classes
    for names in listed.names:
        assert all(form and form == form.strip() for form in names.forms)
        assert len(set(names.forms)) == len(names.forms)


def test_every_kind_has_facts_and_classes() -> None:
    assert set(get_args(BenchmarkKind)) == set(FACTS)


def test_ids_are_those_of_the_data_sets() -> None:
    assert list(benchmark_classes("a150").of_id) == list(range(1, 151))
    assert list(benchmark_classes("pc459").of_id) == list(range(1, 460))
    assert list(benchmark_classes("pas20").of_id) == list(range(1, 21))
    stuff = set(benchmark_classes("coco_stuff171").of_id)
    # Of COCO's category ids 1 to 182, one less in the maps, these have no picture.
    assert set(range(182)) - stuff == {number - 1 for number in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)}


def test_pascal_context_names_a_class_alike_in_both_its_lists() -> None:
    many, few = benchmark_classes("pc459"), benchmark_classes("pc59")
    assert list(few.of_id) == sorted(few.of_id)
    for id_, number in few.of_id.items():
        of_few, of_many = few.names[number], many.names[many.of_id[id_]]
        assert set(of_few.forms) & set(of_many.forms) or (of_few.name, of_many.name) == ("computer case", "computer")


def test_ids_of_ade20k_follow_its_alphabetical_index() -> None:
    """The first 3,100 objects of ADE20K's index are sorted by ADE20K's own names, which these four classes lack."""
    renamed = {"pedestal": "base", "ceiling fan": "fan", "exhaust hood": "hood", "projection screen": "screen"}
    listed = benchmark_classes("a847")
    by_id = sorted((id_, listed.names[number]) for id_, number in listed.of_id.items() if id_ < 3100)
    moved = {"plinth": "pedestal", "traveling bag": "bag", "handbag": "bag", "flowerpot": "pot", "tube": "pipe"}
    moved |= {"basketball hoop": "basket", "wharf": "pier", "control board": "control panel", "grille": "grill"}
    moved |= {"terrace": "patio"}
    firsts = [renamed.get(names.name, moved.get(names.name, names.name))[:3] for _, names in by_id]
    assert [re.sub(r"[^a-z]", "", first) for first in firsts] == sorted(
        re.sub(r"[^a-z]", "", first) for first in firsts
    )


def test_a150_agrees_with_the_table_that_ade20k_ships(shared_data: Path) -> None:
    table = shared_data / "ade20k-sample" / "objectInfo150.csv"
    if not table.is_file():
        pytest.skip(f"{table} not found")
    listed = benchmark_classes("a150")
    strangers = []
    with table.open() as file:
        for row in csv.DictReader(file):
            words = set(row["Name"].split(";"))  # the table splits words of two parts, too
            names = listed.names[listed.of_id[int(row["Idx"])]]
            if not words & {word for form in names.forms for word in form.split()}:
                strangers.append((row["Name"], names.name))
    assert strangers == []


def test_synonyms_and_forms_are_other_words() -> None:
    listed = [
        {"id": 4, "name": "cat", "forms": ["cat", "cats"], "synonyms": ["kitty", "cats"]},
        {"id": 9, "name": "sky"},
        {"id": 7, "name": "cat", "synonyms": ["tomcat"]},
        {"id": 8, "name": "void"},
    ]
    classes = parse_class_list(json.dumps(listed).encode(), "classes.json", ignore=(8,))
    assert classes.names == (ClassName(("cat", "kitty", "cats", "tomcat")), ClassName(("sky",)))
    assert classes.names[0].forms == ("cat", "kitty", "cats", "tomcat")
    assert classes.of_id == {4: 0, 9: 1, 7: 0}
    np.testing.assert_array_equal(classes.by_id(), [-1, -1, -1, -1, 0, -1, -1, 0, -1, 1, -1])
    np.testing.assert_array_equal(classes.by_number(1), [-1, 0, 1, -1])


def test_names_that_look_alike_are_one_class() -> None:
    listed = [
        {"id": 1, "name": "dog"},
        {"id": 2, "name": "\ufeffdog "},
        {"id": 3, "name": "cafe\u0301", "forms": ["d\u00adog"]},
    ]
    classes = parse_class_list(json.dumps(listed).encode(), "classes.json")
    assert classes.of_id == {1: 0, 2: 0, 3: 1}
    assert classes.names[1].forms == ("caf\u00e9", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "c.json: cannot be read as JSON"),
        ("{}", 'c.json: expected a list of {"id": 1, "name": "wall"}'),
        ("[]", "c.json: lists no class"),
        ('[{"id": 1}]', 'c.json: entry 1: expected {"id": 1, "name": "wall"}, found {"id": 1}'),
        ('[{"id": "1", "name": "cat"}]', "entry 1: 'id' is '1'; expected a whole number"),
        ('[{"id": 1, "name": " "}]', "entry 1: 'name' is ' '; expected a word"),
        ('[{"id": 1, "name": "\\ufeff"}]', "expected a word"),
        ('[{"id": 1, "name": "cat", "forms": "cats"}]', "entry 1: 'forms' is 'cats'; expected a list of words"),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', "the id 1 stands twice"),
    ],
)
def test_wrong_list_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_class_list(text.encode(), "c.json")
    assert message in str(caught.value)
