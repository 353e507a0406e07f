"""COCO's captions and masks as people have them: what is bad is set aside alone, the rest is read."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.config import CocoSource, to_record
from pipeline.sources.scan import add_scan, canonical_order, read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import ImageRecord, UserError

Found = tuple[list[ImageRecord], SetAside]
SQUARE = [[1, 1, 7, 1, 7, 7, 1, 7]]


def read(folder: Path, data: object, masks: object = None, **options: Any) -> Found:  # noqa: ANN401 - fields of the source
    """Reads a captions JSON, given as a value or as text, and instances."""
    file = folder / "captions.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    if masks is not None:
        (folder / "instances.json").write_text(json.dumps(masks))
        options["masks"] = (str(folder / "instances.json"),)
    aside = SetAside()
    rows = read_rows(CocoSource(images=str(folder), captions=str(file), **options), aside)
    return [to_record(row) for row in canonical_order(rows).to_pylist()], aside


def captioned(*annotations: object, images: object = None, **more: object) -> dict[str, object]:
    """Two good photos with a caption each, and more."""
    good = [caption(1, "one"), caption(2, "two")]
    return {"images": images or [image(1), image(2)], "annotations": [*good, *annotations], **more}


def image(image_id: object, **more: object) -> dict[str, object]:
    return {"id": image_id, "file_name": f"{image_id}.jpg", **more}


def caption(image_id: object, text: object, number: int = 1) -> dict[str, object]:
    return {"id": number, "image_id": image_id, "caption": text}


def captions_of(found: list[ImageRecord]) -> dict[str, tuple[str, ...]]:
    return {one.image_id: one.captions for one in found}


def told(aside: SetAside) -> list[tuple[str, str, str, str]]:
    """Item, image, reason and message of what is set aside."""
    return [(row["item"], row["image_id"], row["reason"], row["message"]) for row in aside.table().to_pylist()]


def test_images_in_order_of_their_numbers_with_captions_in_order_of_the_file(tmp_path: Path) -> None:
    data = {
        "annotations": [caption(9, "b"), caption(10, "c"), caption(9, "a"), caption(10, None)],
        "images": [image(10, license=2), image(9), image(100, license=1)],
        "licenses": [{"id": 1, "name": "free", "url": "http://free"}, {"id": 2, "name": "other"}],
    }
    found, aside = read(tmp_path, data)
    assert [(one.image_id, one.file, one.captions, one.license) for one in found] == [
        ("9", "9.jpg", ("b", "a"), None),
        ("10", "10.jpg", ("c", ""), "other"),
        ("100", "100.jpg", (), "http://free"),
    ]
    assert not aside.counts()
    first, _ = read(tmp_path, data, use_captions="first")
    assert [one.captions for one in first] == [("b",), ("c",), ()]


@pytest.mark.parametrize(
    ("entry", "item", "reason", "message"),
    [
        (caption(1, 3, 7), "caption", "bad_caption", "annotations[2] (id 7): expected a text as 'caption', got 3"),
        (caption(1, True), "caption", "bad_caption", "got True"),
        (caption(1, {"en": "a"}), "caption", "bad_caption", "got {'en': 'a'}"),
        (caption(1, [3]), "caption", "bad_caption", "expected a text as 'caption', got 3"),
        (caption(1, "a \ud83d dog"), "caption", "bad_caption", r"half a character, .*: 'a \ud83d dog'"),
        ({"id": 7, "image_id": 1}, "annotation", "bad_annotation", "expected a key 'caption'; it has 'id', 'image_id'"),
        ({"id": 7, "caption": "a"}, "annotation", "bad_annotation", "as 'image_id'; it has 'id', 'caption'"),
        (caption(None, "a"), "annotation", "bad_annotation", "as 'image_id'; got None"),
        (caption(1.5, "a"), "annotation", "bad_annotation", "got 1.5"),
        (caption([1], "a"), "annotation", "bad_annotation", "got [1]"),
        (caption(9, "a"), "annotation", "unknown_image", "annotations[2]: image_id 9 is none of the file's images"),
        ("a", "annotation", "bad_annotation", "annotations[2]: expected an object, got 'a'"),
        (None, "annotation", "bad_annotation", "expected an object, got None"),
    ],
)
def test_a_bad_annotation_is_set_aside_alone(
    tmp_path: Path, entry: object, item: str, reason: str, message: str
) -> None:
    found, aside = read(tmp_path, captioned(entry))
    assert captions_of(found) == {"1": ("one",), "2": ("two",)}
    ((one, _, why, said),) = told(aside)
    assert (one, why) == (item, reason)
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), said)
    assert aside.reasons() == {(item, reason): 1}


@pytest.mark.parametrize(
    ("entry", "reason", "message"),
    [
        ({"id": 3}, "bad_image", "images[2] (id 3): expected a text 'file_name', got None"),
        ({"id": 3, "file_name": None}, "bad_image", "got None"),
        ({"id": 3, "file_name": 3}, "bad_image", "got 3"),
        ({"id": 3, "file_name": " "}, "bad_image", "got ' '"),
        ({"id": 3, "file_name": "a\ud83d.jpg"}, "bad_image", r"that a file can have, got 'a\ud83d.jpg'"),
        ({"id": 3, "file_name": "a\0.jpg"}, "bad_name", r"the photo's name holds a NUL character: a\0.jpg"),
        ({"file_name": "a.jpg"}, "bad_image", "as 'id'; it has 'file_name'"),
        ({"id": None, "file_name": "a.jpg"}, "bad_image", "as 'id'; got None"),
        ({"id": False, "file_name": "a.jpg"}, "bad_image", "got False"),
        ({"id": 1.5, "file_name": "a.jpg"}, "bad_image", "got 1.5"),
        ({"id": "", "file_name": "a.jpg"}, "bad_image", "got ''"),
        ({"id": 1, "file_name": "other.jpg"}, "duplicate_id", "id 1 is that of '1.jpg' already; this is 'other.jpg'"),
        ({"id": "1", "file_name": "other.jpg"}, "duplicate_id", "id 1 is that of '1.jpg' already"),
        ([], "bad_image", "images[2]: expected an object, got []"),
    ],
)
def test_a_bad_image_is_set_aside_alone(tmp_path: Path, entry: object, reason: str, message: str) -> None:
    found, aside = read(tmp_path, captioned(images=[image(1), image(2), entry]))
    assert captions_of(found) == {"1": ("one",), "2": ("two",)}
    ((item, _, why, said),) = told(aside)
    assert (item, why) == ("image", reason)
    assert message in said


def test_captions_of_an_image_that_is_set_aside_go_with_it(tmp_path: Path) -> None:
    data = captioned(caption(3, "a"), images=[image(1), image(2), {"id": 3, "file_name": "p\ud83d.jpg"}])
    found, aside = read(tmp_path, data)
    assert len(found) == 2
    assert [(item, image_id) for item, image_id, _, _ in told(aside)] == [("image", "3")]


def test_ids_are_compared_by_what_they_mean(tmp_path: Path) -> None:
    data = {
        "images": [image(1.0), {"id": "2", "file_name": "b.jpg"}, {"id": 3, "file_name": "c.jpg"}],
        "annotations": [caption("1", "a"), caption(2, "b"), caption(3.0, "c"), caption(" 3 ", "d")],
    }
    masks = {
        "annotations": [{"image_id": image_id, "category_id": 1, "segmentation": SQUARE} for image_id in (1.0, "2", 3)],
        "categories": [{"id": "1", "name": "dog"}],
    }
    found, aside = read(tmp_path, data, masks)
    assert captions_of(found) == {"1": ("a",), "2": ("b",), "3": ("c", "d")}
    assert [[mask.label for mask in one.masks] for one in found] == [["dog"]] * 3
    assert not aside.counts()


def test_an_image_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    found, aside = read(tmp_path, captioned(images=[image(1), image(2), image(1)]))
    assert captions_of(found) == {"1": ("one",), "2": ("two",)}
    assert not aside.counts()


@pytest.mark.parametrize(
    ("size", "found"),
    [(9, 9), (9.0, 9), ("9", 9), (None, None), (9.5, None), (-9, None), ("nine", None), (1e300, None)],
)
def test_sizes_are_read_where_they_are_ones(tmp_path: Path, size: object, found: int | None) -> None:
    (one, _), aside = read(tmp_path, captioned(images=[image(1, height=size, width=20), image(2)]))
    assert one.mask_size_hw_px == (None if found is None else (found, 20))
    is_odd = size is not None and found is None
    assert [note.endswith("no number of pixels; taken for not told") for note in aside.notes] == [True] * is_odd
    assert not aside.counts()


def test_captions_may_be_lists_and_names_urls_as_in_lvis(tmp_path: Path) -> None:
    url = {"id": 1, "coco_url": "http://images.cocodataset.org/val2017/000000000139.jpg"}
    found, _ = read(tmp_path, captioned(caption(1, ["a", "b"]), images=[url, image(2)]))
    assert (found[0].file, found[0].captions) == ("val2017/000000000139.jpg", ("one", "a", "b"))


def test_a_licence_is_found_by_its_id_and_half_characters_in_it_are_escaped(tmp_path: Path) -> None:
    licenses = [{"id": 1.0, "name": "CC \ud83d"}, {"id": 2}, "none", {"id": 3, "url": 5}]
    images = [image(1, license="1"), image(2, license=2)]
    found, _ = read(tmp_path, captioned(images=images, licenses=licenses))
    assert [one.license for one in found] == ["CC \\ud83d", None]


@pytest.mark.parametrize("form", ["mark", "utf16", "gzip"])
def test_captions_may_have_a_mark_be_packed_or_in_utf_16(tmp_path: Path, form: str) -> None:
    text = json.dumps(captioned(caption(1, "café")), ensure_ascii=False)
    encoded = {"mark": text.encode("utf-8-sig"), "utf16": text.encode("utf-16"), "gzip": gzip.compress(text.encode())}
    (tmp_path / "c.json").write_bytes(encoded[form])
    rows = read_rows(CocoSource(images="x", captions=str(tmp_path / "c.json")), SetAside())
    assert rows["captions"].to_pylist()[0] == ["one", "café"]


def test_bytes_that_are_no_utf_8_spoil_their_own_caption_alone(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(json.dumps(captioned(caption(1, "café")), ensure_ascii=False).encode("cp1252"))
    aside = SetAside()
    rows = read_rows(CocoSource(images="x", captions=str(tmp_path / "c.json")), aside)
    assert rows["captions"].to_pylist() == [["one"], ["two"]]
    assert "bytes that are no UTF-8" in told(aside)[0][3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{nope", "not valid JSON at line 1"),
        ('{"images": [],\n "annotations": [{"id": 1},]}', "line 2 .*remove the comma"),
        ('{"images": [],\n "annotations": [{"id": 1}', "line 2 .*is it cut off"),
        ("[1]", "expected COCO captions"),
        ({"images": []}, "no list 'annotations'"),
        ({"images": {}, "annotations": []}, "no list 'images'"),
        ({"images": [image(1)], "annotations": None}, "no list 'annotations'"),
        (
            {"images": [image(1)], "annotations": [caption(2, "a"), caption(3, "b")]},
            r"none of its 2 captions .*e\.g\. 2",
        ),
        ({"images": [image(1)], "annotations": [{"image_id": 1, "segmentation": []}]}, r"under source\.masks"),
        ({"images": [{"id": 1}], "annotations": []}, r"no image can be used; the first: images\[0\].*'file_name'"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, data: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, data)
    assert f"source.captions: {tmp_path / 'captions.json'}: " in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.captions: .*none\.json: does not exist"):
        read_rows(CocoSource(images="x", captions=str(tmp_path / "none.json")), SetAside())


def instances(*annotations: object) -> dict[str, object]:
    return {"annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}


def mask(image_id: object, number: int, **changes: object) -> dict[str, object]:
    return {"id": number, "image_id": image_id, "category_id": 1, "segmentation": SQUARE, **changes}


def test_a_box_alone_is_no_mask_and_set_aside_by_its_id(tmp_path: Path) -> None:
    box = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    found, aside = read(tmp_path, captioned(), instances(mask(1, 5), box, mask(2, 8, segmentation=None)))
    assert [len(one.masks) for one in found] == [1, 0]
    assert [(item, image_id, reason) for item, image_id, reason, _ in told(aside)] == [
        ("annotation", "1", "no_mask"),
        ("annotation", "2", "no_mask"),
    ]
    assert "annotations[1] (id 7): has no mask" in told(aside)[0][3]


def test_a_malformed_mask_stays_for_the_step_that_draws_it(tmp_path: Path) -> None:
    odd = ([], "no JSON", [[float("nan")]], {"counts": 1})
    entries = [mask(1, number, segmentation=segmentation) for number, segmentation in enumerate(odd)]
    found, aside = read(tmp_path, captioned(), instances(*entries))
    assert [one.segmentation for one in found[0].masks] == ["[]", "no JSON", "[[NaN]]", '{"counts": 1}']
    assert not aside.counts()


def test_masks_of_other_images_are_counted_and_refused_if_there_are_no_others(tmp_path: Path) -> None:
    found, aside = read(tmp_path, captioned(), instances(mask(1, 1), mask(9, 2)))
    assert [len(one.masks) for one in found] == [1, 0]
    assert aside.notes == ["source.masks: 1 of 2 masks are of images that the source does not list"]
    with pytest.raises(UserError, match=r"source\.masks: none of the 1 masks .* look like 'x9', the source's like '1'"):
        read(tmp_path, captioned(), instances(mask("x9", 2)))


@pytest.mark.parametrize(
    ("there", "listed", "message"),
    [
        ("1.jpg", "train2017/1.jpg", "1.jpg is there without train2017/; check source.images"),
        ("train2017/1.jpg", "1.jpg", "1.jpg is in {folder}/train2017; check source.images"),
        ("other.jpg", "1.jpg", "such as 1.jpg; check source.images"),
    ],
)
def test_a_wrong_folder_is_told_with_the_right_one(tmp_path: Path, there: str, listed: str, message: str) -> None:
    file = tmp_path / "images" / there
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    (tmp_path / "c.json").write_text(json.dumps({"images": [{"id": 1, "file_name": listed}], "annotations": []}))
    source = CocoSource(images=str(tmp_path / "images"), captions=str(tmp_path / "c.json"))
    with pytest.raises(UserError) as caught:
        add_scan(read_rows(source, SetAside()), source, SetAside())
    assert message.format(folder=tmp_path / "images") in str(caught.value)


def test_a_bad_caption_of_a_list_costs_itself_alone(tmp_path: Path) -> None:
    found, aside = read(tmp_path, captioned(caption(1, ["three", 4, None, "five"])))
    assert captions_of(found)["1"] == ("one", "three", "", "five")
    assert [row[:3] for row in told(aside)] == [("caption", "1", "bad_caption")]
    assert told(aside)[0][3].endswith("got 4")


def test_a_number_of_thousands_of_digits_costs_its_entry_alone(tmp_path: Path) -> None:
    text = json.dumps(captioned(caption("HUGE", "three"))).replace('"HUGE"', "9" * 5000)
    found, aside = read(tmp_path, text)
    assert captions_of(found) == {"1": ("one",), "2": ("two",)}
    assert [row[2] for row in told(aside)] == ["bad_annotation"]


@pytest.mark.parametrize("annotations", [None, {"1": {"image_id": 1}}, 5])
def test_masks_without_a_list_of_annotations_are_refused(tmp_path: Path, annotations: object) -> None:
    masks = {"categories": [{"id": 1, "name": "dog"}], "annotations": annotations}
    with pytest.raises(UserError, match="has no masks; expected COCO annotations: an object with a list 'annotations'"):
        read(tmp_path, captioned(), masks)
