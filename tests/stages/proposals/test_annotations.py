"""Readers of COCO's annotation and result files."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import ImageRecord, SourceMask, UserError
from stages.proposals import build_proposer, json_stream
from stages.proposals.annotations import COCO_SCHEMA, PRECOMPUTED_SCHEMA, read_coco_masks, read_precomputed
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
    table = read_precomputed(write(tmp_path, results))
    assert table.schema == PRECOMPUTED_SCHEMA
    rows = table.to_pylist()
    assert [(row["image_id"], row["score"], row["label"]) for row in rows] == [("139", 0.25, None), ("a", 1.0, "cat")]
    assert [json.loads(row["segmentation"]) for row in rows] == [RLE, POLYGON]


def test_categories_name_results_that_stand_before_them(tmp_path: Path) -> None:
    results = [{"image_id": 1, "segmentation": RLE, "score": 0.5, "category_id": 18}]
    table = read_precomputed(write(tmp_path, {"info": {"a": [1]}, "annotations": results, "categories": CATEGORIES}))
    assert table["label"].to_pylist() == ["dog"]


@pytest.mark.parametrize("as_text", [True, False])
def test_parquet_gives_what_json_gives(tmp_path: Path, as_text: bool) -> None:
    results = [{"image_id": number, "segmentation": RLE, "score": 0.5, "label": "cat"} for number in range(3)]
    from_json = read_precomputed(write(tmp_path, results))
    rows = [{**row, "segmentation": json.dumps(RLE) if as_text else RLE} for row in results]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read_precomputed(str(tmp_path / "x.parquet")).equals(from_json)


def test_parquet_counts_may_be_bytes_and_labels_may_be_absent(tmp_path: Path) -> None:
    rle = {"size": [7, 11], "counts": b"0\\oP"}
    pq.write_table(pa.Table.from_pylist([{"image_id": 1, "segmentation": rle, "score": 0.5}]), tmp_path / "x.parquet")
    (row,) = read_precomputed(str(tmp_path / "x.parquet")).to_pylist()
    assert json.loads(row["segmentation"]) == RLE
    assert row["label"] is None


def test_reads_instances_with_their_names(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 5, "category_id": 18, "segmentation": POLYGON, "iscrowd": 0, "area": 2.0},
        {"id": 2, "image_id": 5, "category_id": 1, "segmentation": RLE, "iscrowd": 1},
    ]
    images = [{"id": 5, "file_name": "5.jpg"}]
    table = read_coco_masks(write(tmp_path, {"images": images, "annotations": annotations, "categories": CATEGORIES}))
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
    first, second = read_precomputed(str(tmp_path / "x.json"))["segmentation"].to_pylist()
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
        read_coco_masks(path)
    (tmp_path / "panoptic_val").mkdir()
    rows = read_coco_masks(path).to_pylist()
    png = f"{tmp_path}/panoptic_val/000005.png"
    assert [json.loads(row["segmentation"]) for row in rows] == [
        {"png": png, "segment_id": 70000},
        {"png": png, "segment_id": 3},
    ]
    assert [(row["label"], row["is_crowd"]) for row in rows] == [("dog", False), ("person", True)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (row, _) = read_coco_masks(path, str(elsewhere)).to_pylist()
    assert json.loads(row["segmentation"])["png"] == f"{elsewhere}/000005.png"


def test_reads_urls_and_gzip(tmp_path: Path) -> None:
    import fsspec

    results = json.dumps([{"image_id": 1, "segmentation": RLE, "score": 1}])
    with fsspec.open("memory://masks/x.json", "wt") as file:
        file.write(results)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(results.encode()))
    assert read_precomputed("memory://masks/x.json").equals(read_precomputed(str(tmp_path / "x.json.gz")))


GOOD: dict[str, Any] = {"image_id": 1, "segmentation": RLE, "score": 0.5}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([GOOD, {"image_id": 1, "score": 0.5}], r"\[1\]: expected a key 'segmentation'"),
        ([{**GOOD, "score": 1.5}], r"\[0\].score: expected a number in \[0, 1\], got 1.5"),
        ([{**GOOD, "score": float("nan")}], "got nan"),
        ([{**GOOD, "score": "high"}], "got 'high'"),
        ([{**GOOD, "image_id": 1.5}], "integer or a string, got 1.5"),
        ([{**GOOD, "category_id": "dog"}], r"category_id: expected an integer, got 'dog'"),
        ([GOOD, 3], r"\[1\]: expected an object, got int"),
        ({"annotations": [{**GOOD, "category_id": 7}], "categories": CATEGORIES}, "category_id 7 of mask 0"),
        ({"results": [GOOD]}, "has no masks"),
        ([], "has no masks"),
        (3, r"starts with \[ or \{"),
    ],
)
def test_wrong_results_are_refused_with_file_and_row(tmp_path: Path, document: object, told: str) -> None:
    path = write(tmp_path, document)
    with pytest.raises(UserError, match=told) as caught:
        read_precomputed(path)
    assert path in str(caught.value)


def test_wrong_coco_files_are_refused(tmp_path: Path) -> None:
    captions = {"annotations": [{"image_id": 1, "id": 3, "caption": "A cat."}]}
    with pytest.raises(UserError, match=r"annotations\[0\]: expected a key 'segmentation'"):
        read_coco_masks(write(tmp_path, captions))
    nameless = {"annotations": [{"image_id": 1, "segmentation": POLYGON, "category_id": 3}]}
    with pytest.raises(UserError, match="category_id 3 of mask 0 has no name"):
        read_coco_masks(write(tmp_path, nameless))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_precomputed(str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="does not exist"):
        read_precomputed(str(tmp_path / "none.parquet"))
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        read_precomputed(str(tmp_path / "x.parquet"))
    pq.write_table(pa.table({"image_id": [1]}), tmp_path / "y.parquet")
    with pytest.raises(UserError, match=r"columns \['segmentation', 'score'\]"):
        read_precomputed(str(tmp_path / "y.parquet"))
    with pytest.raises(UserError, match="a URL that fsspec knows"):
        read_precomputed("nosuchprotocol://x.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe[")
    with pytest.raises(UserError, match="UTF-8"):
        read_precomputed(str(tmp_path / "x.json"))


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
    table = read_coco_masks(str(path))
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
