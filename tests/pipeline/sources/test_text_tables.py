"""Tables of text as programs leave them: joined, damaged, packed, with marks of their own; each fault costs itself."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.sources.config import CsvDialect, TableSource
from pipeline.sources.set_aside import SetAside
from stages.common import UserError
from tests.photos import jpeg
from tests.pipeline.sources.test_tables import HEADER, lines, read, records_of, write

AB = {"a": ("x",), "b": ("y",)}
MANY = "".join(f"{number}.jpg,A text of photo {number}\n" for number in range(4000))
PACKED = gzip.compress((HEADER + MANY).encode(), mtime=0)


class TestJoinedTables:
    def test_a_byte_order_mark_before_any_line_is_no_part_of_it(self, tmp_path: Path) -> None:
        assert read(tmp_path, "t.csv", "\ufeffimage,caption\na,x\n\ufeffb,y\n") == (AB, [], [])
        rows = [lines({"image": name, "caption": text}) for name, text in (("a", "x"), ("b", "y"))]
        assert read(tmp_path, "t.jsonl", "".join(f"\ufeff{row}" for row in rows)) == (AB, [], [])

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
    def test_a_mark_is_left_out_where_the_encoding_does_not_know_it(self, tmp_path: Path, encoding: str) -> None:
        content = ("\ufeff" + HEADER + "a,x\nb,y\n").encode(encoding)
        assert read(tmp_path, "t.csv", content, encoding=encoding) == (AB, [], [])

    @pytest.mark.parametrize("again", [HEADER, ' "image" , caption\n', "\ufeffimage,caption\n"])
    def test_a_header_that_comes_again_is_no_photo(self, tmp_path: Path, again: str) -> None:
        captions, aside, _ = read(
            tmp_path, "t.csv", HEADER + "a,x\n" + again.replace(' "', '"').replace('" ', '"') + "b,y\n"
        )
        assert captions == AB
        assert [(item, reason, text[:7]) for item, reason, text in aside] == [("row", "repeated_header", "line 3:")]

    def test_an_empty_table_beside_others_is_told(self, tmp_path: Path) -> None:
        for name, content in (
            ("0.csv", HEADER + "a,x\n"),
            ("1.csv", ""),
            ("2.jsonl", "\n"),
            ("3.csv", HEADER + "b,y\n"),
        ):
            write(tmp_path / name, content)
        (tmp_path / "4.csv").mkdir()
        aside = SetAside()
        found = records_of(TableSource(path=str(tmp_path / "*")), aside)
        assert {one.image_id: one.captions for one in found} == AB
        assert aside.notes == ["1.csv is empty", "2.jsonl is empty"]
        with pytest.raises(UserError, match=r"2\.jsonl: is empty"):
            records_of(TableSource(path=str(tmp_path / "2.jsonl")), SetAside())


class TestDamage:
    @pytest.mark.parametrize("cut", [200, 5000, len(PACKED) // 2, 8, 4])
    def test_of_a_gzip_file_that_is_cut_the_whole_lines_are_read(self, tmp_path: Path, cut: int) -> None:
        captions, aside, _ = read(tmp_path, "t.csv.gz", PACKED[:-cut])
        wanted = {f"{number}.jpg": (f"A text of photo {number}",) for number in range(4000)}
        assert captions.items() <= wanted.items()
        ((item, reason, text),) = aside
        assert (item, reason) == ("row", "damaged_row")
        assert text.startswith(f"line {len(captions) + 2}: the file is packed by gzip and damaged")

    def test_another_checksum_and_what_stands_behind_the_end_are_told(self, tmp_path: Path) -> None:
        for content in (PACKED[:-8] + bytes(8), PACKED + b"garbage"):
            captions, aside, _ = read(tmp_path, "t.csv", content)
            assert len(captions) == 4000
            assert [(item, reason) for item, reason, _ in aside] == [("row", "damaged_row")]
        assert read(tmp_path, "t.csv", PACKED + bytes(512)).aside == []

    def test_zeros_in_a_file_are_a_line_of_their_own_and_no_encoding(self, tmp_path: Path) -> None:
        for hole in (b"\0" * 4096 + b"\n", b"\0" * 301 + b"\n"):
            captions, aside, _ = read(tmp_path, "t.csv", b"image,caption\na,x\n" + hole + b"b,y\n")
            assert captions == AB
            assert [(item, reason) for item, reason, _ in aside] == [("row", "bad_cells")]
            assert aside[0][2].isprintable()

    def test_half_a_character_at_the_end_of_utf16_costs_its_row(self, tmp_path: Path) -> None:
        content = (HEADER + "a,x\nc,z\n").encode("utf-16")[:-1]
        captions, aside, _ = read(tmp_path, "t.csv", content, encoding="utf-16")
        assert captions == {"a": ("x",)}
        assert [(reason, text) for _, reason, text in aside] == [
            ("bad_encoding", "line 3: the byte 0x0a is no utf-16; set source.encoding to what it is")
        ]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (jpeg(np.zeros((8, 8, 3), np.uint8)), "is a JPEG picture, expected text"),
            (gzip.compress(PACKED, mtime=0), "is packed by gzip twice"),
            (bytes(range(256)) * 4, r"is no text: it begins with b'\\x00\\x01"),
        ],
    )
    def test_what_is_no_text_is_refused_as_such(self, tmp_path: Path, content: bytes, message: str) -> None:
        with pytest.raises(UserError, match=message):
            read(tmp_path, "t.csv", content)

    def test_control_characters_alone_make_no_text_binary(self, tmp_path: Path) -> None:
        text = "".join(map(chr, [*range(1, 9), *range(14, 32), 127])) * 9
        rows = [{"image": "a", "caption": "x"}, {"image": "b", "caption": "y"}]
        assert read(tmp_path, "t.csv", f"image,caption\na,{text}\nb,\x1f\n").captions == {"a": (text,), "b": ("\x1f",)}
        assert read(tmp_path, "t.jsonl", lines(*rows, "\x01\x02")).captions == AB

    def test_a_cell_that_is_too_long_is_told_as_that(self, tmp_path: Path) -> None:
        captions, aside, _ = read(tmp_path, "t.csv", HEADER + f'c,"{"dog " * 5_000_000}"\na,x\nb,y\n')
        assert captions == AB
        assert [(reason, text) for _, reason, text in aside] == [
            ("bad_cells", "line 2: a cell in quotes has more than 16,777,216 characters")
        ]


class TestSeparators:
    def test_excels_line_that_tells_the_separator_is_heeded(self, tmp_path: Path) -> None:
        for sign in ";\t|":
            content = f"sep={sign}\r\nimage,caption\r\na,x\r\nb,y\r\n".replace(",", sign)
            assert read(tmp_path, "t.csv", content) == (AB, [], [])

    def test_a_miscounted_line_says_what_may_be_wrong(self, tmp_path: Path) -> None:
        _, aside, _ = read(tmp_path, "t.csv", HEADER + "a,x\nb\nc,'red, blue'\nd,red, blue\n")
        endings = [text.rpartition("; ")[2] for _, _, text in aside]
        assert endings == [
            "the line ends too early, or a separator is missing",
            "if ' stands around texts, set source.csv.quote: \"'\"",
            "a text with ',' in it must stand in quotes",
        ]

    @pytest.mark.parametrize(
        "signs", [{"delimiter": '"'}, {"quote": ","}, {"escape": '"'}, {"quote": "'", "escape": "'"}]
    )
    def test_one_sign_with_two_meanings_is_refused(self, signs: dict[str, str]) -> None:
        with pytest.raises(ValidationError, match="delimiter, quote and escape are different signs"):
            CsvDialect.model_validate(signs)
