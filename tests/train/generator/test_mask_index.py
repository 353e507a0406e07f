"""What a training of a generator lists, holds out, and refuses before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stages.common import UserError
from tests.train.generator.conftest import SIDE, change, mask_set, rle, write_shapes
from train.generator.config import MaskData
from train.generator.mask_index import index_masks


def data(*sets: dict[str, Any], held_out: float = 0.0) -> MaskData:
    return MaskData.model_validate({"sets": sets, "held_out": held_out, "workers": 0})


def test_masks_come_with_their_names_and_kinds(own_shapes: Path) -> None:
    found = index_masks(data(mask_set(own_shapes)))
    assert found.names == ("box", "disc", "grass", "sky")
    assert len(found.training) == 6
    pixels, regions = found.read(found.training[0])
    assert pixels.shape == (SIDE, SIDE, 3)
    assert [(each.name, each.is_thing, each.is_crowd) for each in regions] == [
        ("box", True, False),
        ("disc", True, False),
        ("sky", False, False),
        ("grass", False, False),
    ]
    covered = np.sum([each.rle.decode() for each in regions], axis=0)
    assert (covered == 1).all()


def test_a_picture_is_held_out_by_its_id_whatever_else_there_is(shapes: Path, tmp_path: Path) -> None:
    half = data(mask_set(shapes), held_out=0.5)
    first = {one.image.image_id for one in index_masks(half).held_out}
    assert 4 < len(first) < 20
    more = data(mask_set(write_shapes(tmp_path / "more", 40, seed=5)), mask_set(shapes), held_out=0.5)
    again = {one.image.image_id for one in index_masks(more).held_out if one.set_number == 1}
    assert again == first


def test_pictures_without_masks_are_left_out_and_counted(own_shapes: Path) -> None:
    def empty(document: dict[str, Any]) -> None:
        document["annotations"] = [each for each in document["annotations"] if each["image_id"] != 3]

    def crowd(document: dict[str, Any]) -> None:
        empty(document)
        document["annotations"].append(
            {"id": 1, "image_id": 3, "category_id": 1, "iscrowd": 1, "segmentation": rle(np.ones((SIDE, SIDE)))}
        )

    change(own_shapes / "things.json", crowd)
    change(own_shapes / "stuff.json", empty)
    found = index_masks(data(mask_set(own_shapes)))
    assert found.without_masks == 1
    assert [one.image.image_id for one in found.training] == ["1", "2", "4", "5", "6"]


def test_a_panoptic_file_tells_things_from_stuff(own_shapes: Path) -> None:
    ids = np.zeros((SIDE, SIDE, 3), np.uint8)
    ids[..., 2], ids[:9, :9, 2] = 7, 9  # OpenCV's order: red is last
    (own_shapes / "panoptic").mkdir()
    cv2.imwrite(str(own_shapes / "panoptic/1.png"), ids)
    segments = [{"id": 7, "category_id": 1}, {"id": 9, "category_id": 2}]
    document = {
        "images": [{"id": 1, "file_name": "1.png", "height": SIDE, "width": SIDE}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "sea", "isthing": 0}, {"id": 2, "name": "boat", "isthing": 1}],
    }
    (own_shapes / "panoptic.json").write_text(json.dumps(document))
    one = {"images": str(own_shapes / "images"), "annotations": [str(own_shapes / "panoptic.json")]}
    found = index_masks(data(one))
    _, regions = found.read(found.training[0])
    assert [(each.name, each.is_thing, each.rle.area_px) for each in regions] == [
        ("sea", False, SIDE * SIDE - 81),
        ("boat", True, 81),
    ]


def test_an_epoch_holds_a_set_by_its_weight(own_shapes: Path, shapes: Path) -> None:
    sets = data(mask_set(own_shapes, weight=4.0), mask_set(shapes, weight=0.5))
    assert index_masks(sets).repeats(sets.sets).sum() == 6 * 4 + 24 / 2


def test_masks_that_cannot_be_used_are_left_out_and_told_before_training(own_shapes: Path) -> None:
    def spoil(document: dict[str, Any]) -> None:
        masks = document["annotations"]
        masks[4]["segmentation"] = []
        masks[5].pop("segmentation")

    change(own_shapes / "things.json", spoil)
    found = index_masks(data(mask_set(own_shapes)))
    assert [len(found.read(one)[1]) for one in found.training] == [4, 4, 2, 4, 4, 4]
    (told,) = found.unusable
    assert "left out of data.sets[0]: 1 no_mask, 1 bad_segmentation;" in told
    assert told.endswith("; mend the file, or train without them")
    assert "things.json: image 3: annotations[5] (id 31): has no mask" in told


def test_one_mask_of_another_size_keeps_training_from_starting(own_shapes: Path) -> None:
    """Wherever its picture stands: it is no mask of this picture's."""
    change(
        own_shapes / "things.json",
        lambda document: document["annotations"][3].update(segmentation=rle(np.ones((32, 32)))),
    )
    with pytest.raises(
        UserError,
        match=r"data.sets\[0\]: 1 mask_size_mismatch, the first: .*things.json: a mask of image 2: it is \[32, 32\] "
        r".* the image is \[64, 64\]; give masks of the pictures' sizes, or remove them",
    ):
        index_masks(data(mask_set(own_shapes)))


@pytest.mark.parametrize("name", [None, "", "  ", "gone"])
def test_a_category_without_a_name_keeps_training_from_starting(own_shapes: Path, name: str | None) -> None:
    def spoil(document: dict[str, Any]) -> None:
        if name == "gone":
            document["categories"].pop()
        else:
            document["categories"][1]["name"] = name

    change(own_shapes / "stuff.json", spoil)
    with pytest.raises(
        UserError,
        match=r"data.sets\[0\]: 6 no_category, the first: .*stuff.json: a mask of image 1 .* each category a name, or "
        r"remove the masks\n.*stuff.json: categories without a name, and 6 masks of theirs without a label: 4",
    ):
        index_masks(data(mask_set(own_shapes)))


def test_masks_that_are_all_of_another_size_are_told_before_training(own_shapes: Path) -> None:
    def shrink(document: dict[str, Any]) -> None:
        for mask in document["annotations"]:
            mask["segmentation"] = rle(np.ones((32, 32)))

    change(own_shapes / "things.json", shrink)
    with pytest.raises(
        UserError,
        match=r"data.sets\[0\]: .*things.json: none of the 12 .* image 1: it is \[32, 32\] .* the image is \[64, ",
    ):
        index_masks(data(mask_set(own_shapes)))


def test_two_spellings_of_a_category_that_look_alike_are_one(own_shapes: Path) -> None:
    change(own_shapes / "stuff.json", lambda document: document["categories"][0].update(name="\ufeffsk\u00ady"))
    assert index_masks(data(mask_set(own_shapes))).names == ("box", "disc", "grass", "sky")


def test_pictures_of_another_size_than_told_are_found_before_training(own_shapes: Path) -> None:
    for file in (own_shapes / "images").iterdir():
        cv2.imwrite(str(file), np.zeros((SIDE, SIDE + 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"1.png: is 64 x 72 pixels .* annotated as 64 x 64; .* data.sets\[0\].images"):
        index_masks(data(mask_set(own_shapes)))


def test_masks_without_any_name_are_refused(own_shapes: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["categories"] = [{"id": 99, "name": "nothing"}]

    change(own_shapes / "stuff.json", rename)
    with pytest.raises(UserError, match=r"stuff.json: none of its masks has a category_id with a name"):
        index_masks(data(mask_set(own_shapes)))


def test_a_file_that_cannot_be_read_is_told_with_its_key(own_shapes: Path) -> None:
    (own_shapes / "stuff.json").write_text("{")
    with pytest.raises(UserError, match=r"data.sets\[0\].stuff: .*stuff.json: not valid JSON"):
        index_masks(data(mask_set(own_shapes)))
    (own_shapes / "things.json").unlink()
    with pytest.raises(UserError, match=r"data.sets\[0\].annotations: .*things.json: does not exist"):
        index_masks(data(mask_set(own_shapes)))


def test_a_set_without_any_mask_is_refused(own_shapes: Path) -> None:
    for name in ("things", "stuff"):
        change(own_shapes / f"{name}.json", lambda document: document.update(annotations=[]))
    with pytest.raises(UserError, match=r"data.sets\[0\]: none of its 6 pictures has a mask to train on"):
        index_masks(data(mask_set(own_shapes)))


def test_the_folder_of_other_pictures_is_refused(own_shapes: Path) -> None:
    with pytest.raises(UserError, match=r"shapes/1.png: "):
        index_masks(data(mask_set(own_shapes, images=str(own_shapes))))


def test_everything_held_out_leaves_nothing_to_train_on(own_shapes: Path) -> None:
    with pytest.raises(UserError, match=r"data.held_out: no picture is left to train on"):
        index_masks(data(mask_set(own_shapes), held_out=0.9999999))


def test_the_fingerprint_changes_with_a_mask(own_shapes: Path) -> None:
    before = index_masks(data(mask_set(own_shapes))).fingerprint()
    assert index_masks(data(mask_set(own_shapes))).fingerprint() == before
    change(
        own_shapes / "things.json",
        lambda document: document["annotations"][0].update(segmentation=rle(np.eye(SIDE))),
    )
    assert index_masks(data(mask_set(own_shapes))).fingerprint() != before


def test_pictures_of_other_names_are_left_out(own_shapes: Path) -> None:
    def no_box_in_the_second(document: dict[str, Any]) -> None:
        document["annotations"] = [each for each in document["annotations"] if each["id"] != 20]

    change(own_shapes / "things.json", no_box_in_the_second)
    things = mask_set(own_shapes, stuff=[])
    found = index_masks(data(things).model_copy(update={"names": ("box",)}))
    assert found.taught == {"box"}
    assert found.without_masks == 1
    with pytest.raises(UserError, match=r"data.names: 'ball' is none of the 2 categories"):
        index_masks(data(things).model_copy(update={"names": ("ball",)}))
