"""What is told where files are missing or wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from stages.common import UserError
from tests.train.evaluate.benchmark_sets.miniatures import label_map, names, of_size, opened, picture
from train.evaluate.benchmark_sets import SetConfig
from train.evaluate.benchmark_sets.layouts import FACTS, BenchmarkKind


@pytest.fixture
def a150(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures, complete."""
    of_size(monkeypatch, "a150", 3)
    for number in (1, 2, 3):
        picture(tmp_path / f"images/validation/ADE_val_0000000{number}.jpg")
        label_map(tmp_path / f"annotations/validation/ADE_val_0000000{number}.png", 1)
    return tmp_path


def told(kind: BenchmarkKind, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        opened(kind, root)
    return str(caught.value)


@pytest.mark.parametrize("kind", FACTS)
def test_an_empty_root_is_answered_with_layouts_page_and_terms(tmp_path: Path, kind: BenchmarkKind) -> None:
    message = told(kind, tmp_path)
    facts = FACTS[kind]
    for layout in facts.layouts:
        assert f"{tmp_path}/{layout.labels}" in message
        assert layout.tree in message
    assert facts.page in message
    assert facts.terms in message


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"a150: root {tmp_path}/nowhere is no folder" in told("a150", tmp_path / "nowhere")


def test_a_root_one_or_two_folders_too_high_is_put_right(tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit/VOC2012").mkdir(parents=True)
    assert f"set root to {tmp_path}/VOCdevkit/VOC2012" in told("pas20", tmp_path)
    assert f"set root to {tmp_path}/VOCdevkit/VOC2012" in told("pas20", tmp_path / "VOCdevkit")


@pytest.mark.parametrize(
    "missing", ["images/validation/ADE_val_00000002.jpg", "annotations/validation/ADE_val_00000002.png"]
)
def test_the_first_missing_file_is_named(a150: Path, missing: str) -> None:
    (a150 / missing).unlink()
    message = told("a150", a150)
    assert f"2 of 3 pictures with label maps; the first that is missing: {a150}/{missing}" in message
    assert "get it from http://sceneparsing.csail.mit.edu/" in message
    assert "partial: true" in message


def test_a_pair_that_is_wholly_missing_is_named_where_pictures_are_numbered(a150: Path) -> None:
    (a150 / "images/validation/ADE_val_00000003.jpg").unlink()
    (a150 / "annotations/validation/ADE_val_00000003.png").unlink()
    assert f"missing: {a150}/images/validation/ADE_val_00000003.jpg" in told("a150", a150)


def test_a_missing_folder_of_pictures_is_named(a150: Path) -> None:
    (a150 / "images").rename(a150 / "pictures")
    assert f"0 of 3 pictures with label maps; the first that is missing: {a150}/images/validation/" in told(
        "a150", a150
    )


def test_a_part_is_taken_if_asked_for_and_said_to_be_one(a150: Path) -> None:
    (a150 / "images/validation/ADE_val_00000002.jpg").unlink()
    labels = opened("a150", a150, partial=True)
    assert [item.key[-1] for item in labels.items] == ["1", "3"]
    assert (len(labels), labels.expected_images) == (2, 3)
    assert "only a part of a150: 2 of 3 pictures" in labels.notes[0]


def test_pictures_too_many_are_refused(a150: Path) -> None:
    picture(a150 / "images/validation/extra.jpg")
    label_map(a150 / "annotations/validation/extra.png", 1)
    message = told("a150", a150)
    assert f"4 of 3 pictures with label maps; expected nothing else in {a150}/annotations/validation" in message


def test_unnumbered_pictures_that_are_missing_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "coco_stuff171", 2)
    picture(tmp_path / "val2017/000000000139.jpg")
    label_map(tmp_path / "stuffthingmaps/val2017/000000000139.png", 1)
    assert "1 of 2 pictures with label maps; which are missing is not known" in told("coco_stuff171", tmp_path)
    picture(tmp_path / "val2017/000000000285.jpg")
    assert "missing: " + str(tmp_path / "stuffthingmaps/val2017/000000000285.png") in told("coco_stuff171", tmp_path)


def test_a_missing_list_of_names_is_told_with_all_its_places(tmp_path: Path) -> None:
    label_map(tmp_path / "trainval/2008_000002.mat", 1)
    message = told("pc459", tmp_path)
    for name in ("pascalcontext_val.txt", "ImageSets/SegmentationContext/val.txt", "ImageSets/Main/val.txt"):
        assert name in message
    assert "the list of the split's pictures" in message


def test_a_list_that_names_a_picture_twice_is_refused(tmp_path: Path) -> None:
    label_map(tmp_path / "SegmentationClass/2007_000033.png", 1)
    names(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000033", "2007_000033")
    assert "ImageSets/Segmentation/val.txt: expected the name of each picture of the split once" in told(
        "pas20", tmp_path
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: aeroplane\n2: unicorn\n", "'unicorn' is no class of Pascal Context"),
        ("1: cat\n", "lists 1 classes; expected 59"),
    ],
)
def test_a_wrong_order_of_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    of_size(monkeypatch, "pc59", 1)
    picture(tmp_path / "JPEGImages/a.jpg")
    label_map(tmp_path / "annotations_detectron2/pc59_val/a.png", 1)
    (tmp_path / "59_labels.txt").write_text(text)
    assert message in told("pc59", tmp_path)


def test_damaged_files_and_wrong_sizes_are_named_when_read(a150: Path) -> None:
    labels = opened("a150", a150)
    first, second, third = labels.items
    Path(first.labels).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"ADE_val_00000001\.png: cannot be read as a label map"):
        labels.truth(first)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(second.labels)
    with pytest.raises(UserError, match=r"ADE_val_00000002\.png: has 3 channels; expected a label map"):
        labels.truth(second)
    picture(Path(third.picture), 5, 6)
    with pytest.raises(UserError, match=r"ADE_val_00000003\.png: is 6x4, its picture 6x5"):
        labels.truth(third)
    Path(third.picture).write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"ADE_val_00000003\.jpg: cannot be read as a picture"):
        labels.picture(third)
    with pytest.raises(UserError, match=r"ADE_val_00000003\.jpg: cannot be read as a picture"):
        labels.truth(third)
    Path(third.picture).unlink()
    with pytest.raises(UserError, match=r"ADE_val_00000003\.jpg: cannot be read"):
        labels.picture(third)


def test_a_damaged_matlab_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "pc459", 1)
    picture(tmp_path / "JPEGImages/a.jpg")
    names(tmp_path / "pascalcontext_val.txt", "a")
    label_map(tmp_path / "trainval/a.mat", 1)
    labels = opened("pc459", tmp_path)
    Path(labels.items[0].labels).write_bytes(b"MATLAB 5.0")
    with pytest.raises(UserError, match=r"a\.mat: expected Pascal Context's MATLAB file"):
        labels.truth(labels.items[0])


def test_a_grey_picture_is_no_raw_ade20k_map(tmp_path: Path) -> None:
    picture(tmp_path / "images/ADE/validation/a/ADE_val_00000001.jpg")
    label_map(tmp_path / "images/ADE/validation/a/ADE_val_00000001_seg.png", 1)
    labels = opened("a847", tmp_path, partial=True)
    with pytest.raises(UserError, match=r"_seg\.png: is no 8-bit colour picture"):
        labels.truth(labels.items[0])


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "a151", "root": "x"},
        {"kind": "a150"},
        {"kind": "a150", "root": ""},
        {"kind": "a150", "root": "x", "labels": "y"},
        {"kind": "folder", "images": "x", "labels": "y"},
    ],
)
def test_wrong_configs_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(SetConfig).validate_python(values)
