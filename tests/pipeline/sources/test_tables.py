"""Tables as people have them: what is right in them is read as it stands, what is not is set aside alone, by place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.sources.config import TableSource, to_record
from pipeline.sources.scan import canonical_order, read_rows, source_files
from pipeline.sources.set_aside import SetAside
from stages.common import ImageRecord, UserError

Content = str | bytes | pa.Table


class Found(NamedTuple):
    """What a table gives: image id -> captions; (item, reason, message) of what is set aside; notes."""

    captions: dict[str, tuple[str, ...]]
    aside: list[tuple[str, str, str]]
    notes: list[str]


def write(file: Path, content: Content) -> Path:
    if isinstance(content, str | bytes):
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    else:
        pyarrow.parquet.write_table(content, file)
    return file


def records_of(source: TableSource, aside: SetAside) -> list[ImageRecord]:
    return [to_record(row) for row in canonical_order(read_rows(source, aside)).to_pylist()]


def table(folder: Path, name: str, content: Content, **options: Any) -> list[ImageRecord]:  # noqa: ANN401
    """The photos of a table in which nothing is wrong."""
    aside = SetAside()
    source = TableSource.model_validate({"path": str(write(folder / name, content)), **options})
    found = records_of(source, aside)
    assert aside.examples() == {}
    return found


def read(folder: Path, name: str, content: Content, **options: Any) -> Found:  # noqa: ANN401
    aside = SetAside()
    source = TableSource.model_validate({"path": str(write(folder / name, content)), **options})
    found = {record.image_id: record.captions for record in records_of(source, aside)}
    rows = [(row["item"], row["reason"], row["message"]) for row in aside.table().to_pylist()]
    assert {row["file"] for row in aside.table().to_pylist()} <= {name}
    return Found(found, rows, aside.notes)


def lines(*rows: object) -> str:
    """JSON lines; a text stands for itself."""
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


HEADER = "image,caption\n"
ABC = {"a": ("x",), "b": ("y",)}


class TestRows:
    def test_rows_of_an_image_are_its_captions(self, tmp_path: Path) -> None:
        rows = [("b.jpg", "one"), ("a.jpg", "two"), ("b.jpg", "three"), ("b.jpg", "four")]
        wanted = {"a.jpg": ("two",), "b.jpg": ("one", "three", "four")}
        columns = pa.table({"image": [name for name, _ in rows], "caption": [text for _, text in rows]})
        as_lines = lines(*({"image": name, "caption": text, "more": 1} for name, text in rows))
        contents: dict[str, Content] = {
            "t.csv": HEADER + "".join(f"{name},{text}\n" for name, text in rows),
            "t.tsv": "image\tcaption\n" + "".join(f"{name}\t{text}\n" for name, text in rows),
            "t.jsonl": as_lines,
            "t.ndjson": as_lines,
            "t.jsonl.gz": gzip.compress(as_lines.encode()),
            "t.parquet": columns,
        }
        for name, content in contents.items():
            assert read(tmp_path, name, content) == (wanted, [], []), name

    def test_columns_of_choice(self, tmp_path: Path) -> None:
        columns = {"image": "path", "caption": "alt", "id": "number", "license": "terms"}
        found = table(tmp_path, "t.csv", "number,path,alt,terms\n10,a.jpg,x,CC0\n9,b.jpg,y,MIT\n", columns=columns)
        assert [(one.image_id, one.file, one.captions, one.license) for one in found] == [
            ("9", "b.jpg", ("y",), "MIT"),
            ("10", "a.jpg", ("x",), "CC0"),
        ]

    def test_one_photo_under_several_names_is_one_image(self, tmp_path: Path) -> None:
        names = ["./a.jpg", "a.jpg", "x/../a.jpg", ".//a.jpg", "b/../x/.././a.jpg"]
        content = HEADER + "".join(f"{name},{number}\n" for number, name in enumerate(names))
        (one,) = table(tmp_path, "t.csv", content)
        assert (one.image_id, one.file, one.captions) == ("a.jpg", "a.jpg", ("0", "1", "2", "3", "4"))

    def test_an_id_stands_for_one_file(self, tmp_path: Path) -> None:
        content = "id,image,caption\n1,a,x\n1,b,y\n2,b,z\n1,./a,w\n,c,v\n"
        found = read(tmp_path, "t.csv", content, columns={"id": "id"})
        assert found.captions == {"1": ("x", "w"), "2": ("z",)}
        assert found.aside == [
            ("row", "no_id", "line 6: column 'id' is empty"),
            ("row", "id_of_two_files", "line 3: the id '1' stands for 'b', and before for 'a'"),
        ]

    def test_ids_of_any_kind_become_texts(self, tmp_path: Path) -> None:
        ids = [7, 8.0, "x9", 2**70, 1.5]
        rows = [{"image": f"{number}.jpg", "caption": "c", "id": value} for number, value in enumerate(ids)]
        found = read(
            tmp_path, "t.jsonl", lines(*rows, {**rows[0], "id": [1]}, {**rows[0], "id": True}), columns={"id": "id"}
        )
        assert found.captions.keys() == {"7", "8", "x9", str(2**70), "1.5"}
        assert [(item, reason) for item, reason, _ in found.aside] == [("row", "no_id")] * 2
        numbers = pa.table({"image": ["a", "b"], "caption": ["x", "y"], "id": pa.array([3, 2], pa.uint8())})
        assert read(tmp_path, "t.parquet", numbers, columns={"id": "id"}).captions == {"3": ("x",), "2": ("y",)}

    def test_a_licence_costs_no_row(self, tmp_path: Path) -> None:
        rows = [
            {"image": str(number), "caption": "c", "terms": one}
            for number, one in enumerate(["MIT", None, 4, {"a": 1}])
        ]
        found = table(tmp_path, "t.jsonl", lines(*rows), columns={"license": "terms"})
        assert [one.license for one in found] == ["MIT", None, "4", "{'a': 1}"]

    @pytest.mark.parametrize(
        ("name", "reason", "message"),
        [
            ("", "no_image", "column 'image' is empty"),
            ("  ", "no_image", "column 'image' is empty"),
            ("a\0b.jpg", "bad_name", r"holds a NUL character: a\0b.jpg"),
            ("A dog runs, " * 30, "bad_name", "360 bytes, of 360 in one part"),
            ("é" * 128, "bad_name", "256 bytes"),
            ("folder/" * 700 + "a.jpg", "bad_name", "4905 bytes, of 6 in one part"),
            ("\ud83d.jpg", "bad_name", r"half of a character (\ud83d at 0)"),
            ("htp://x/a.jpg", "unknown_protocol", "there is no protocol 'htp': htp://x/a.jpg"),
            ("see http://x", "unknown_protocol", "there is no protocol 'see http'"),
            ("http:///a.jpg", "bad_name", "this is no address of a web server: http:///a.jpg"),
            ("https://[x/a.jpg", "bad_name", "this is no address of a web server"),
            ("http://x:99999/a.jpg", "bad_name", "this is no address of a web server"),
            (
                "data:image/png;base64," + "A" * 9999,
                "data_uri",
                "10021 characters, stands where its name should (data:image",
            ),
            ("DATA:,x", "data_uri", "Parquet"),
            (5, "no_image", "holds a number, expected a text: 5"),
            ({"path": "a"}, "no_image", "holds an object, expected a text"),
        ],
    )
    def test_what_is_no_name_of_a_file_costs_its_row_alone(
        self, tmp_path: Path, name: object, reason: str, message: str
    ) -> None:
        rows = [{"image": one, "caption": "x"} for one in ("a", name, "b")]
        captions, aside, _ = read(tmp_path, "t.jsonl", lines(*rows))
        assert captions == {"a": ("x",), "b": ("x",)}
        ((item, found, text),) = aside
        assert (item, found) == ("row", reason)
        assert text.startswith("line 2: ")
        assert message in text
        assert len(text) < 300

    def test_good_names_stay_as_they_are(self, tmp_path: Path) -> None:
        names = [
            "a b.jpg",
            "犬.jpg",
            "/abs/a.jpg",
            "../up.jpg",
            "a..b.jpg",
            "s3://b/x/../k",
            "http://h:1/a//b?c=.//d",
            "memory://a",
        ]
        found = table(tmp_path, "t.jsonl", lines(*({"image": name, "caption": "x"} for name in names)))
        assert sorted(one.file for one in found) == sorted(names)
        respelled = {"HTTPS://Host/A.jpg": "https://Host/A.jpg", " http://h/a ": "http://h/a", "S3://b/k": "s3://b/k"}
        found = table(tmp_path, "t.jsonl", lines(*({"image": name, "caption": "x"} for name in respelled)))
        assert sorted(one.file for one in found) == sorted(respelled.values())

    def test_a_column_without_a_single_caption_is_refused(self, tmp_path: Path) -> None:
        message = "not one caption can be used; the first: t.jsonl: line 1: column 'caption' holds a number"
        with pytest.raises(UserError, match=message):
            read(tmp_path, "t.jsonl", lines({"image": "a", "caption": 5}))


class TestFiles:
    def test_several_tables_are_one(self, tmp_path: Path) -> None:
        write(tmp_path / "0.csv", HEADER + "a,x\nb,y\n")
        write(tmp_path / "1.csv", HEADER + "a,z\n,n\n")
        for pattern in ("*.csv", "{0..1}.csv", "?.csv"):
            aside = SetAside()
            source = TableSource(path=str(tmp_path / pattern))
            found = {one.image_id: one.captions for one in records_of(source, aside)}
            assert found == {"a": ("x", "z"), "b": ("y",)}
            assert list(aside.examples().values()) == ["1.csv: line 3: column 'image' is empty"]
            assert source_files(source) == {"table.0": f"{tmp_path}/0.csv", "table.1": f"{tmp_path}/1.csv"}

    def test_a_name_with_signs_of_a_pattern_is_a_name_if_there_is_such_a_file(self, tmp_path: Path) -> None:
        for name in ("t[1].csv", "t{.csv", "t{1,2}.csv"):
            write(tmp_path / name, HEADER + "a,x\n")
            source = TableSource(path=str(tmp_path / name))
            assert source_files(source) == {"table": str(tmp_path / name)}

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("none.csv", r"there is no file .*none\.csv"),
            ("{0..2}.csv", r"there is no file .*1\.csv \(nor 1 others of "),
            ("*.tsv", r"there is no file .*\*\.tsv"),
            ("*/0.csv", "pattern may stand in the file name alone"),
            ("t.txt", r"expected a file that ends in \.jsonl"),
        ],
    )
    def test_what_is_not_there_is_told(self, tmp_path: Path, name: str, message: str) -> None:
        for file in ("0.csv", "t.txt"):
            write(tmp_path / file, HEADER + "a,x\n")
        with pytest.raises(UserError, match=message):
            records_of(TableSource(path=str(tmp_path / name)), SetAside())

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("t.csv", b"PK\x03\x04 of a sheet", "is a zip or an Excel file"),
            ("t.csv", b"PAR1 and more", r"must end in \.parquet"),
            ("t.jsonl", b"\x28\xb5\x2f\xfd", "packed by zstd"),
            (
                "t.jsonl.gz",
                gzip.compress(lines({"image": "a", "caption": "b" * 999}).encode(), mtime=0)[:-20],
                "by gzip and damaged",
            ),
            ("t.csv", (HEADER + "a,x\n").encode("utf-16"), r"looks like utf-16, .* set source\.encoding: utf-16"),
            ("t.jsonl", lines({"image": "a"}).encode("utf-16-be"), r"looks like utf-16-be"),
            ("t.csv", "", "is empty"),
            ("t.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ],
    )
    def test_a_file_of_another_kind_is_told_as_what_it_looks(
        self, tmp_path: Path, name: str, content: Content, message: str
    ) -> None:
        with pytest.raises(UserError, match=message) as caught:
            read(tmp_path, name, content)
        assert str(tmp_path / name) in str(caught.value)

    def test_gzip_is_known_by_the_content(self, tmp_path: Path) -> None:
        content = (HEADER + "a,x\n").encode()
        assert read(tmp_path, "t.csv", gzip.compress(content)).captions == {"a": ("x",)}
        assert read(tmp_path, "t.csv.gz", content).captions == {"a": ("x",)}


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8", "UTF-8-sig", "latin-1"])
    def test_a_table_is_read_in_the_encoding_that_is_set(self, tmp_path: Path, encoding: str) -> None:
        for name, content in (("t.csv", HEADER + "a,Café\n"), ("t.jsonl", '{"image": "a", "caption": "Café"}\r\n')):
            assert read(tmp_path, name, content.encode(encoding), encoding=encoding) == ({"a": ("Café",)}, [], [])

    def test_a_byte_order_mark_is_no_part_of_a_name(self, tmp_path: Path) -> None:
        for name, content in (
            ("t.csv", '\ufeff"image","caption"\na,x\n'),
            ("t.jsonl", '\ufeff{"image":"a","caption":"x"}\n'),
        ):
            assert read(tmp_path, name, content).captions == {"a": ("x",)}

    def test_bytes_of_another_encoding_cost_their_row_and_name_the_key(self, tmp_path: Path) -> None:
        content = "image,caption,more\na,Café,1\nb,y,é\nc,– z,1\n".encode("cp1252")
        found = read(tmp_path, "t.csv", content)
        assert found.captions == {"b": ("y",)}
        assert found.aside == [
            (
                "row",
                "bad_encoding",
                f"line {line}: the byte {byte} is no utf-8; "
                "it looks like cp1252 (Windows): set source.encoding: cp1252",
            )
            for line, byte in ((2, "0xe9"), (4, "0x96"))
        ]
        rows = '{"image":"a","caption":"犬"}\n{"image":"b","caption":"y","z":"犬"}\n'.encode("shift_jis")
        captions, aside, _ = read(tmp_path, "t.jsonl", rows)
        assert captions == {"b": ("y",)}
        assert "it looks like gb18030, shift_jis" in aside[0][2]
        captions, aside, _ = read(tmp_path, "t.csv", HEADER.encode() + b"a,\x81\nb,y\n", encoding="cp1252")
        assert captions == {"b": ("y",)}
        assert "the byte 0x81 is no cp1252; set source.encoding to what it is" in aside[0][2]

    def test_an_unknown_encoding_is_refused_by_the_manifest(self) -> None:
        with pytest.raises(ValueError, match="unknown encoding: utf-9; expected one such as utf-8"):
            TableSource(path="t.csv", encoding="utf-9")


class TestJsonLines:
    def test_captions_of_any_form(self, tmp_path: Path) -> None:
        rows = [("a", None), ("b", "2020-01-01"), ("c", ["x", None]), ("d", []), ("e", "12:30"), ("2020-01-01", "x")]
        found = table(tmp_path, "t.jsonl", lines(*({"image": name, "caption": text} for name, text in rows)))
        assert {one.file: one.captions for one in found} == {
            "a": ("",),
            "b": ("2020-01-01",),
            "c": ("x", ""),
            "d": (),
            "e": ("12:30",),
            "2020-01-01": ("x",),
        }

    def test_what_is_no_text_costs_one_caption(self, tmp_path: Path) -> None:
        rows = [
            {"image": "a", "caption": "x"},
            {"image": "b", "caption": ["A bus \ud83d", "y", 5]},
            {"image": "c", "caption": {}},
        ]
        captions, aside, _ = read(tmp_path, "t.jsonl", lines(*rows))
        assert captions == {"a": ("x",), "b": ("y",), "c": ()}
        assert aside == [
            (
                "caption",
                "bad_caption",
                r"line 2: column 'caption' holds half of a character (\ud83d at 6), which is no text",
            ),
            ("caption", "bad_caption", "line 2: column 'caption' holds a number, expected a text: 5"),
            ("caption", "bad_caption", "line 3: column 'caption' holds an object, expected a text: {}"),
        ]

    def test_columns_that_are_not_asked_for_may_hold_anything(self, tmp_path: Path) -> None:
        others: list[Any] = [1, "high", None, [{"a": []}], 2**99, "\ud83d", 1e999]
        rows = [{"image": str(number), "caption": "x", "score": one} for number, one in enumerate(others)]
        assert len(table(tmp_path, "t.jsonl", lines(*rows, {"image": "z", "caption": "x"}))) == len(others) + 1

    def test_a_line_that_is_no_object_is_set_aside_alone(self, tmp_path: Path) -> None:
        bad = [
            '{"image":"b","cap',
            "[1]",
            "null",
            '{"image":"b"}{"image":"c"}',
            "{'image': 'b'}",
            '{"image":"b","z":' + "[" * 100_000,
        ]
        good = {"image": "a", "caption": "x"}
        captions, aside, _ = read(tmp_path, "t.jsonl", lines(good, "", *bad, {**good, "image": "b"}))
        assert captions == {"a": ("x",), "b": ("x",)}
        assert [(item, reason) for item, reason, _ in aside] == [("row", "bad_json")] * len(bad)
        assert [text.partition(":")[0] for *_, text in aside] == [f"line {number}" for number in range(3, 3 + len(bad))]
        assert aside[0][2].startswith("line 3: expected a JSON object, Unterminated string starting at (character 14)")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"image": "a"}', "no column 'caption'; it has image"),
            ('[{"image": "a", "caption": "b"}]', "is one JSON list, expected an object a line; jq"),
            (json.dumps([{"image": "a", "caption": "b"}], indent=1), "is one JSON list"),
        ],
    )
    def test_a_file_that_is_no_jsonl_is_refused(self, tmp_path: Path, content: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            read(tmp_path, "t.jsonl", content)

    def test_row_may_be_megabytes_long(self, tmp_path: Path) -> None:
        text = "dog " * 500_000
        assert table(tmp_path, "t.jsonl", json.dumps({"image": "a", "caption": text}))[0].captions == (text,)
        assert table(tmp_path, "t.csv", f'image,caption\na,{text}\nb,c\nd,"{text}"\n')[2].captions == (text,)
