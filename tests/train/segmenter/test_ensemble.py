"""Ensembles, synonyms and seen classes, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.common import UserError
from train.class_names import ClassName, class_names, parse_classes
from train.segmenter.ensemble import ensemble
from train.segmenter.generator_labels import generator_probs, label_forms, match_labels

COCO = ("person", "dining table", "couch", "wall-brick", "wall-other-merged", "sky-other-merged", "door-stuff")


def by_hand(empty: bool = False, weight: float = 0.75) -> list[float]:
    """One mask, a seen and an unseen class: p_clip 0.16 and 0.5, p_generator 0.0256, objectness 0.0625."""
    found = ensemble(
        torch.tensor([[0.16, 0.5]]),
        torch.tensor([[0.0256, 0.0]]),
        torch.tensor([0.0625]),
        torch.tensor([True, False]),
        torch.tensor([empty]),
        weight,
    )
    return [float(value) for value in found[0]]


def test_seen_classes_take_the_geometric_mean_and_unseen_ones_clip_alone() -> None:
    # 0.0256^(1/4) * 0.16^(3/4) = 0.4 * 0.25298; 0.0625^(1/4) * 0.5 = 0.5 * 0.5
    assert by_hand() == pytest.approx([0.4 * 0.16**0.75, 0.25])


def test_the_weight_goes_from_generator_to_clip() -> None:
    assert by_hand(weight=1.0) == pytest.approx([0.16, 0.5])
    assert by_hand(weight=0.0) == pytest.approx([0.0256, 0.0625 * 0.5])


def test_only_the_generator_speaks_of_an_empty_mask() -> None:
    assert by_hand(empty=True) == pytest.approx([0.4, 0.0])


def vectors(**known: list[float]) -> Callable[[list[str]], torch.Tensor]:
    """Text features in which names that are not `known` are far from everything."""

    def encode(names: list[str]) -> torch.Tensor:
        rows = torch.zeros(len(names), 50)
        for number, name in enumerate(names):
            vector = known.get(name.replace(" ", "_"))
            if vector is None:
                rows[number, 10 + number] = 1.0
            else:
                rows[number, : len(vector)] = torch.tensor(vector)
        return rows

    return encode


def matched(
    classes: list[str], labels: tuple[str, ...] = COCO, threshold: float = 0.9, **known: list[float]
) -> dict[str, tuple[tuple[str, ...], str | None]]:
    named = [ClassName(tuple(one.split("|"))) for one in classes]
    encode = vectors(**known)
    found = match_labels(labels, named, encode, threshold)
    return {one.name: (match.labels, match.how) for one, match in zip(named, found, strict=True)}


def test_labels_are_found_by_name_then_synonym() -> None:
    found = matched(["person", "sofa", "wall", "sky", "cupboard", "door", "people"], threshold=1.0)
    assert found["person"] == (("person",), "name")
    assert found["sofa"] == (("couch",), "synonym")  # by WordNet
    assert found["wall"] == (("wall-brick", "wall-other-merged"), "name")
    assert found["sky"] == (("sky-other-merged",), "name")
    assert found["door"] == (("door-stuff",), "name")
    assert found["cupboard"] == ((), None)


def test_a_label_with_a_class_of_its_very_name_counts_for_no_other() -> None:
    found = matched(["brick wall", "wall"], threshold=1.0)
    assert found["brick wall"] == (("wall-brick",), "name")
    assert found["wall"] == (("wall-other-merged",), "name")


def test_a_users_synonyms_and_plurals_count() -> None:
    found = matched(["settee|couch", "dining tables"], threshold=1.0)
    assert found["settee"] == (("couch",), "synonym")
    assert found["dining tables"] == (("dining table",), "synonym")


def test_the_nearest_free_label_is_taken_from_the_threshold_on() -> None:
    near, far = [1.0], [0.95, (1 - 0.95**2) ** 0.5]
    known = {"building": near, "edifice_of_stone": far}
    assert matched(["edifice of stone"], ("building",), 0.94, **known)["edifice of stone"] == (
        ("building",),
        "similarity",
    )
    assert matched(["edifice of stone"], ("building",), 0.96, **known)["edifice of stone"] == ((), None)


def test_a_generators_probability_is_the_sum_over_its_labels() -> None:
    named = class_names(["wall", "person", "unicorn"])
    matches = match_labels(COCO, named, vectors(), 1.0)
    probs = torch.tensor([[0.5, 0.0, 0.0, 0.125, 0.25, 0.0, 0.0]])
    assert generator_probs(probs, COCO, matches).tolist() == [[0.375, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("label", "forms"),
    [
        ("road, route", ["road", "route"]),
        ("wall-brick", ["brick wall", "wall"]),
        ("water-other", ["water"]),
        ("window ", ["window"]),
        ("traffic_light", ["traffic light"]),
    ],
)
def test_forms_of_a_label(label: str, forms: list[str]) -> None:
    assert label_forms(label) == forms


def test_classes_with_synonyms_are_read() -> None:
    assert parse_classes(" sea, fire  hydrant,sofa| couch ,") == (
        ClassName(("sea",)),
        ClassName(("fire hydrant",)),
        ClassName(("sofa", "couch")),
    )


def test_classes_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("\ufeff# what is there\nwall, plain\n\nsofa|couch\r\n", encoding="utf-8")
    assert [one.forms for one in parse_classes(f"@{path}")] == [("wall, plain",), ("sofa", "couch")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no class is named"),
        (" , ,", "no class is named"),
        ("sea,,boat", "class 2: '' has an empty name"),
        ("sea, sofa|", "class 2: 'sofa|' has an empty name"),
        ("|", "empty name"),
        ("sea, boat, Sea", "class 3: 'Sea' is there already"),
        ("sofa|couch, couch", "class 2: 'couch' is there already"),
        ("@/nowhere/classes.txt", "cannot be read as a list of classes"),
    ],
)
def test_mistakes_in_classes_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_classes(text)
    assert message in str(caught.value)


def test_classes_of_the_api_are_checked() -> None:
    with pytest.raises(UserError, match="expected a list of names"):
        class_names("sea, boat")
    with pytest.raises(UserError, match="list is empty"):
        class_names([])
    with pytest.raises(UserError, match="class 2 has an empty name"):
        class_names(["sea", " "])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("sea\nboat".encode("utf-16"), "expected UTF-8; it looks like UTF-16: save it as UTF-8"),
        ("sea\nboat".encode("utf-16-le"), "it looks like UTF-16-LE"),
        (b"caf\xe9\n", "expected UTF-8"),
    ],
)
def test_a_list_of_classes_in_another_encoding_is_refused_as_that(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "words.txt").write_bytes(data)
    with pytest.raises(UserError, match=rf"words\.txt: cannot be read as a list of classes, .*{message}"):
        parse_classes(f"@{tmp_path}/words.txt")


def test_a_class_that_is_no_text_is_refused() -> None:
    for given in (lambda: parse_classes("sea, caf\udce9"), lambda: class_names(["sea", "caf\udce9"])):
        with pytest.raises(UserError, match=r"classes: .*caf\\udce9' is no UTF-8 text"):
            given()
