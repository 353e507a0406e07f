"""Every kind of pair, on paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit import audit
from tests.pipeline.audit.tiny import mask, pair, write_build, write_truth

DOG, CAT, CROWD = mask((0, 0, 40, 40)), mask((60, 0, 100, 40)), mask((0, 50, 100, 100))
SIXTY = mask((0, 0, 40, 24))  # IoU 0.6 with DOG: 960 of 1600 pixels
TWENTY = mask((0, 0, 40, 8))  # IoU 0.2 with DOG
BETWEEN = mask((42, 0, 58, 40))
CLASSES = ("dog", "cat", "ball", "person")
REGIONS = [("dog", DOG), ("cat", CAT), ("person", CROWD, 1)]


def report_of(
    folder: Path,
    pairs: list[dict[str, Any]],
    regions: Sequence[Any] = REGIONS,
    classes: Sequence[Any] = CLASSES,
    synonyms_file: str | None = None,
) -> dict[str, Any]:
    """One image's pairs against its regions."""
    build = write_build(folder / "build", {"1": pairs})
    truth = write_truth(folder / "truth.json", classes, {"1": regions})
    return audit(str(build), [truth], synonyms_file)


def outcomes(report: dict[str, Any], threshold: str = "0.5") -> list[str]:
    return [name for name, count in report["outcomes"][threshold].items() for _ in range(count)]


@pytest.mark.parametrize(
    ("found", "at_half", "at_three_quarters"),
    [
        (pair("dog", DOG), "right", "right"),
        (pair("dog", SIXTY), "right", "loose_mask"),
        (pair("dog", TWENTY), "loose_mask", "loose_mask"),
        (pair("dog", CAT), "other_class", "other_class"),
        (pair("dog", BETWEEN), "no_region", "no_region"),
        (pair("person", mask((0, 50, 50, 100))), "crowd", "crowd"),
        (pair("person", mask((0, 40, 100, 70))), "crowd", "loose_mask"),  # two thirds of it on the crowd
        (pair("person", DOG), "other_class", "other_class"),
        (pair("ball", DOG), "absent", "absent"),
        (pair("mountain", DOG), "unknown", "unknown"),
    ],
)
def test_each_pair_has_one_outcome(tmp_path: Path, found: dict[str, Any], at_half: str, at_three_quarters: str) -> None:
    report = report_of(tmp_path, [found])
    assert outcomes(report) == [at_half]
    assert outcomes(report, "0.75") == [at_three_quarters]


def test_precision_is_of_the_pairs_whose_class_is_in_the_image(tmp_path: Path) -> None:
    """Eight pairs: right, right at 0.5, other class, loose, no region, crowd, absent, unknown."""
    pairs = [
        pair("dog", DOG),
        pair("dog", SIXTY),
        pair("dog", CAT),
        pair("dog", TWENTY),
        pair("dog", BETWEEN),
        pair("person", mask((0, 50, 50, 100))),
        pair("ball", DOG),
        pair("mountain", DOG),
    ]
    report = report_of(tmp_path, pairs)
    assert report["pairs"] == 8
    half, strict = report["precision"]["0.5"], report["precision"]["0.75"]
    assert (half["judged"], half["hyponym"], half["absent_is_wrong"], half["lower_bound"]) == (5, 2 / 5, 2 / 6, 2 / 8)
    assert (strict["judged"], strict["hyponym"], strict["absent_is_wrong"], strict["lower_bound"]) == (
        5,
        1 / 5,
        1 / 6,
        1 / 8,
    )
    on_region = report["mask_on_a_region"]
    # DOG three times, SIXTY, CAT; crowds are no regions here
    assert on_region["all"] == 5 / 8
    assert on_region["right"] == 1.0
    assert on_region["loose_mask"] == 0.0


@pytest.mark.parametrize(
    ("noun", "level"),
    [
        ("dog", "exact"),
        ("domestic dog", "synonym"),
        ("animal", "hypernym"),
        ("puppy", "hyponym"),
    ],
)
def test_levels_are_cumulative(tmp_path: Path, noun: str, level: str) -> None:
    figures = report_of(tmp_path, [pair(noun, DOG)])["precision"]["0.5"]
    names = ["exact", "synonym", "hypernym", "hyponym"]
    assert [figures[name] for name in names] == [float(at >= names.index(level)) for at in range(4)]


def test_a_broader_noun_may_mean_any_of_its_classes(tmp_path: Path) -> None:
    report = report_of(tmp_path, [pair("animal", CAT), pair("animal", mask((0, 0, 100, 40)))])
    assert outcomes(report) == ["right", "loose_mask"]


def test_synonyms_come_from_a_file(tmp_path: Path) -> None:
    synonyms = tmp_path / "synonyms.json"
    synonyms.write_text('{"dog": ["woofer9"], "unheard": ["of"]}')
    report = report_of(tmp_path, [pair("woofer9", DOG)], synonyms_file=str(synonyms))
    assert report["precision"]["0.5"] | {"judged": 1, "exact": 0.0, "synonym": 1.0} == report["precision"]["0.5"]
    (tmp_path / "without").mkdir()
    assert outcomes(report_of(tmp_path / "without", [pair("woofer9", DOG)])) == ["unknown"]


def test_synonyms_come_from_a_list_of_classes(tmp_path: Path) -> None:
    synonyms = tmp_path / "classes.json"
    synonyms.write_text('[{"id": 1, "name": "dog", "forms": ["dog", "dogs", "woofer9"]}]')
    assert outcomes(report_of(tmp_path, [pair("woofer9", DOG)], synonyms_file=str(synonyms))) == ["right"]


def test_synonyms_come_from_the_categories_themselves(tmp_path: Path) -> None:
    classes = [{"name": "domestic_dog_(pet)", "synonyms": ["woofer9"]}]
    regions = [("domestic_dog_(pet)", DOG)]
    report = report_of(tmp_path, [pair("woofer9", DOG), pair("domestic dog", DOG)], regions, classes)
    assert outcomes(report) == ["right", "right"]


THREE = [mask((0, 0, 20, 20)), mask((30, 0, 50, 20)), mask((60, 0, 80, 20))]
ALL_THREE = mask((0, 0, 20, 20), (30, 0, 50, 20), (60, 0, 80, 20))
DOGS = [("dog", region) for region in THREE]


def test_a_plural_may_fit_all_regions_of_its_class_together(tmp_path: Path) -> None:
    report = report_of(tmp_path, [pair("dogs", ALL_THREE, canonical="dog")], DOGS)
    assert outcomes(report, "0.75") == ["right"]
    assert report["right_by_union"] == 1
    assert report["recall"]["0.5"]["exact"]["instances"] == 1.0


def test_a_plural_may_fit_one_region(tmp_path: Path) -> None:
    report = report_of(tmp_path, [pair("dogs", THREE[1], canonical="dog")], DOGS)
    assert outcomes(report, "0.75") == ["right"]
    assert report["right_by_union"] == 0
    assert report["recall"]["0.5"]["exact"]["instances"] == 1 / 3


def test_a_singular_must_fit_one_region(tmp_path: Path) -> None:
    assert outcomes(report_of(tmp_path, [pair("dog", ALL_THREE)], DOGS)) == ["loose_mask"]  # IoU 1/3


def test_a_noun_whose_plural_is_its_singular_counts_as_plural(tmp_path: Path) -> None:
    regions = [("sheep", region) for region in THREE]
    assert outcomes(report_of(tmp_path, [pair("sheep", ALL_THREE)], regions, ["sheep"])) == ["right"]


def test_a_union_does_not_find_the_region_that_it_misses(tmp_path: Path) -> None:
    """Two of three regions covered: IoU with the union 2/3, two regions found."""
    two = mask((0, 0, 20, 20), (30, 0, 50, 20))
    report = report_of(tmp_path, [pair("dogs", two, canonical="dog")], DOGS)
    assert outcomes(report) == ["right"]
    assert report["recall"]["0.5"]["exact"]["instances"] == 2 / 3


def test_a_broader_plural_may_fit_regions_of_several_classes(tmp_path: Path) -> None:
    both = mask((0, 0, 40, 40), (60, 0, 100, 40))
    report = report_of(tmp_path, [pair("animals", both, canonical="animal")])
    assert outcomes(report, "0.75") == ["right"]
    assert report["recall"]["0.5"]["exact"]["instances"] == 0.0
    assert report["recall"]["0.5"]["hypernym"]["instances"] == 1.0


def test_a_plural_on_a_crowd_and_single_regions_is_no_error(tmp_path: Path) -> None:
    """300 pixels on a person of 2000, 250 on the crowd: IoU with the person 0.13, in the crowd 0.45, on people 1."""
    person, crowd = mask((0, 0, 50, 40)), mask((0, 50, 100, 100))
    together = mask((0, 0, 30, 10), (0, 50, 10, 75))
    regions = [("person", person), ("person", crowd, 1)]
    pairs = [pair("people", together, canonical="person"), pair("person", together)]
    assert outcomes(report_of(tmp_path, pairs, regions)) == ["loose_mask", "crowd"]


@pytest.mark.parametrize(
    ("noun", "other"),
    [
        ("bike", "motorcycle"),  # WordNet has both words in one sense
        ("poodle", "dog"),  # a poodle is a dog, but the truth tells poodles from dogs
    ],
)
def test_a_noun_that_names_a_class_means_that_class_alone(tmp_path: Path, noun: str, other: str) -> None:
    regions = [(noun, DOG), (other, CAT)]
    assert outcomes(report_of(tmp_path, [pair(noun, CAT)], regions, [noun, other])) == ["other_class"]
    (tmp_path / "unnamed").mkdir()
    assert outcomes(report_of(tmp_path / "unnamed", [pair(noun, CAT)], regions[1:], [other])) == ["right"]
