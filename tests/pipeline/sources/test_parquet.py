"""Parquet tables: texts of any of Arrow's types, and pictures inside, as the hub's data sets have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.sources.config import TableSource, to_record
from pipeline.sources.photos import ImageReader
from pipeline.sources.scan import add_scan, canonical_order, read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import SampleError, UserError
from tests.pipeline.sources.test_tables import read, records_of, table, write

PICTURES = [b"\xff\xd8\xff picture %d" % number for number in range(7)]
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
)


def hub_table(paths: list[str | None] | None = None) -> pa.Table:
    names = paths or [f"p{number}.jpg" for number in range(len(PICTURES))]
    images = [{"bytes": data, "path": name} for data, name in zip(PICTURES, names, strict=True)]
    return pa.table({"image": images, "caption": [f"dog {number}" for number in range(len(PICTURES))]})


class TestTexts:
    @pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()])
    def test_texts_and_lists_of_any_type(self, tmp_path: Path, text: pa.DataType) -> None:
        names = pa.array(["a.jpg", "b.jpg"]).cast(text)
        two = pa.array([["x", "z"], ["y", "w"]])
        lists = [pa.list_(text), pa.large_list(text), pa.list_(text, 2)]
        for captions in (pa.array(["x", "y"]).cast(text), *(two.cast(kind) for kind in lists)):
            found = read(tmp_path, "t.parquet", pa.table({"image": names, "caption": captions})).captions
            assert found["b.jpg"][0] == "y"
            assert found["a.jpg"][0] == "x"

    def test_dictionaries(self, tmp_path: Path) -> None:
        texts = pa.array(["x", "y", "z"]).dictionary_encode()
        lists = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), texts)
        names = pa.array(["a", "b"]).dictionary_encode()
        wanted = {"a": ("x", "y"), "b": ("z",)}
        assert read(tmp_path, "t.parquet", pa.table({"image": names, "caption": lists})) == (wanted, [], [])

    def test_what_is_null_is_an_empty_caption(self, tmp_path: Path) -> None:
        for captions in (
            pa.nulls(2),
            pa.array([None, None], pa.string()),
            pa.array([None, [None]], pa.list_(pa.string())),
        ):
            found = read(tmp_path, "t.parquet", pa.table({"image": ["a", "b"], "caption": captions}))
            assert found == ({"a": ("",), "b": ("",)}, [], [])

    def test_columns_inside_structs_are_named_with_dots(self, tmp_path: Path) -> None:
        content = pa.table({"meta": [{"url": "http://h/a.jpg", "text": {"en": "dog"}}], "a.b": ["7"]})
        columns = {"image": "meta.url", "caption": "meta.text.en", "id": "a.b"}
        assert read(tmp_path, "t.parquet", content, columns=columns).captions == {"7": ("dog",)}

    def test_bytes_that_are_no_utf8_cost_a_caption_or_a_row(self, tmp_path: Path) -> None:
        captions, aside, _ = read(tmp_path, "t.parquet", pa.table({"image": ["a", "b"], "caption": NOT_UTF8}))
        assert captions == {"a": ("a",), "b": ()}
        assert aside[0][:2] == ("caption", "bad_caption")
        captions, aside, _ = read(tmp_path, "t.parquet", pa.table({"image": NOT_UTF8, "caption": ["x", "y"]}))
        assert captions == {"a": ("x",)}
        assert aside[0][:2] == ("row", "bad_encoding")
        assert aside[0][2].startswith("row 2: column 'image' holds what is no UTF-8")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"image": ["a"], "caption": [5]}, "'caption' holds int64, expected texts, or lists of texts"),
            ({"image": ["a"], "caption": [{"en": "b"}]}, "'caption' holds struct"),
            ({"image": [5], "caption": ["a"]}, "'image' holds int64, expected texts, pictures"),
            ({"image": [[{"bytes": b"a", "path": "b"}]], "caption": ["a"]}, "'image' holds list<element: struct"),
            ({"img": ["a"], "caption": ["a"]}, "no column 'image'; it has img, caption"),
        ],
    )
    def test_columns_that_cannot_hold_what_is_asked_are_refused(
        self, tmp_path: Path, content: dict[str, list[Any]], message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            read(tmp_path, "t.parquet", pa.table(content))

    def test_a_damaged_part_costs_its_rows_alone(self, tmp_path: Path) -> None:
        texts = [f"{number} " * 300 for number in range(30)]
        content = pa.table({"image": [f"{number:02d}" for number in range(30)], "caption": texts})
        pyarrow.parquet.write_table(content, tmp_path / "t.parquet", row_group_size=10, use_dictionary=False)
        place = pyarrow.parquet.ParquetFile(tmp_path / "t.parquet").metadata.row_group(1).column(1).data_page_offset
        data = bytearray((tmp_path / "t.parquet").read_bytes())
        data[place : place + 60] = b"\xff" * 60
        captions, aside, _ = read(tmp_path, "t.parquet", bytes(data))
        assert list(captions) == [f"{number:02d}" for number in (*range(10), *range(20, 30))]
        assert [row[:2] for row in aside] == [("row", "damaged_row")] * 10
        assert [row[2].partition(":")[0] for row in aside] == [f"row {number}" for number in range(11, 21)]


class TestPictures:
    def test_are_read_by_their_place(self, tmp_path: Path) -> None:
        pyarrow.parquet.write_table(hub_table(), tmp_path / "t.parquet", row_group_size=3)
        source = TableSource(path=str(tmp_path / "t.parquet"))
        rows = add_scan(canonical_order(read_rows(source, SetAside())), source, SetAside())
        assert rows["listed"].null_count == len(PICTURES)
        records = [to_record(row) for row in rows.to_pylist()]
        assert [(one.image_id, one.file, one.row, one.captions) for one in records] == [
            (f"t/{number + 1:09d}", "t.parquet", number, (f"dog {number}",)) for number in range(len(PICTURES))
        ]
        reader = ImageReader(source)
        assert reader.read_all(records) == PICTURES
        for number in (5, 0, 6, 3, 3, 2):
            assert reader.read(records[number]) == PICTURES[number]

    def test_may_have_a_root_elsewhere_and_lie_in_several_files(self, tmp_path: Path) -> None:
        for number in range(2):
            pyarrow.parquet.write_table(hub_table(), tmp_path / f"{number}.parquet")
        source = TableSource(path=f"{tmp_path}/*.parquet", root="/somewhere/else")
        records = records_of(source, SetAside())
        assert [one.image_id for one in records][6:8] == ["0/000000007", "1/000000001"]
        assert ImageReader(source).read_all(records) == PICTURES * 2

    def test_may_be_bytes_alone_as_img2dataset_writes_them(self, tmp_path: Path) -> None:
        content = pa.table({"jpg": [None, *PICTURES], "caption": ["x"] * 8, "key": [f"k{at}" for at in range(8)]})
        captions, aside, _ = read(tmp_path, "t.parquet", content, columns={"image": "jpg", "id": "key"})
        assert list(captions) == [f"k{at}" for at in range(1, 8)]
        assert aside == [("row", "no_image", "row 1: column 'jpg' is empty")]
        source = TableSource.model_validate({"path": f"{tmp_path}/t.parquet", "columns": {"image": "jpg", "id": "key"}})
        assert ImageReader(source).read_all(records_of(source, SetAside())) == PICTURES

    def test_may_have_only_a_path(self, tmp_path: Path) -> None:
        (tmp_path / "b.jpg").write_bytes(b"of a file")
        images = [
            {"bytes": PICTURES[0], "path": None},
            {"bytes": None, "path": "b.jpg"},
            {"bytes": None, "path": None},
            None,
        ]
        content = pa.table({"image": images, "caption": ["x", "y", "z", "w"]})
        _, aside, _ = read(tmp_path, "t.parquet", content)
        assert [row[2] for row in aside] == [f"row {number}: column 'image' is empty" for number in (3, 4)]
        source = TableSource(path=f"{tmp_path}/t.parquet")
        records = records_of(source, SetAside())
        assert [(one.image_id, one.file, one.row) for one in records] == [
            ("b.jpg", "b.jpg", None),
            ("t/000000001", "t.parquet", 0),
        ]
        assert ImageReader(source).read_all(records) == [b"of a file", PICTURES[0]]

    def test_rows_of_one_id_are_one_photo(self, tmp_path: Path) -> None:
        paths: list[str | None] = ["a.jpg", "a.jpg", "b.jpg", "a.jpg", "b.jpg", "c.jpg", "c.jpg"]
        found = table(tmp_path, "t.parquet", hub_table(paths), columns={"id": "image.path"})
        assert [(one.image_id, one.row, one.captions) for one in found] == [
            ("a.jpg", 0, ("dog 0", "dog 1", "dog 3")),
            ("b.jpg", 2, ("dog 2", "dog 4")),
            ("c.jpg", 5, ("dog 5", "dog 6")),
        ]
        assert len(table(tmp_path, "t.parquet", hub_table(paths))) == 7

    def test_in_a_damaged_or_changed_file_are_told_alone(self, tmp_path: Path) -> None:
        pictures = [bytes([number]) * 5000 for number in range(40)]
        content = pa.table({"image": [{"bytes": data, "path": "a"} for data in pictures], "caption": ["x"] * 40})
        file = tmp_path / "t.parquet"
        pyarrow.parquet.write_table(content, file, row_group_size=20, use_dictionary=False)
        source = TableSource(path=str(file))
        records = records_of(source, SetAside())
        data = bytearray(file.read_bytes())
        place = pyarrow.parquet.ParquetFile(file).metadata.row_group(0).column(0).data_page_offset
        data[place : place + 60] = b"\xff" * 60
        file.write_bytes(data)
        outcomes = ImageReader(source).read_all(records)
        assert outcomes[20:] == pictures[20:]
        assert all(isinstance(one, SampleError) and one.reason == "undecodable_image" for one in outcomes[:20])
        write(file, hub_table())
        outcomes = ImageReader(source).read_all(records)
        assert outcomes[:7] == PICTURES
        assert all(isinstance(one, SampleError) and one.reason == "missing_file" for one in outcomes[7:])
        file.unlink()
        assert all(isinstance(one, FileNotFoundError) for one in ImageReader(source).read_all(records))


def test_two_columns_of_one_name_are_refused_if_it_is_asked_for(tmp_path: Path) -> None:
    texts = [pa.array(["a"]), pa.array(["x"]), pa.array(["y"])]
    with pytest.raises(UserError, match="more than one column 'caption'"):
        read(tmp_path, "t.parquet", pa.table(texts, names=["image", "caption", "caption"]))
    structs = pa.array([{"path": "a"}])
    nested = pa.table([structs, structs, pa.array(["x"])], names=["m", "m", "caption"])
    with pytest.raises(UserError, match="more than one column 'm'"):
        read(tmp_path, "t.parquet", nested, columns={"image": "m.path"})
    other = pa.table([pa.array(["a"]), pa.array(["x"]), *texts[1:]], names=["image", "caption", "z", "z"])
    assert read(tmp_path, "t.parquet", other).captions == {"a": ("x",)}


def test_pictures_are_known_as_such_beside_empty_ones(tmp_path: Path) -> None:
    pictures = pa.table({"image": [b"\xff\xd8\xff", None, b""], "caption": ["x", "y", "z"]})
    found = read(tmp_path, "t.parquet", pictures)
    assert found.captions == {"t/000000001": ("x",), "t/000000003": ("z",)}
    assert [reason for _, reason, _ in found.aside] == ["no_image"]
