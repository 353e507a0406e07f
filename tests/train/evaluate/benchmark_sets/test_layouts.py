"""Each benchmark's layouts, from the files on the disk to the classes of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.evaluate.benchmark_sets.miniatures import (
    first_row,
    label_map,
    names,
    of_size,
    opened,
    picture,
)
from train.evaluate.benchmark_sets import SegmentationSet
from train.evaluate.benchmark_sets.classes import benchmark_classes
from train.evaluate.benchmark_sets.layouts import FACTS, BenchmarkKind

# 59_labels.txt as Pascal Context ships it.
LABELS_59 = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse motorbike person pottedplant sheep sofa "
    "train tvmonitor bag bed bench book building cabinet ceiling cloth computer cup door fence floor flower food grass "
    "ground keyboard light mountain mouse curtain platform sign plate road rock shelves sidewalk sky snow bedclothes "
    "track tree truck wall water window wood"
)


def test_a150_counts_from_one_and_ignores_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "a150", 2)
    for number in (2, 1):
        picture(tmp_path / f"images/validation/ADE_val_0000000{number}.jpg")
        label_map(tmp_path / f"annotations/validation/ADE_val_0000000{number}.png", 0, 1, 150, number)
    labels = opened("a150", tmp_path)
    assert first_row(labels) == [-1, 0, 149, 0, 0, 0]
    assert first_row(labels, 1) == [-1, 0, 149, 1, 1, 1]
    assert (len(labels), labels.expected_images, labels.notes) == (2, 2, ())
    assert [item.key for item in labels.items] == ["ADE_val_00000001", "ADE_val_00000002"]
    assert (labels.name, labels.classes[0].name, len(labels.classes)) == ("a150", "wall", 150)


def save_seg(path: Path, index: np.ndarray) -> None:
    """ADE20K's colour code: red holds index // 256 in steps of 10, green the rest, blue the instance."""
    pixels = np.stack((index // 256 * 10, index % 256, np.full_like(index, 77)), axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_a847_is_converted_from_the_raw_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "a847", 2)
    folder = tmp_path / "images/ADE/validation/urban/street"
    listed = benchmark_classes("a847")
    index = np.zeros((4, 6), int)
    index[0, :4] = 2978, 312, 3148, 1  # wall, building, adding machine, an object that is none of the 847
    for number in (1, 2):
        picture(folder / f"ADE_val_0000000{number}.jpg")
        save_seg(folder / f"ADE_val_0000000{number}_seg.png", index)
        save_seg(folder / f"ADE_val_0000000{number}_parts_1.png", index)
        picture(folder / f"ADE_val_0000000{number}/instance_000.png")
    labels = opened("a847", tmp_path)
    assert first_row(labels, 1) == [0, 1, 846, -1, -1, -1]
    assert [labels.classes[number].name for number in (0, 1, 846)] == ["wall", "building", "adding machine"]
    assert listed.of_id[3148] == 846


def test_hidden_files_are_no_pictures_of_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "a150", 1)
    picture(tmp_path / "images/validation/ADE_val_00000001.jpg")
    label_map(tmp_path / "annotations/validation/ADE_val_00000001.png", 1)
    for name in ("images/validation/._ADE_val_00000001.jpg", "annotations/validation/._ADE_val_00000001.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [item.key for item in opened("a150", tmp_path).items] == ["ADE_val_00000001"]


def test_a847_raw_pictures_shrink_to_512_as_in_the_converted_set(tmp_path: Path) -> None:
    picture(tmp_path / "images/ADE/validation/a/ADE_val_00000001.jpg", 600, 901)
    index = np.full((600, 901), 2420)
    index[:300] = 2978
    save_seg(tmp_path / "images/ADE/validation/a/ADE_val_00000001_seg.png", index)
    labels = opened("a847", tmp_path, partial=True)
    truth = labels.truth(labels.items[0])
    assert truth.shape == labels.picture(labels.items[0]).shape[:2] == (512, round(901 / 600 * 512))
    assert set(np.unique(truth[:256])) == {0}
    assert set(np.unique(truth[256:])) == {2}


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_a847_converted_counts_from_zero_in_16_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    of_size(monkeypatch, "a847", 1)
    picture(tmp_path / "images_detectron2/validation/ADE_val_00000001.jpg")
    label_map(
        tmp_path / f"annotations_detectron2/validation/ADE_val_00000001{ending}", 0, 846, 847, 65535, dtype=np.uint16
    )
    assert first_row(opened("a847", tmp_path)) == [0, 846, -1, -1, -1, -1]


def context(root: Path, *, lists: str | None = "ImageSets/Main/val.txt") -> None:
    for key in ("2008_000002", "2008_000003", "2008_000008"):
        picture(root / f"JPEGImages/{key}.jpg")
    if lists:
        names(root / lists, "2008_000003", "2008_000002")


@pytest.mark.parametrize(
    "lists", ["ImageSets/Main/val.txt", "pascalcontext_val.txt", "ImageSets/SegmentationContext/val.txt"]
)
def test_pascal_context_is_converted_from_its_matlab_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str
) -> None:
    context(tmp_path, lists=lists)
    for key in ("2008_000002", "2008_000003", "2008_000008"):
        label_map(tmp_path / f"trainval/{key}.mat", 0, 1, 2, 459, 397, 397, dtype=np.uint16)
    for kind, expected in (("pc459", [-1, 0, 1, 458, 396, 396]), ("pc59", [-1, -1, 0, -1, 49, 49])):
        of_size(monkeypatch, kind, 2)
        labels = opened(kind, tmp_path)
        assert first_row(labels) == expected
        assert [item.key for item in labels.items] == ["2008_000003", "2008_000002"]  # the list's order
        assert "table" in labels.classes[expected[-1]].forms


def test_pascal_context_59_counts_from_one_in_the_folder_of_mmsegmentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(monkeypatch, "pc59", 2)
    context(tmp_path, lists="ImageSets/SegmentationContext/val.txt")
    for key in ("2008_000002", "2008_000003"):
        label_map(tmp_path / f"SegmentationClassContext/{key}.png", 0, 1, 59, 60, 255)
    assert first_row(opened("pc59", tmp_path)) == [-1, 0, 58, -1, -1, -1]


def pc59_val(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "pc59", 1)
    context(root, lists=None)
    label_map(root / "annotations_detectron2/pc59_val/2008_000003.png", 0, 1, 10, 28, 58, 255)


def named(labels: SegmentationSet) -> list[str]:
    return ["-" if number < 0 else labels.classes[number].name for number in first_row(labels)]


def test_pc59_val_is_alphabetical_as_cat_seg_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pc59_val(tmp_path, monkeypatch)
    labels = opened("pc59", tmp_path)
    assert named(labels) == ["aeroplane", "bag", "building", "grass", "wood piece", "-"]
    assert "alphabetical" in labels.notes[0]
    assert "there is no" in labels.notes[0]


def test_pc59_val_follows_59_labels_as_ovseg_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pc59_val(tmp_path, monkeypatch)
    (tmp_path / "59_labels.txt").write_text(
        "".join(f"{i}: {name}\n" for i, name in enumerate(LABELS_59.split(), start=1))
    )
    labels = opened("pc59", tmp_path)
    assert named(labels) == ["aeroplane", "bicycle", "diningtable", "computer case", "wood piece", "-"]
    assert f"the order of {tmp_path}/59_labels.txt" in labels.notes[0]


def test_folders_of_fc_clip_hold_the_val_split_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "images/validation/2008_000002.jpg")
    label_map(tmp_path / "annotations_ctx59/validation/2008_000002.png", 0, 58, 255)
    label_map(tmp_path / "annotations_ctx459/validation/2008_000002.tif", 0, 458, 65535, dtype=np.uint16)
    for kind, last in (("pc59", 58), ("pc459", 458)):
        of_size(monkeypatch, kind, 1)
        assert first_row(opened(kind, tmp_path))[:3] == [0, last, -1]


def test_pc459_val_counts_from_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "pc459", 1)
    context(tmp_path, lists=None)
    label_map(tmp_path / "annotations_detectron2/pc459_val/2008_000003.tif", 0, 396, 458, 459, 65535, dtype=np.uint16)
    assert first_row(opened("pc459", tmp_path)) == [0, 396, 458, -1, -1, -1]


def test_the_field_s_shorter_list_of_pascal_context_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(monkeypatch, "pc459", 3, 2)
    context(tmp_path)
    for key in ("2008_000002", "2008_000003"):
        label_map(tmp_path / f"trainval/{key}.mat", 1)
    labels = opened("pc459", tmp_path)
    assert (len(labels), labels.expected_images) == (2, 2)
    assert labels.notes == ("2 pictures, as in other lists of the field; the official split has 3",)


def test_pas20_ignores_background_and_borders_of_a_map_with_a_palette(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(monkeypatch, "pas20", 1)
    picture(tmp_path / "JPEGImages/2007_000033.jpg")
    picture(tmp_path / "JPEGImages/2007_000032.jpg")
    names(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000033")
    path = tmp_path / "SegmentationClass/2007_000033.png"
    label_map(path, 0, 1, 20, 255)
    with Image.open(path) as image:
        palette = image.copy()
    palette.putpalette([value for level in range(256) for value in (level, 0, 255 - level)])
    assert palette.mode == "P"
    palette.save(path)
    assert first_row(opened("pas20", tmp_path)) == [-1, 0, 19, -1, -1, -1]


@pytest.mark.parametrize(
    ("pictures", "maps"), [("val2017", "stuffthingmaps/val2017"), ("images/val2017", "annotations/val2017")]
)
def test_coco_stuff_closes_the_gaps_of_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: str, maps: str
) -> None:
    of_size(monkeypatch, "coco_stuff171", 1)
    picture(tmp_path / pictures / "000000000139.jpg")
    label_map(tmp_path / maps / "000000000139.png", 0, 10, 11, 12, 181, 255)
    labels = opened("coco_stuff171", tmp_path)
    assert first_row(labels) == [0, 10, -1, 11, 170, -1]
    assert [labels.classes[number].name for number in (0, 10, 11, 170)] == [
        "person",
        "fire hydrant",
        "stop sign",
        "wood",
    ]


@pytest.mark.parametrize(
    ("kind", "pictures", "maps"),
    [
        ("coco_stuff171", "val2017", "stuffthingmaps_detectron2/val2017"),
        ("coco_stuff171", "images/val2017", "annotations_detectron2/val2017"),
    ],
)
def test_coco_stuff_converted_counts_from_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: BenchmarkKind, pictures: str, maps: str
) -> None:
    of_size(monkeypatch, kind, 1)
    picture(tmp_path / pictures / "000000000139.jpg")
    label_map(tmp_path / maps / "000000000139.png", 0, 11, 170, 171, 255)
    assert first_row(opened(kind, tmp_path)) == [0, 11, 170, -1, -1, -1]


def test_the_page_of_the_docs_has_every_layout() -> None:
    page = (Path(__file__).parents[4] / "docs/benchmark-sets.md").read_text(encoding="utf-8")
    for kind, facts in FACTS.items():
        assert f"| `{kind}` | {facts.title.partition(',')[0]}" in page
        assert f"| {len(benchmark_classes(kind).names)} | {facts.pictures[0]:,} | " in page
        for layout in facts.layouts:
            assert layout.labels.partition("/validation")[0] in page
            assert all(name in page for name in layout.lists)
