"""Readers of COCO's annotation and result files."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import ImageRecord, SourceMask, UserError
from stages.proposals import build_proposer, json_stream
from stages.proposals.annotations import COCO_SCHEMA, PRECOMPUTED_SCHEMA, read_coco_masks, read_precomputed
from stages.proposals.coco_truth import LeftOut
from stages.proposals.json_stream import iterate_elements
from stages.proposals.models import GroundTruthProposals

RLE = {"size": [7, 11], "counts": "0\\oP"}
POLYGON = [[1.5, 1, 2.25, 1, 3, 3.0]]
CATEGORIES = [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}]


def write(folder: Path, document: object, name: str = "x.json") -> str:
    path = folder / name
    path.write_text(json.dumps(document))
    return str(path)


def test_reads_results_in_the_files_order(tmp_path: Path) -> None:
    results = [
        {"image_id": 139, "segmentation": RLE, "score": 0.25, "category_id": 18},
        {"image_id": "a", "segmentation": POLYGON, "score": 1, "label": "cat"},
    ]
    table = read_precomputed(write(tmp_path, results), LeftOut())
    assert table.schema == PRECOMPUTED_SCHEMA
    rows = table.to_pylist()
    assert [(row["image_id"], row["score"], row["label"]) for row in rows] == [("139", 0.25, None), ("a", 1.0, "cat")]
    assert [json.loads(row["segmentation"]) for row in rows] == [RLE, POLYGON]


def test_categories_name_results_that_stand_before_them(tmp_path: Path) -> None:
    results = [{"image_id": 1, "segmentation": RLE, "score": 0.5, "category_id": 18}]
    table = read_precomputed(
        write(tmp_path, {"info": {"a": [1]}, "annotations": results, "categories": CATEGORIES}), LeftOut()
    )
    assert table["label"].to_pylist() == ["dog"]


@pytest.mark.parametrize("as_text", [True, False])
def test_parquet_gives_what_json_gives(tmp_path: Path, as_text: bool) -> None:
    results = [{"image_id": number, "segmentation": RLE, "score": 0.5, "label": "cat"} for number in range(3)]
    from_json = read_precomputed(write(tmp_path, results), LeftOut())
    rows = [{**row, "segmentation": json.dumps(RLE) if as_text else RLE} for row in results]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read_precomputed(str(tmp_path / "x.parquet"), LeftOut()).equals(from_json)


def test_parquet_counts_may_be_bytes_and_labels_may_be_absent(tmp_path: Path) -> None:
    rle = {"size": [7, 11], "counts": b"0\\oP"}
    pq.write_table(pa.Table.from_pylist([{"image_id": 1, "segmentation": rle, "score": 0.5}]), tmp_path / "x.parquet")
    (row,) = read_precomputed(str(tmp_path / "x.parquet"), LeftOut()).to_pylist()
    assert json.loads(row["segmentation"]) == RLE
    assert row["label"] is None


def test_reads_instances_with_their_names(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 5, "category_id": 18, "segmentation": POLYGON, "iscrowd": 0, "area": 2.0},
        {"id": 2, "image_id": 5, "category_id": 1, "segmentation": RLE, "iscrowd": 1},
    ]
    images = [{"id": 5, "file_name": "5.jpg"}]
    table = read_coco_masks(
        write(tmp_path, {"images": images, "annotations": annotations, "categories": CATEGORIES}), LeftOut()
    )
    assert table.schema == COCO_SCHEMA
    assert [(row["image_id"], row["label"], row["is_crowd"], row["score"]) for row in table.to_pylist()] == [
        ("5", "dog", False, 1.0),
        ("5", "person", True, 1.0),
    ]


def test_segmentation_is_the_files_own_text(tmp_path: Path) -> None:
    text = "[[1.50, 1e0,\n 2.25, 1, 3, 3.0]]"
    trap = '{"segmentation": 3}'
    (tmp_path / "x.json").write_text(
        f'[{{"image_id": 1, "note": {trap}, "segmentation" :  {text}, "score": 1}},'
        f' {{"image_id": 1, "s\\u0065gmentation": {text}, "score": 1}}]'
    )
    first, second = read_precomputed(str(tmp_path / "x.json"), LeftOut())["segmentation"].to_pylist()
    assert first == text
    assert json.loads(second) == POLYGON


def test_panoptic_segments_refer_to_their_png(tmp_path: Path) -> None:
    annotation = {
        "image_id": 5,
        "file_name": "000005.png",
        "segments_info": [
            {"id": 70000, "category_id": 18, "iscrowd": 0},
            {"id": 3, "category_id": 1, "iscrowd": 1},
        ],
    }
    path = write(tmp_path, {"annotations": [annotation], "categories": CATEGORIES}, "panoptic_val.json")
    with pytest.raises(UserError, match=r"panoptic_val; unpack"):
        read_coco_masks(path, LeftOut())
    (tmp_path / "panoptic_val").mkdir()
    rows = read_coco_masks(path, LeftOut()).to_pylist()
    png = f"{tmp_path}/panoptic_val/000005.png"
    assert [json.loads(row["segmentation"]) for row in rows] == [
        {"png": png, "segment_id": 70000},
        {"png": png, "segment_id": 3},
    ]
    assert [(row["label"], row["is_crowd"]) for row in rows] == [("dog", False), ("person", True)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (row, _) = read_coco_masks(path, LeftOut(), str(elsewhere)).to_pylist()
    assert json.loads(row["segmentation"])["png"] == f"{elsewhere}/000005.png"


def test_reads_urls_and_gzip(tmp_path: Path) -> None:
    import fsspec

    results = json.dumps([{"image_id": 1, "segmentation": RLE, "score": 1}])
    with fsspec.open("memory://masks/x.json", "wt") as file:
        file.write(results)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(results.encode()))
    assert read_precomputed("memory://masks/x.json", LeftOut()).equals(
        read_precomputed(str(tmp_path / "x.json.gz"), LeftOut())
    )


GOOD: dict[str, Any] = {"image_id": 1, "segmentation": RLE, "score": 0.5}


@pytest.mark.parametrize(
    ("entry", "reason", "told"),
    [
        ({"image_id": 1, "score": 0.5}, "no_mask", r"[1]: has no mask: .*it has 'image_id', 'score'"),
        ({**GOOD, "segmentation": None}, "no_mask", r"[1]: has no mask: .*it is null"),
        ({**GOOD, "score": 1.5}, "bad_score", r"[1]: expected a number in [0, 1] as 'score', got 1.5"),
        ({**GOOD, "score": float("nan")}, "bad_score", "got nan"),
        ({**GOOD, "score": "high", "id": 7}, "bad_score", "[1] (id 7): .* got 'high'"),
        ({**GOOD, "image_id": 1.5}, "bad_annotation", "as 'image_id'; got 1.5"),
        ({**GOOD, "image_id": True}, "bad_annotation", "as 'image_id'; got True"),
        ({"segmentation": RLE, "score": 1}, "bad_annotation", "as 'image_id'; it has 'segmentation', 'score'"),
        ({**GOOD, "image_id": "a\ud83d"}, "bad_annotation", "got 'a\\ud83d'"),
        (3, "bad_annotation", "[1]: expected an object, got 3"),
    ],
)
def test_a_result_that_cannot_be_used_is_left_out_alone(tmp_path: Path, entry: Any, reason: str, told: str) -> None:  # noqa: ANN401
    left_out = LeftOut()
    path = write(tmp_path, [GOOD, entry, GOOD])
    assert len(read_precomputed(path, left_out)) == 2
    assert left_out.reasons == {reason: 1}
    assert re.search(re.escape(told).replace(r"\.\*", ".*"), left_out.first)
    assert left_out.first.startswith(path)
    with pytest.raises(
        UserError, match=re.escape(path) + ": none of its entries has a mask that can be used; the first"
    ):
        read_precomputed(write(tmp_path, [entry]), LeftOut())


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"results": [GOOD]}, "has no masks"),
        ({"annotations": []}, "has no masks"),
        ([], "has no masks"),
        (3, r"starts with \[ or \{"),
    ],
)
def test_files_of_another_kind_are_refused_by_name(tmp_path: Path, document: object, told: str) -> None:
    path = write(tmp_path, document)
    with pytest.raises(UserError, match=told) as caught:
        read_precomputed(path, LeftOut())
    assert path in str(caught.value)


def test_ids_and_scores_are_read_however_they_are_written(tmp_path: Path) -> None:
    entries = [
        {**GOOD, "image_id": 2.0, "score": "0.25", "category_id": 18.0},
        {**GOOD, "image_id": " 2 ", "score": 1, "category_id": "18"},
    ]
    table = read_precomputed(write(tmp_path, {"annotations": entries, "categories": CATEGORIES}), LeftOut())
    assert [(row["image_id"], row["score"], row["label"]) for row in table.to_pylist()] == [
        ("2", 0.25, "dog"),
        ("2", 1.0, "dog"),
    ]


def annotation(number: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    return {"id": number, "image_id": 1, "category_id": 1, "segmentation": POLYGON, **changes}


def coco_masks(folder: Path, *entries: Any, categories: Any = CATEGORIES) -> tuple[list[Any], LeftOut]:  # noqa: ANN401
    left_out = LeftOut()
    table = read_coco_masks(write(folder, {"annotations": entries, "categories": categories}), left_out)
    return table.to_pylist(), left_out


@pytest.mark.parametrize(
    ("value", "crowd"), [(0, False), (1, True), ("0", False), ("1", True), (1.0, True), (True, True), (None, False)]
)
def test_a_crowd_is_told_by_number_text_or_truth(tmp_path: Path, value: object, crowd: bool) -> None:
    (row,), _ = coco_masks(tmp_path, annotation(iscrowd=value))
    assert row["is_crowd"] is crowd


def test_a_crowd_that_may_be_one_or_not_is_left_out(tmp_path: Path) -> None:
    rows, left_out = coco_masks(tmp_path, annotation(), annotation(2, iscrowd="maybe"))
    assert len(rows) == 1
    assert "annotations[1] (id 2): expected 0 or 1 as 'iscrowd', got 'maybe'" in left_out.first


@pytest.mark.parametrize(("area", "found"), [(7, 7.0), ("7", 7.0), ("large", None), (-1, None), ([], None)])
def test_an_area_is_read_where_it_is_one(tmp_path: Path, area: object, found: float | None) -> None:
    (row,), left_out = coco_masks(tmp_path, annotation(area=area, bbox="nonsense"))
    assert row["area_px"] == found
    assert not left_out.reasons


def test_categories_without_a_name_cost_the_label_alone(tmp_path: Path) -> None:
    categories = [*CATEGORIES, {"id": 3, "name": None}, {"id": 4, "name": " "}, {"name": "cat"}, 5]
    entries = (
        annotation(),
        annotation(2, category_id=99),
        annotation(3, category_id=3),
        annotation(4, category_id=None),
    )
    rows, left_out = coco_masks(tmp_path, *entries, categories=categories)
    assert [row["label"] for row in rows] == ["person", None, None, None]
    (note,) = left_out.notes
    assert "categories without a name, and 2 masks of theirs without a label: 3, 4, an entry without 'id'" in note
    assert not left_out.reasons


def test_a_category_with_two_names_is_told_with_both(tmp_path: Path) -> None:
    (row,), left_out = coco_masks(tmp_path, annotation(), categories=[*CATEGORIES, {"id": 1, "name": "man"}])
    assert row["label"] == "man"
    (note,) = left_out.notes
    assert note.endswith("category ids with two names, of which the last is taken: 1: 'person' and 'man'")


def test_two_spellings_of_a_name_that_look_alike_are_one(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "\ufeffcaf\u00e9"}, {"id": 1.0, "name": "cafe\u0301 "}, {"id": 2, "name": 7}]
    rows, left_out = coco_masks(tmp_path, annotation(), annotation(2, category_id=2), categories=categories)
    assert [row["label"] for row in rows] == ["caf\u00e9", "7"]
    assert not left_out.notes


def test_one_bad_segment_leaves_the_others_of_its_picture(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    segments = [
        {"id": 5, "category_id": 1},
        {"id": None, "category_id": 1},
        "no object",
        {"id": "6", "category_id": 18},
    ]
    entries = (
        {"image_id": 1, "file_name": "1.png", "segments_info": segments},
        {"image_id": 2, "segments_info": segments[:1]},
        {"image_id": 3, "file_name": "3.png", "segments_info": None},
    )
    rows, left_out = coco_masks(tmp_path, *entries)
    assert [(row["image_id"], row["label"]) for row in rows] == [("1", "person"), ("1", "dog")]
    assert left_out.reasons == {"bad_annotation": 4}
    assert "annotations[0].segments_info[1]: expected a whole number 'id', got None" in left_out.first


def test_files_without_any_mask_are_refused(tmp_path: Path) -> None:
    captions = {"annotations": [{"image_id": 1, "id": 3, "caption": "A cat."}]}
    with pytest.raises(UserError, match=r"none .* the first: annotations\[0\] \(id 3\): has no mask"):
        read_coco_masks(write(tmp_path, captions), LeftOut())
    with pytest.raises(UserError, match="has no masks"):
        read_coco_masks(write(tmp_path, {"info": {}}), LeftOut())


def packed(text: str) -> dict[str, bytes]:
    data = text.encode()
    return {
        "mark": text.encode("utf-8-sig"),
        "utf16": text.encode("utf-16"),
        "gzip": gzip.compress(data),
        "bzip2": bz2.compress(data),
        "xz": lzma.compress(data),
    }


@pytest.mark.parametrize("form", ["mark", "utf16", "gzip", "bzip2", "xz"])
def test_marks_encodings_and_packing_are_told_by_the_first_bytes(tmp_path: Path, form: str) -> None:
    (tmp_path / "x.json").write_bytes(packed(json.dumps([{**GOOD, "label": "café"}], ensure_ascii=False))[form])
    (row,) = read_precomputed(str(tmp_path / "x.json"), LeftOut()).to_pylist()
    assert row["label"] == "café"


def test_bytes_that_are_no_text_spoil_their_own_entry_alone(tmp_path: Path) -> None:
    text = json.dumps([{**GOOD, "label": "caf\u00e9"}, {**GOOD, "image_id": "\u00e9"}, GOOD], ensure_ascii=False)
    (tmp_path / "x.json").write_bytes(text.encode("cp1252"))
    left_out = LeftOut()
    rows = read_precomputed(str(tmp_path / "x.json"), left_out).to_pylist()
    assert [row["label"] for row in rows] == ["caf\\udce9", None]
    assert left_out.reasons == {"bad_annotation": 1}


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_precomputed(str(tmp_path / "none.json"), LeftOut())
    with pytest.raises(UserError, match="does not exist"):
        read_precomputed(str(tmp_path / "none.parquet"), LeftOut())
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        read_precomputed(str(tmp_path / "x.parquet"), LeftOut())
    pq.write_table(pa.table({"image_id": [1]}), tmp_path / "y.parquet")
    with pytest.raises(UserError, match=r"columns \['segmentation', 'score'\]"):
        read_precomputed(str(tmp_path / "y.parquet"), LeftOut())
    with pytest.raises(UserError, match="a URL that fsspec knows"):
        read_precomputed("nosuchprotocol://x.json", LeftOut())
    (tmp_path / "x.json").write_bytes(b"\xff\xfe[")
    with pytest.raises(UserError, match=r"x\.json: (cannot be read|expected)"):
        read_precomputed(str(tmp_path / "x.json"), LeftOut())


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_documents_are_read_alike_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", chunk)
    document = {
        "info": {"a": [1, {"b": "}]"}]},
        "year": 2017,
        "empty": [],
        "numbers": [12345, -1.5e3, 0],
        "rows": [{"text": 'quote " and \\ and \u00e9', "deep": [[1, [2]], {"x": None}]}, "string", True, [1]],
        "last": 12,
    }
    for text in (json.dumps(document), json.dumps(document, indent=2, ensure_ascii=False)):
        elements = list(iterate_elements(io.StringIO(text), "x"))
        for key in ("numbers", "rows"):
            of_key = [element for element in elements if element.key == key]
            assert [element.value for element in of_key] == document[key]
            assert [element.index for element in of_key] == list(range(len(of_key)))
            assert [json.loads(element.text) for element in of_key] == document[key]
        assert {element.key for element in elements} == {"numbers", "rows"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[1,\n2,\n]",
            r"line 3 \(character 7 of the file\): expected something between the comma and \]; remove the comma",
        ),
        ('{"a": [],\n}', r"line 2 .*between the comma and \}; remove the comma"),
        ('[1,\n{"a": 1,}]', "line 2 .*expected a value"),
        ('[1,\n{"a": 1', "line 2 .*and the file ends: is it cut off"),
        ("[1]\n[2]", "line 2 .*expected nothing more after the end"),
        ("[" * 200_000, "line 1 .*not nested so deep"),
    ],
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=f"x.json: not valid JSON at {told}"):
        read_coco_masks(str(tmp_path / "x.json"), LeftOut())


@pytest.mark.parametrize("chunk", [3, 1000])
@pytest.mark.parametrize(
    "text",
    ["", "[", "[1", "[1 2]", "[1,]", '{"a": [1}', '{"a" 1}', '{"a": 1', '["x', "[1] 2", "[nul]", '{"a": [{"b": }]}'],
)
def test_broken_json_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch, text: str, chunk: int) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_CHARS", chunk)
    with pytest.raises(UserError, match="JSON"):
        list(iterate_elements(io.StringIO(text), "x"))


def test_coco_mini_reads_and_draws(shared_data: Path) -> None:
    from pycocotools.coco import COCO

    (path,) = shared_data.glob("coco-mini/**/instances*.json")
    table = read_coco_masks(str(path), LeftOut())
    coco = COCO(str(path))
    assert table.num_rows == len(coco.anns)
    by_image: dict[str, list[SourceMask]] = {}
    for row in table.to_pylist():
        mask = SourceMask(row["segmentation"], row["label"], row["score"], row["is_crowd"])
        by_image.setdefault(row["image_id"], []).append(mask)
    proposer = build_proposer(GroundTruthProposals(include_crowd=True))
    for image_id, masks in sorted(by_image.items()):
        entry = coco.imgs[int(image_id)]
        image = np.zeros((entry["height"], entry["width"], 3), np.uint8)
        proposals = proposer.propose(ImageRecord(image_id, "x", (), masks=tuple(masks)), image)
        expected = [coco.annToMask(annotation).sum() for annotation in coco.imgToAnns[int(image_id)]]
        assert [proposal.rle.area_px for proposal in proposals] == expected


def test_a_segmentation_with_a_number_of_thousands_of_digits_costs_itself_alone(tmp_path: Path) -> None:
    good, bad = annotation(), {**annotation(2), "segmentation": ["HUGE"]}
    text = json.dumps({"annotations": [bad, good], "categories": CATEGORIES}).replace('"HUGE"', "1" * 5000)
    path = tmp_path / "huge.json"
    path.write_text(text)
    left_out = LeftOut()
    assert len(read_coco_masks(str(path), left_out)) == 1
    assert dict(left_out.reasons) == {"bad_segmentation": 1}
