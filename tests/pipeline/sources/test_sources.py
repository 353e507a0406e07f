"""Sources: COCO and tables become the same rows; what is wrong with one is said by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.sources.config import (
    AnySource,
    Columns,
    TableSource,
    to_record,
)
from pipeline.sources.scan import canonical_order, read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import ImageRecord, UserError


def records(source: AnySource) -> list[ImageRecord]:
    return [to_record(row) for row in canonical_order(read_rows(source, SetAside())).to_pylist()]


def table(folder: Path, name: str, content: str, **options: Any) -> list[ImageRecord]:  # noqa: ANN401
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return records(TableSource(path=str(folder / name), **options))


def captions_of(found: list[ImageRecord]) -> dict[str, tuple[str, ...]]:
    return {one.file: one.captions for one in found}


class TestTable:
    def test_rows_of_an_image_are_its_captions(self, tmp_path: Path) -> None:
        rows = [("b.jpg", "one"), ("a.jpg", "two"), ("b.jpg", "three"), ("b.jpg", "four")]
        wanted = {"a.jpg": ("two",), "b.jpg": ("one", "three", "four")}
        csv = "image,caption\n" + "".join(f"{name},{text}\n" for name, text in rows)
        lines = "".join(json.dumps({"image": name, "caption": text, "more": 1}) + "\n" for name, text in rows)
        columns = {"image": [name for name, _ in rows], "caption": [text for _, text in rows]}
        pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
        assert captions_of(table(tmp_path, "t.csv", csv)) == wanted
        assert captions_of(table(tmp_path, "t.jsonl", lines)) == wanted
        assert captions_of(table(tmp_path, "t.ndjson", lines)) == wanted
        assert captions_of(records(TableSource(path=str(tmp_path / "t.parquet")))) == wanted

    @pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
    def test_parquet_may_have_any_type_of_text_and_lists(self, tmp_path: Path, text: pa.DataType) -> None:
        names = pa.array(["a.jpg", "b.jpg"], text)
        for captions in (pa.array(["x", "y"], text), pa.array([["x", "z"], ["y"]], pa.list_(text))):
            pyarrow.parquet.write_table(pa.table({"image": names, "caption": captions}), tmp_path / "t.parquet")
            found = captions_of(records(TableSource(path=str(tmp_path / "t.parquet"))))
            assert found["b.jpg"] == ("y",)
            assert found["a.jpg"][0] == "x"

    def test_list_captions_of_repeated_images_are_joined(self, tmp_path: Path) -> None:
        lines = '{"image":"a","caption":["x","y"]}\n{"image":"b","caption":null}\n{"image":"a","caption":["z"]}\n'
        assert captions_of(table(tmp_path, "t.jsonl", lines)) == {"a": ("x", "y", "z"), "b": ()}

    def test_columns_of_choice(self, tmp_path: Path) -> None:
        columns = Columns(image="path", caption="alt", id="number", license="terms")
        found = table(tmp_path, "t.csv", "number,path,alt,terms\n10,a.jpg,x,CC0\n9,b.jpg,y,MIT\n", columns=columns)
        assert [(one.image_id, one.file, one.captions, one.license) for one in found] == [
            ("9", "b.jpg", ("y",), "MIT"),
            ("10", "a.jpg", ("x",), "CC0"),
        ]

    def test_texts_stay_as_they_are(self, tmp_path: Path) -> None:
        csv = 'image,caption\na b.jpg,123\n犬.jpg,"two\nlines, ""quoted"""\nc.jpg,\nd.jpg,NA\n007.jpg,2020-01-01\n'
        assert captions_of(table(tmp_path, "t.csv", csv)) == {
            "a b.jpg": ("123",),
            "犬.jpg": ('two\nlines, "quoted"',),
            "c.jpg": ("",),
            "d.jpg": ("NA",),
            "007.jpg": ("2020-01-01",),
        }
        lines = '{"image": "2020-01-01", "caption": "2021-02-03"}\n{"image": "b", "caption": null}\n'
        assert captions_of(table(tmp_path, "t.jsonl", lines)) == {"2020-01-01": ("2021-02-03",), "b": ("",)}

    def test_row_may_be_megabytes_long(self, tmp_path: Path) -> None:
        text = "dog " * 500_000
        assert table(tmp_path, "t.jsonl", json.dumps({"image": "a", "caption": text}))[0].captions == (text,)
        assert table(tmp_path, "t.csv", f"image,caption\na,{text}\nb,c\n")[0].captions == (text,)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("t.csv", "img,text\na,b\n", "no column 'image'; it has img, text"),
            ("t.jsonl", '{"image": "a"}', "no column 'caption'; it has image"),
            ("t.csv", "image,caption\n,b\n", "column 'image' is empty in row 1"),
            ("t.jsonl", '{"image":"a","caption":"b"}\n{"caption":"b"}', "column 'image' is empty in row 2"),
            ("t.csv", "image,caption,caption\na,b,c\n", "more than one column 'caption'"),
            ("t.csv", "image,caption\na,b,c\n", "cannot be read as csv"),
            ("t.csv", "", "cannot be read as csv"),
            ("t.jsonl", '{"image":"a","cap\n', "cannot be read as jsonl"),
            ("t.jsonl", '{"image":"a","caption":5}', "'caption' holds int64, expected texts"),
            ("t.jsonl", '{"image":"a","caption":[{"en":"b"}]}', "expected texts, or lists of texts"),
            ("t.jsonl", '{"image":{"path":"a"},"caption":"b"}', "'image' holds struct.*expected texts"),
            ("t.txt", "a", r"ends in \.jsonl, \.ndjson, \.csv or \.parquet"),
        ],
    )
    def test_wrong_table_is_refused_by_name(self, tmp_path: Path, name: str, content: str, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            table(tmp_path, name, content)
        assert str(tmp_path / name) in str(caught.value)

    def test_id_of_two_files_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="id '1' stands for 'a' and for 'b'"):
            table(tmp_path, "t.csv", "id,image,caption\n1,a,x\n1,b,y\n", columns=Columns(id="id"))

    def test_missing_or_damaged_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"there is no file .*none\.csv"):
            records(TableSource(path=str(tmp_path / "none.csv")))
        (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
        with pytest.raises(UserError, match="cannot be read as parquet"):
            records(TableSource(path=str(tmp_path / "t.parquet")))
