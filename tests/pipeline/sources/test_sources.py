"""Sources: COCO and tables become the same rows; what is wrong with one is said by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.config import AnySource, CocoSource, to_record
from pipeline.sources.scan import canonical_order, read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import ImageRecord, UserError


def records(source: AnySource) -> list[ImageRecord]:
    return [to_record(row) for row in canonical_order(read_rows(source, SetAside())).to_pylist()]


def coco(folder: Path, data: object, **options: Any) -> list[ImageRecord]:  # noqa: ANN401 - fields of the source
    file = folder / "captions.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return records(CocoSource(images=str(folder), captions=str(file), **options))


def image(image_id: object, **more: object) -> dict[str, object]:
    return {"id": image_id, "file_name": f"{image_id}.jpg", **more}


def caption(image_id: object, text: object) -> dict[str, object]:
    return {"id": 1, "image_id": image_id, "caption": text}


class TestCoco:
    def test_images_in_order_of_their_numbers_with_captions_in_order_of_the_file(self, tmp_path: Path) -> None:
        data = {
            "images": [image(10, license=2), image(9), image(100, license=1)],
            "annotations": [caption(9, "b"), caption(10, "c"), caption(9, "a"), caption(10, None)],
            "licenses": [{"id": 1, "name": "free", "url": "http://free"}, {"id": 2, "name": "other"}],
        }
        found = coco(tmp_path, data)
        assert [(one.image_id, one.file, one.captions, one.license) for one in found] == [
            ("9", "9.jpg", ("b", "a"), None),
            ("10", "10.jpg", ("c", ""), "other"),
            ("100", "100.jpg", (), "http://free"),
        ]
        first = coco(tmp_path, data, use_captions="first")
        assert [one.captions for one in first] == [("b",), ("c",), ()]

    def test_lone_surrogates_become_question_marks(self, tmp_path: Path) -> None:
        (one,) = coco(tmp_path, {"images": [image(1)], "annotations": [caption(1, "a \ud83d dog")]})
        assert one.captions == ("a ? dog",)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("{nope", "cannot be read as JSON"),
            ("[1]", "expected COCO captions"),
            ({"images": []}, "expected COCO captions"),
            ({"images": [image(1)], "annotations": [caption(2, "a"), caption(3, "b")]}, r"2 image id.*e\.g\. 2"),
            ({"images": [image(1)], "annotations": [{"image_id": 1, "segmentation": []}]}, r"under source\.masks"),
            ({"images": [image(1)], "annotations": [caption(1, 5)]}, "'caption' must be a text"),
            ({"images": [image(1)], "annotations": None}, "every image needs"),
            ({"images": [{"id": 1}], "annotations": []}, "'file_name'"),
            ({"images": [{"id": 1, "file_name": None}], "annotations": []}, "text 'file_name'"),
            ({"images": [image(None)], "annotations": []}, "text 'id'"),
            ({"images": [image(1, height="9")], "annotations": []}, "whole numbers"),
            ({"images": [image(1), image(2), image(1)], "annotations": []}, "'1' occurs more than once"),
        ],
    )
    def test_wrong_file_is_refused_by_name(self, tmp_path: Path, data: object, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            coco(tmp_path, data)
        assert "more than once" in message or str(tmp_path / "captions.json") in str(caught.value)

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"source\.captions: there is no file .*none\.json"):
            records(CocoSource(images="x", captions=str(tmp_path / "none.json")))
