"""COCO's files as people have them, in one build: a bad mask costs itself alone, and the rest is mined."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from PIL import Image

from pipeline.cli.entry import main
from pipeline.manifest import BuildManifest
from pipeline.verify import verify
from tests.photos import write_photos
from tests.pipeline.conftest import manifest_values, run_build

BOX = [10, 10, 50, 10, 50, 50, 10, 50]
BAD_MASKS: dict[str, Any] = {
    "no_points": [],
    "no_polygon": [[]],
    "two_points": [[10, 10, 70, 70]],
    "odd_count": [[*BOX, 10]],
    "nan": [[10, 10, 70, 10, float("nan"), 70]],
    "infinite": [[10, 10, 70, 10, float("inf"), 70]],
    "far_outside": [[-164.1, -221.8, 2.1e8, 3.5e8, 225.9, 236.5]],
    "short_rle": {"size": [72, 96], "counts": [0, 5]},
    "negative_rle": {"size": [72, 96], "counts": [-5, 6917]},
    "fractions": {"size": [72, 96], "counts": [0.5, 6911.5]},
    "too_long": {"size": [72, 96], "counts": "0\\oP" * 50},
    "no_counts": {"size": [72, 96]},
    "no_json": "52203",
    "a_word": "polygon",
}
"""Segmentations that are none; the photo's other mask is good."""
READ_MASKS: dict[str, Any] = {
    "flat": BOX,
    "points": [[10, 10], [50, 10], [50, 50]],
    "nested_points": [[[10, 10], [50, 10], [50, 50]]],
    "whole_floats": {"size": [72.0, 96.0], "counts": [1000.0, 500.0, 5412.0]},
    "text": json.dumps([BOX]),
}
OTHER_SIZE = {"size": [96, 72], "counts": [0, 6912]}


def masks_of(image_id: int, segmentation: Any, good: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{**good, "image_id": image_id, "segmentation": segmentation, **changes}, {**good, "image_id": image_id}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo for each case."""
    folder = write_photos(tmp_path_factory.mktemp("cases"), len(BAD_MASKS) + len(READ_MASKS) + 6)
    shown, said = (json.loads((folder / name).read_text()) for name in ("instances.json", "captions.json"))
    ids = [image["id"] for image in shown["images"]]
    good = next(one for one in shown["annotations"] if one["image_id"] == ids[0])
    cases = [*BAD_MASKS.values(), *READ_MASKS.values()]
    masks = [one for image_id, mask in zip(ids, cases, strict=False) for one in masks_of(image_id, mask, good)]
    other, box, null, nameless, number, surrogate = ids[len(cases) :]
    masks += masks_of(other, OTHER_SIZE, good)
    masks += masks_of(box, None, good, id=7001)
    masks[-2].pop("segmentation")
    masks += masks_of(null, None, good, id=7002)
    masks += masks_of(float(nameless), [BOX], good, category_id=99)
    masks += [{**good, "image_id": str(number)}, {**good, "image_id": surrogate}]
    shown["annotations"] = masks
    shown["categories"] += [{"id": 1, "name": "cat"}, {"id": 3.0, "name": None}]
    said["annotations"] = [{**one, "image_id": str(one["image_id"])} for one in said["annotations"]]
    next(one for one in said["annotations"] if one["image_id"] == str(number))["caption"] = 3
    said["images"] = [{**one, "id": float(one["id"]), "height": 72.0} for one in said["images"]]
    said["images"][-1]["file_name"] = "p0\ud83d.jpg"
    said["licenses"][0]["name"] = "CC \ud83d"
    (folder / "instances.json").write_text(json.dumps(shown))
    (folder / "captions.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def built(folder: Path, tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    run_build(BuildManifest.model_validate(manifest_values(folder, tiny_clip, shards__images_per_shard=64)), out)
    return out


def test_each_photo_keeps_its_good_masks(folder: Path, built: Path) -> None:
    rows = pyarrow.parquet.read_table(built / "images.parquet").to_pylist()
    dropped = [{key: count for key, count in row["dropped"] if key.startswith("proposal.")} for row in rows]
    cases = dict(zip([*BAD_MASKS, *READ_MASKS], dropped, strict=False))
    assert {name: cases[name] for name in BAD_MASKS} == {key: {"proposal.bad_segmentation": 1} for key in BAD_MASKS}
    assert {name: cases[name] for name in READ_MASKS} == {key: {} for key in READ_MASKS}
    assert dropped[len(cases)] == {"proposal.mask_size_mismatch": 1}
    assert dropped[len(cases) + 1 :] == [{}] * 4
    expected = [*[1] * len(BAD_MASKS), *[2] * len(READ_MASKS), 1, 1, 1, 2, 1]
    assert [row["proposals"] for row in rows] == expected
    assert {row["status"] for row in rows} == {"pairs"}
    assert verify(str(built))[1] == []


def test_what_is_no_mask_no_caption_or_no_image_is_a_row_by_name(built: Path) -> None:
    rows = pyarrow.parquet.read_table(built / "quarantine.parquet").to_pylist()
    assert [(row["stage"], row["item"], row["reason"]) for row in rows] == [
        ("plan", "image", "bad_image"),
        ("plan", "caption", "bad_caption"),
        ("plan", "annotation", "no_mask"),
        ("plan", "annotation", "no_mask"),
    ]
    assert "(id 7001): has no mask" in rows[2]["message"]
    assert "(id 7002): has no mask" in rows[3]["message"]
    licenses = pyarrow.parquet.read_table(built / "index.parquet", columns=["license"])["license"]
    assert set(licenses.to_pylist()) == {"CC \\ud83d"}


@pytest.fixture
def plan(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], str]:
    """What the command `plan` prints."""
    monkeypatch.setattr("pipeline.cli.entry.install", lambda stop: None)

    def call(folder: Path) -> str:
        (tmp_path / "build.yaml").write_text(yaml.safe_dump(manifest_values(folder, tiny_clip)))
        monkeypatch.setattr("sys.argv", ["maskmine", "plan", str(tmp_path / "build.yaml"), "--sample", "0"])
        with pytest.raises(SystemExit):
            main()
        return "".join(capsys.readouterr())

    return call


def test_a_plan_counts_by_reason_and_tells_categories(folder: Path, plan: Callable[[Path], str]) -> None:
    printed = plan(folder)
    for line in (
        "set aside        2 annotations: no_mask",
        "set aside        1 image: bad_image",
        "set aside        1 caption: bad_caption",
        "category ids with two names, of which the last is taken: 1: 'ball' and 'cat'",
        "categories without a name, and 1 mask of theirs without a label: 3, 99",
    ):
        assert line in printed


def test_file_names_with_a_folder_are_told_by_the_name_that_is_there(
    tmp_path: Path, plan: Callable[[Path], str]
) -> None:
    folder = write_photos(tmp_path / "photos", 2)
    said = json.loads((folder / "captions.json").read_text())
    for image in said["images"]:
        image["file_name"] = f"train2017/{image['file_name']}"
    (folder / "captions.json").write_text(json.dumps(said))
    assert "such as train2017/000100.jpg; 000100.jpg is there without train2017/; check source.images" in plan(folder)


def test_a_missing_png_costs_its_own_masks_and_the_photo_only_if_it_has_no_others(
    tmp_path: Path, tiny_clip: str
) -> None:
    folder = write_photos(tmp_path / "photos", 3)
    shown = json.loads((folder / "instances.json").read_text())
    first, second, third = [image["id"] for image in shown["images"]]
    segments = [{"id": 5, "category_id": 1}, {"id": 6, "category_id": 2}]
    panoptic = [
        {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}
        for image_id in (first, second, third)
    ]
    (folder / "panoptic.json").write_text(json.dumps({**shown, "annotations": panoptic}))
    shown["annotations"] = [one for one in shown["annotations"] if one["image_id"] != third]
    (folder / "instances.json").write_text(json.dumps(shown))
    (folder / "panoptic").mkdir()
    ids = np.zeros((72, 96, 3), np.uint8)
    ids[:20, :, 0] = 5
    Image.fromarray(ids).save(folder / f"panoptic/{first}.png")
    values = manifest_values(folder, tiny_clip)
    values["source"]["masks"].append(str(folder / "panoptic.json"))
    run_build(BuildManifest.model_validate(values), tmp_path / "out")
    rows = pyarrow.parquet.read_table(tmp_path / "out/images.parquet").to_pylist()
    assert [(row["status"], row["proposals"]) for row in rows] == [("pairs", 3), ("pairs", 2), ("quarantined", 0)]
    assert ("proposal.bad_segmentation", 1) in rows[0]["dropped"]  # a segment that its PNG lacks
    assert ("proposal.unreadable_mask_file", 2) in rows[1]["dropped"]
    (row,) = pyarrow.parquet.read_table(tmp_path / "out/quarantine.parquet").to_pylist()
    assert (row["image_id"], row["stage"], row["reason"]) == (str(third), "proposals", "unreadable_mask_file")
