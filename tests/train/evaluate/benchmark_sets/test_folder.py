"""A folder of one's own, and the real ADE20K sample through both readers."""

from __future__ import annotations

import pickle
from importlib.resources import files
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stages.common import UserError
from tests.train.evaluate.benchmark_sets.miniatures import label_map, opened, picture
from train.evaluate.benchmark_sets import LabelFolder, StrangeIds, open_set

CLASSES = '[{"id": 3, "name": "cat", "forms": ["cat", "cats"]}, {"id": 700, "name": "sky"}, {"id": 9, "name": "void"}]'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for key in ("b", "a"):
        picture(tmp_path / f"images/{key}.jpg")
        label_map(tmp_path / f"labels/{key}.png", 0, 3, 700, 9, 65535, 3, dtype=np.uint16)
    (tmp_path / "classes.json").write_text(CLASSES)
    return tmp_path


def config(root: Path | str, **settings: object) -> LabelFolder:
    places = {"images": f"{root}/images", "labels": f"{root}/labels", "classes": f"{root}/classes.json"}
    return LabelFolder.model_validate({"kind": "folder", **places, **settings})


def test_labels_become_classes_in_the_order_of_the_list(folder: Path) -> None:
    labels = open_set(config(folder))
    assert [names.forms for names in labels.classes] == [("cat", "cats"), ("sky",), ("void",)]
    assert [item.key for item in labels.items] == ["a", "b"]
    np.testing.assert_array_equal(labels.truth(labels.items[0])[0], [-1, 0, 1, 2, -1, 0])
    assert (labels.name, labels.expected_images, labels.notes) == ("folder", None, ())


def test_ignored_ids_leave_the_list(folder: Path) -> None:
    labels = open_set(config(folder, ignore=[9]))
    assert [names.name for names in labels.classes] == ["cat", "sky"]
    np.testing.assert_array_equal(labels.truth(labels.items[0])[0], [-1, 0, 1, -1, -1, 0])


def test_a_turned_photo_goes_with_upright_labels(folder: Path) -> None:
    turned = Image.fromarray(np.zeros((6, 4, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "images/a.jpg", exif=exif)
    labels = open_set(config(folder))
    assert labels.picture(labels.items[0]).shape == (4, 6, 3)
    assert labels.truth(labels.items[0]).shape == (4, 6)


def test_a_set_can_be_sent_to_another_process(folder: Path) -> None:
    labels = open_set(config(folder))
    again = pickle.loads(pickle.dumps(labels))
    np.testing.assert_array_equal(again.truth(again.items[1]), labels.truth(labels.items[1]))


def test_urls_are_read_as_folders_are(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/own", recursive=True)
    labels = open_set(config("memory://own"))
    assert [item.key for item in labels.items] == ["a", "b"]
    assert labels.picture(labels.items[0]).shape == (4, 6, 3)
    assert labels.truth(labels.items[0])[0, 1] == 0


def test_pictures_without_labels_are_noted(folder: Path) -> None:
    picture(folder / "images/c.jpg")
    labels = open_set(config(folder))
    assert len(labels) == 2
    assert labels.notes == (f"1 files in {folder}/images have no label map",)


def test_endings_of_any_case_are_read_and_what_is_no_picture_is_left_out_and_told(folder: Path) -> None:
    """labelme's JSON beside a picture, what macOS keeps beside every file, and a camera's capital letters."""
    picture(folder / "images/C.JPG")
    label_map(folder / "labels/C.PNG", 3)
    (folder / "images/a.json").write_text("{}")
    for name in ("images/._a.jpg", "images/.DS_Store", "labels/._a.png", "labels/a.txt"):
        (folder / name).write_bytes(b"x")
    labels = open_set(config(folder))
    assert [(item.key, Path(item.picture).name, Path(item.labels).name) for item in labels.items] == [
        ("C", "C.JPG", "C.PNG"),
        ("a", "a.jpg", "a.png"),
        ("b", "b.jpg", "b.png"),
    ]
    assert labels.notes == (
        f"3 files in {folder}/images are left out, as they are hidden or no pictures: .DS_Store, ._a.jpg, a.json",
        f"2 files in {folder}/labels are left out, as they are hidden or no label maps (*.png): ._a.png, a.txt",
    )
    label_map(folder / "labels/a.PNG", 3)
    with pytest.raises(UserError, match=r"labels/a\.png: .*labels/a\.PNG has the same name"):
        open_set(config(folder))


def test_ids_that_nobody_has_named_are_counted(folder: Path) -> None:
    labels = open_set(config(folder, ignore=[9]))
    strange = StrangeIds()
    for item in labels.items:
        strange.add(labels.read(item)[1])
    assert (strange.pixels, strange.of_id) == (48, {0: 2})
    (note,) = strange.notes(*labels.places)
    assert note == (
        f"4.2 % of the pixels in {folder}/labels are not scored, as no class of {folder}/classes.json has their ids: "
        "0 (4.2 %); add the classes, or name ids that mean none under 'ignore'"
    )
    named = open_set(config(folder, ignore=[9, 0]))
    assert not named.read(named.items[0])[1].of_id


def test_label_maps_with_long_texts_are_read(folder: Path) -> None:
    info = PngInfo()
    info.add_text("note", "x" * 3_000_000, zip=True)
    Image.fromarray(np.full((4, 6), 3, np.uint8)).save(folder / "labels/a.png", pnginfo=info)
    (folder / "images/a.jpg").unlink()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / "images/a.png", pnginfo=info)
    labels = open_set(config(folder))
    assert (labels.truth(labels.items[0]) == 0).all()


def test_mistakes_are_named(folder: Path) -> None:
    for settings, message in (
        ({"classes": f"{folder}/none.json"}, "none.json: cannot be read"),
        ({"images": f"{folder}/nowhere"}, "nowhere: there is no such folder; expected the pictures"),
        ({"labels": f"{folder}/images"}, "images: there are no label maps"),
    ):
        with pytest.raises(UserError) as caught:
            open_set(config(folder, **settings))
        assert message in str(caught.value)
    picture(folder / "images/a.png")
    with pytest.raises(UserError, match=r"a\.png: a\.jpg has the same name"):
        open_set(config(folder))
    (folder / "images/a.png").unlink()
    (folder / "images/b.jpg").unlink()
    with pytest.raises(UserError, match=r"labels/b\.png: its picture b\.\* is not in"):
        open_set(config(folder))


def test_the_real_ade20k_sample_reads_alike_as_benchmark_and_as_folder(shared_data: Path) -> None:
    sample = shared_data / "ade20k-sample" / "sampleData"
    if not sample.is_dir():
        pytest.skip(f"{sample} not found")
    benchmark = opened("a150", sample, partial=True)
    listed = str(files("train.evaluate.benchmark_sets").joinpath("data", "a150.json"))
    places = {"images": str(sample / "images"), "labels": str(sample / "annotations"), "classes": listed}
    own = open_set(LabelFolder.model_validate({"kind": "folder", **places}))
    assert len(benchmark) == len(own) == 3
    assert "3 of 2,000 pictures" in benchmark.notes[0]
    seen = set()
    for item, other in zip(benchmark.items, own.items, strict=True):
        truth = benchmark.truth(item)
        np.testing.assert_array_equal(truth, own.truth(other))
        assert truth.shape == benchmark.picture(item).shape[:2]
        with Image.open(item.labels) as image:
            np.testing.assert_array_equal(truth, np.array(image).astype(int) - 1)
        seen |= {benchmark.classes[number].name for number in np.unique(truth) if number >= 0}
    assert seen >= {"wall", "building", "sky", "tree"}
