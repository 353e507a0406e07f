"""Ground truth in COCO's form: what cannot be used is left out and counted, an id stands for one photo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common import UserError
from stages.proposals.coco_truth import LeftOut, TruthFile, images_of, read_truth_file

SQUARE = [[1, 1, 7, 1, 7, 7, 1, 7]]


def truth(
    folder: Path, images: list[dict[str, Any]], masks_of: list[Any], name: str = "t.json"
) -> tuple[TruthFile, LeftOut]:
    masks = [{"id": at, "image_id": one, "category_id": 1, "segmentation": SQUARE} for at, one in enumerate(masks_of)]
    (folder / name).write_text(
        json.dumps({"images": images, "annotations": masks, "categories": [{"id": 1, "name": "dog"}]})
    )
    left_out = LeftOut()
    return read_truth_file(str(folder / name), left_out), left_out


def image(image_id: object, name: str = "a.jpg", **more: object) -> dict[str, Any]:
    return {"id": image_id, "file_name": name, **more}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (image(1, "b.jpg"), "'a.jpg' (8 x 8 pixels, height x width) already; this is 'b.jpg' (None x None"),
        (image("1", "a.jpg", height=9, width=8), "already; this is 'a.jpg' (9 x 8 pixels"),
    ],
)
def test_of_two_images_with_one_id_the_second_is_left_out_and_counted(
    tmp_path: Path, other: dict[str, Any], told: str
) -> None:
    file, left_out = truth(tmp_path, [image(1, height=8, width=8), other], [1])
    assert {one.file_name for one in file.images.values()} == {"a.jpg"}
    assert dict(left_out.reasons) == {"duplicate_id": 1}
    assert "images[1] (id 1): id 1 is that of " in left_out.first
    assert told in left_out.first


def test_an_image_that_is_listed_twice_as_it_is_costs_nothing(tmp_path: Path) -> None:
    _, left_out = truth(tmp_path, [image(1, height=8, width=8), image(1.0, height="8", width=8.0)], [1])
    assert not left_out.reasons


def test_masks_of_images_that_are_not_listed_are_left_out_and_counted(tmp_path: Path) -> None:
    file, left_out = truth(tmp_path, [image(1)], [1, 7, 7, "x"])
    assert len(file.masks) == 1
    assert dict(left_out.reasons) == {"unknown_image": 3}
    assert left_out.first.endswith("t.json: a mask of image 7, which is not listed")
    none, _ = truth(tmp_path, [image(1)], [7, 8])
    with pytest.raises(UserError, match=r"t\.json: none of its 2 masks is of an image that it lists; .* such as 1, as"):
        none.group({"1"})


def test_an_id_stands_for_one_photo_in_all_files(tmp_path: Path) -> None:
    first, _ = truth(tmp_path, [image(1), image(2, "folder/b.jpg")], [1], "0.json")
    second, _ = truth(tmp_path, [image(1), image(2, "http://h/other/b.jpg"), image(3, "c.jpg")], [1], "1.json")
    assert {number: one.file_name for number, one in images_of([first, second]).items()} == {
        "1": "a.jpg",
        "2": "folder/b.jpg",
        "3": "c.jpg",
    }
    third, _ = truth(tmp_path, [image(2, "d.jpg")], [2], "2.json")
    with pytest.raises(
        UserError, match=r"2\.json: image 2 is 'd\.jpg', and 'folder/b\.jpg' in .*0\.json; expected one id"
    ):
        images_of([first, second, third])
