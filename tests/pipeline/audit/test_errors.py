"""What a person gets wrong is said in words, with the file's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.audit import audit
from pipeline.audit.printing import print_report
from stages.common import UserError
from tests.pipeline.audit.tiny import mask, pair, write_build, write_truth

DOG = mask((0, 0, 40, 40))


POLYGON = {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return write_build(tmp_path / "build", {"1": [pair("dog", DOG)], "2": []})


@pytest.fixture
def truth(tmp_path: Path) -> str:
    return write_truth(tmp_path / "truth.json", ["dog"], {"1": [("dog", DOG)], "2": []})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda build: (build / "build.lock.json").unlink(), "no finished build"),
        (lambda build: (build / "build.lock.json").write_text("{}"), "damaged: build.lock.json"),
        (lambda build: (build / "images.parquet").unlink(), "damaged"),
        (lambda build: (build / "images.parquet").write_text("x"), "damaged"),
        (lambda build: (build / "shards/000000.tar").unlink(), "damaged: shards/000000.tar"),
        (lambda build: cut(build / "shards/000000.tar"), "damaged: shards/000000.tar"),
        (lambda build: (build / "shards/000000.tar").write_bytes(bytes(10240)), "lack their pairs, e.g. 1"),
    ],
)
def test_a_build_must_be_whole(build: Path, truth: str, spoil: Callable[[Path], None], words: str) -> None:
    spoil(build)
    with pytest.raises(UserError, match=words):
        audit(str(build), [truth])


def test_a_pair_must_have_a_sound_mask(tmp_path: Path, truth: str) -> None:
    damaged = {"size": [100, 100], "counts": DOG["counts"][:-3]}
    build = write_build(tmp_path / "damaged", {"1": [pair("dog", damaged)]})
    with pytest.raises(UserError, match="damaged: image 1: mask_rle: mask 0"):
        audit(str(build), [truth])


def test_a_pair_must_be_one_of_its_image(tmp_path: Path, truth: str) -> None:
    build = write_build(tmp_path / "other", {"1": [pair("dog", DOG)]})
    one_more = write_build(tmp_path / "more", {"1": [pair("dog", DOG), pair("cat", DOG)]})
    (one_more / "shards/000000.tar").rename(build / "shards/000000.tar")
    with pytest.raises(UserError, match="image 1 has other pairs than"):
        audit(str(build), [truth])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": []}, "no images"),
        ({"categories": []}, "no categories"),
        ({"annotations": [{"image_id": 1, "category_id": 1}]}, "segmentation"),
        ({"annotations": [{"image_id": 1, "segmentation": DOG}]}, "none of its masks has a category_id with a name"),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "segmentation": {"size": [100, 100], "counts": "?"}}]},
            "add up to 10000",
        ),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[1, 2]]}]},
            "none of the 1 masks .* a mask of image 1: ",
        ),
        ({"images": [{"id": 8, "file_name": "8.jpg"}]}, "none of the build's 2 images"),
        (
            {"images": [{"id": 1, "height": 10, "width": 100}]},
            r"of image 1: it is \[100, 100\] .*, the image is \[10, 100\]",
        ),
        ({"images": [{"id": 1, "height": 10, "width": 100}], "annotations": [POLYGON]}, "image 1 is 10 x 100 pixels"),
        ({"images": [{"id": None}]}, r"images\[0\]"),
        ({"images": [3]}, r"images\[0\]"),
    ],
)
def test_a_truth_must_be_of_coco_and_of_these_images(
    tmp_path: Path, build: Path, changes: dict[str, object], words: str
) -> None:
    spoilt = write_truth(tmp_path / "spoilt.json", ["dog"], {"1": [("dog", DOG)]}, changes)
    with pytest.raises(UserError, match=words) as error:
        audit(str(build), [spoilt])
    assert "spoilt.json" in str(error.value)


def test_what_of_a_truth_cannot_be_used_is_left_out_and_counted(build: Path, tmp_path: Path) -> None:
    good = {"image_id": 1, "category_id": 1, "segmentation": DOG}
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": "large"}
    odd = [box, {**good, "segmentation": []}, {**good, "category_id": 9}, {**good, "segmentation": [[1, 2]]}, "none"]
    images = [{"id": "1", "height": 100.0, "width": "100"}, {"id": None}, {"id": 2, "height": "unknown"}]
    spoilt = write_truth(tmp_path / "spoilt.json", ["dog"], {}, {"images": images, "annotations": [good, *odd]})
    sound = write_truth(tmp_path / "sound.json", ["dog"], {"1": [("dog", DOG)], "2": []})
    report, expected = audit(str(build), [spoilt]), audit(str(build), [sound])
    truth = report.pop("truth")
    assert expected.pop("truth")["left_out"] == {}
    assert report == expected
    assert truth["left_out"] == {
        "no_mask": 1,
        "bad_annotation": 1,
        "bad_image": 1,
        "no_category": 1,
        "bad_segmentation": 2,
    }
    console = Console(record=True, width=400)
    print_report({**report, "truth": truth}, "build", console)
    assert "left out of the ground truth: 2 bad_segmentation, " in console.export_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '{"a": [1]}'])
def test_a_truth_must_be_json_of_coco(tmp_path: Path, build: Path, text: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"odd\.json"):
        audit(str(build), [str(file)])


def test_files_must_exist(tmp_path: Path, build: Path, truth: str) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json"):
        audit(str(build), [str(tmp_path / "nowhere.json")])
    with pytest.raises(UserError, match=r"nowhere\.json"):
        audit(str(build), [truth], str(tmp_path / "nowhere.json"))
    with pytest.raises(UserError, match="no finished build"):
        audit(str(tmp_path / "nothing"), [truth])


@pytest.mark.parametrize(
    "data", [3, ["dog"], [{"name": "dog"}], {"dog": "hound"}, {"dog": [3]}, [{"name": "dog", "forms": 1}]]
)
def test_synonyms_must_be_lists_of_words(tmp_path: Path, build: Path, truth: str, data: object) -> None:
    file = tmp_path / "synonyms.json"
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"synonyms\.json"):
        audit(str(build), [truth], str(file))


def test_synonyms_must_be_of_the_truths_classes(tmp_path: Path, build: Path, truth: str) -> None:
    file = tmp_path / "synonyms.json"
    file.write_text('{"aeroplane": ["plane"]}')
    with pytest.raises(UserError, match="none of the names is a class of the truth"):
        audit(str(build), [truth], str(file))
