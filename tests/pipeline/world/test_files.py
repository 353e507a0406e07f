"""The world's files: same bytes for the same seed, valid COCO, masks and labels that agree."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from pipeline.sources.set_aside import SetAside
from pipeline.world import WorldConfig, load_vocabulary, write_world
from stages.common import UserError
from tests.pipeline.world.conftest import SCENES


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _read(folder: Path, name: str) -> Any:  # noqa: ANN401 - any JSON value
    return json.loads((folder / name).read_text(encoding="utf-8"))


def _load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_same_seed_gives_same_bytes_for_one_or_two_workers(world: Path, tmp_path: Path) -> None:
    done: list[int] = []
    write_world(tmp_path / "again", SCENES, 7, workers=2, progress=done.append)
    assert _hashes(tmp_path / "again") == _hashes(world)
    assert done[-1] == SCENES


def test_another_seed_gives_other_pictures(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "other", 3, 8)
    ours, others = _hashes(world), _hashes(tmp_path / "other")
    assert all(ours[f"images/{n:07d}.jpg"] != others[f"images/{n:07d}.jpg"] for n in (1, 2, 3))


def test_a_scene_does_not_depend_on_how_many_there_are(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "few", 3, 7)
    ours, few = _hashes(world), _hashes(tmp_path / "few")
    pictures = [name for name in few if name.endswith((".jpg", ".png"))]
    assert len(pictures) == 6
    assert all(few[name] == ours[name] for name in pictures)
    for name in ("instances.json", "stuff.json", "captions.json"):
        kept = [entry for entry in _read(world, name)["annotations"] if entry["image_id"] <= 3]
        assert _read(tmp_path / "few", name)["annotations"] == kept


@pytest.mark.parametrize("name", ["instances.json", "stuff.json"])
def test_boxes_and_areas_agree_with_masks(world: Path, name: str) -> None:
    coco = _load(world / name)
    assert len(coco.anns) > SCENES / 2
    categories = set(coco.getCatIds())
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation).astype(bool)
        rows, columns = np.nonzero(mask)
        left, top, width, height = annotation["bbox"]
        assert (columns.min(), rows.min()) == (left, top)
        assert (columns.max() + 1, rows.max() + 1) == (left + width, top + height)
        assert annotation["area"] == mask.sum() > 0
        assert annotation["category_id"] in categories


def test_pictures_have_the_size_that_the_json_says(world: Path) -> None:
    coco = _load(world / "captions.json")
    assert len(coco.imgs) == SCENES
    for image in coco.imgs.values():
        picture = cv2.imread(str(world / "images" / image["file_name"]))
        assert picture is not None
        assert picture.shape == (image["height"], image["width"], 3)
        assert len(coco.getAnnIds(imgIds=[image["id"]])) == 5


def test_masks_of_things_and_stuff_tile_the_picture_and_agree_with_the_labels(world: Path) -> None:
    things, stuff = _load(world / "instances.json"), _load(world / "stuff.json")
    for image in things.imgs.values():
        annotations = [*things.imgToAnns[image["id"]], *stuff.imgToAnns[image["id"]]]
        owners = np.zeros((image["height"], image["width"]), int)
        expected = np.zeros_like(owners)
        for annotation in annotations:
            mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
            owners += mask
            expected[mask] = annotation["category_id"]
        assert (owners == 1).all()
        name = image["file_name"].replace(".jpg", ".png")
        labels = cv2.imread(str(world / "labels" / name), cv2.IMREAD_UNCHANGED)
        assert labels is not None
        assert labels.dtype == np.uint16
        assert (labels == expected).all()


def test_the_coco_source_reads_the_world(world: Path) -> None:
    sources = pytest.importorskip("pipeline.sources.config")
    source_coco = pytest.importorskip("pipeline.sources.coco")
    pytest.importorskip("stages.proposals.annotations")
    source = sources.CocoSource(
        images=str(world / "images"),
        captions=str(world / "captions.json"),
        masks=[str(world / "instances.json")],
    )
    table = source_coco.read_coco(source, SetAside())
    assert len(table) == SCENES
    assert {len(captions) for captions in table["captions"].to_pylist()} == {5}
    assert sum(len(masks) for masks in table["masks"].to_pylist()) == len(_read(world, "instances.json")["annotations"])


def test_classes_list_every_label_with_all_its_forms(world: Path) -> None:
    classes = _read(world, "classes.json")
    vocabulary = load_vocabulary()
    assert [entry["id"] for entry in classes] == list(range(1, len(vocabulary.things) + len(vocabulary.stuff) + 1))
    dog = next(entry for entry in classes if entry["name"] == "dog")
    assert {"dog", "dogs", "hound", "hounds"} <= set(dog["forms"])


def test_the_art_is_attributed(world: Path) -> None:
    text = (world / "LICENSE.txt").read_text(encoding="utf-8")
    assert "OpenMoji" in text
    assert "CC BY-SA 4.0" in text
    assert _read(world, "captions.json")["licenses"][0]["name"] == "CC BY-SA 4.0"


def test_a_folder_with_files_is_refused(world: Path) -> None:
    with pytest.raises(UserError, match="empty folder"):
        write_world(world, 1, 0)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 'unobtainium'"):
        write_world(tmp_path / "w", 1, 0, WorldConfig(names=("dog", "unobtainium")))
    with pytest.raises(UserError, match="mention"):
        write_world(tmp_path / "w", 1, 0, WorldConfig(mention=("dgo",)))
    with pytest.raises(UserError, match="images"):
        write_world(tmp_path / "w", 0, 0)


def test_names_and_single_object_limit_what_scenes_hold(tmp_path: Path) -> None:
    write_world(tmp_path / "w", 20, 3, WorldConfig(names=("dog", "kite"), single_object=True, size_px=96))
    instances = _load(tmp_path / "w" / "instances.json")
    names = {instances.cats[entry["category_id"]]["name"] for entry in instances.anns.values()}
    assert names == {"dog", "kite"}
    assert all(len(instances.imgToAnns[image_id]) == 1 for image_id in instances.imgs)
    assert all(image["height"] == 96 for image in instances.imgs.values())


def test_min_visible_keeps_objects_whole(tmp_path: Path) -> None:
    def visible(folder: str, share: float) -> int:
        config = WorldConfig(min_visible=share, single_object=0, objects=(6, 6), size_px=64)
        write_world(tmp_path / folder, 10, 3, config)
        return len(_read(tmp_path / folder, "instances.json")["annotations"])

    assert visible("strict", 0.95) < visible("loose", 0.1)


def test_every_scene_has_an_object_even_if_none_fits(tmp_path: Path) -> None:
    config = WorldConfig(min_visible=1, single_object=True, single_object_side=(1.2, 1.5), size_px=64)
    write_world(tmp_path / "w", 15, 3, config)
    assert len(_read(tmp_path / "w", "instances.json")["annotations"]) == 15
