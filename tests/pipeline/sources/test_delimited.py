"""CSV and TSV: separators, headers, and quote marks, which are taken as they are meant or told by their line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common import UserError
from tests.pipeline.sources.test_tables import HEADER, read, table

BAD_QUOTES = ("row", "bad_quotes")


def without_messages(aside: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """(item, reason, place)."""
    return [(item, reason, message.partition(":")[0]) for item, reason, message in aside]


class TestCells:
    def test_texts_stay_as_they_are(self, tmp_path: Path) -> None:
        rows = 'a b.jpg,123\n犬.jpg,"two\nlines, ""quoted"""\nc.jpg,\nd.jpg,NA\n007.jpg,2020-01-01\ne.jpg, x \n'
        assert read(tmp_path, "t.csv", HEADER + rows).captions == {
            "a b.jpg": ("123",),
            "犬.jpg": ('two\nlines, "quoted"',),
            "c.jpg": ("",),
            "d.jpg": ("NA",),
            "007.jpg": ("2020-01-01",),
            "e.jpg": (" x ",),
        }

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_lines_may_end_in_any_way(self, tmp_path: Path, end: str) -> None:
        content = f'image,caption{end}a,x{end}{end}b,"y{end}z"{end}  {end}c,w'
        assert read(tmp_path, "t.csv", content) == ({"a": ("x",), "b": (f"y{end}z",), "c": ("w",)}, [], [])

    def test_a_row_of_another_number_of_cells_is_set_aside(self, tmp_path: Path) -> None:
        captions, aside, _ = read(tmp_path, "t.csv", HEADER + "a,A dog, on grass\nb\nc,x,\nd,y,,\n")
        assert captions == {"c": ("x",), "d": ("y",)}
        assert without_messages(aside) == [("row", "bad_cells", "line 2"), ("row", "bad_cells", "line 3")]
        assert "3 cells, expected 2: 'a,A dog, on grass'; a text with ',' in it must stand in quotes" in aside[0][2]

    @pytest.mark.parametrize("sign", [";", "\t", "|", ","])
    def test_another_separator_is_told_and_can_be_set(self, tmp_path: Path, sign: str) -> None:
        name = "t.tsv" if sign == "," else "t.csv"
        content = f'image{sign}caption\na{sign}"A dog{sign} a cat"\n'
        with pytest.raises(UserError, match=r"no column 'image'; .* looks like .*: set source\.csv\.delimiter"):
            read(tmp_path, name, content)
        for value in (sign, "\\t") if sign == "\t" else (sign,):
            found = read(tmp_path, name, content, csv={"delimiter": value, "quote": '"'})
            assert found == ({"a": (f"A dog{sign} a cat",)}, [], [])

    @pytest.mark.parametrize("name", ["delimiter", "quote", "escape"])
    def test_a_sign_is_one_character(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValueError, match=f"csv.{name}"):
            read(tmp_path, "t.csv", HEADER + "a,x\n", csv={name: "||"})


class TestHeaders:
    def test_names_are_stripped(self, tmp_path: Path) -> None:
        assert read(tmp_path, "t.csv", "image , caption\t\na,x\n").captions == {"a": ("x",)}

    def test_spaces_behind_its_separators_are_those_of_all_rows(self, tmp_path: Path) -> None:
        captions, aside, notes = read(tmp_path, "t.csv", 'caption, image\n"A dog, a cat", a\n x, "b"\n"y", c \n')
        assert (captions, aside) == ({"a": ("A dog, a cat",), "b": ("x",), "c ": ("y",)}, [])
        assert [note.partition(": ")[2][:44] for note in notes] == ["spaces stand behind the separators of its he"]

    def test_only_wanted_columns_must_be_there_once(self, tmp_path: Path) -> None:
        assert read(tmp_path, "t.csv", "x,image,x,caption\n1,a,2,b\n").captions == {"a": ("b",)}
        with pytest.raises(UserError, match="more than one column 'caption'"):
            read(tmp_path, "t.csv", "image,caption,caption\na,b,c\n")
        with pytest.raises(UserError, match=r"no column 'image'; it has img, text\. Set source\.columns\.image"):
            read(tmp_path, "t.csv", "img,text\na,b\n")

    def test_without_one_columns_have_numbers(self, tmp_path: Path) -> None:
        rows = 'the " queen " of\thttp://h/a?b=c,d\n"Hello" she said\thttps://h/1\n\na cat\thttp://h/2.png\n'
        options: dict[str, Any] = {"csv": {"header": False}, "columns": {"image": 2, "caption": "1"}}
        assert read(tmp_path, "t.tsv", rows, **options).captions == {
            "http://h/a?b=c,d": ('the " queen " of',),
            "https://h/1": ('"Hello" she said',),
            "http://h/2.png": ("a cat",),
        }
        assert read(tmp_path, "t.csv", '"a, b",x.jpg\nc,y.jpg', **options).captions == {
            "x.jpg": ("a, b",),
            "y.jpg": ("c",),
        }
        for columns in ({"image": 3, "caption": 1}, {"image": 0, "caption": 1}, {}):
            with pytest.raises(
                UserError, match=r"no column .*; it has 1, 2\. Without a header a column's name is its number"
            ):
                read(tmp_path, "t.tsv", rows, csv={"header": False}, columns=columns)

    def test_a_missing_one_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(
            UserError, match=r"looks like a row: .* source\.csv\.header: false and source\.columns\.image: 2"
        ):
            read(tmp_path, "t.tsv", "A dog.\tp0.jpg\nA cat.\tp1.jpg\n")


class TestQuotes:
    @pytest.mark.parametrize(
        ("broken", "line"),
        [
            ('p1.jpg,"Two horses.', 3),
            ('p1.jpg,"5" pot with a plant', 3),
            ('p1.jpg,"A "happy" dog"', 3),
            ('p1.jpg,"A \\"happy\\" dog, on grass."', 3),
            ('"p1.jpg,Two horses.', 3),
            ('p1.jpg,"two\nlines" and more', 3),
            ('"p\n1.jpg","Two horses.', 4),
        ],
    )
    @pytest.mark.parametrize(
        "rest",
        [
            "p2.jpg,A cat.\np3.jpg,A bus.\n",
            'p2.jpg,"A cat, a dog"\np3.jpg,A bus.\n',
            'p2.jpg,A pan of 12"\np3.jpg,A bus.\n',
            'p2.jpg,"A ""big"" cat"\np3.jpg,"A bus."',
            'p2.jpg,"two\nlines"\np3.jpg,A 12" pan.\n',
            "",
        ],
    )
    def test_one_that_is_not_closed_costs_its_row_alone_and_names_its_line(
        self, tmp_path: Path, broken: str, line: int, rest: str
    ) -> None:
        good = read(tmp_path, "t.csv", f"{HEADER}p0.jpg,A dog.\n{rest}").captions
        captions, aside, _ = read(tmp_path, "t.csv", f"{HEADER}p0.jpg,A dog.\n{broken}\n{rest}")
        assert captions == good
        assert [(item, reason) for item, reason, _ in aside][:1] == [BAD_QUOTES]
        assert aside[0][2].startswith(f"line {line}: a quote mark opens a cell here and is not closed")

    def test_in_columns_of_another_order(self, tmp_path: Path) -> None:
        content = 'caption,image\n"A dog,\nand a cat",p0.jpg\n"Two horses.,p1.jpg\nA pan of 12",p2.jpg\n"x",p3.jpg\n'
        captions, aside, _ = read(tmp_path, "t.csv", content)
        assert captions == {"p0.jpg": ("A dog,\nand a cat",), "p2.jpg": ('A pan of 12"',), "p3.jpg": ("x",)}
        assert without_messages(aside) == [(*BAD_QUOTES, "line 4")]

    def test_inside_a_cell_they_are_letters(self, tmp_path: Path) -> None:
        rows = 'a,A 12" pan on a stove\nb,A "happy" dog\nc,x ""y""\nd,5"\ne,"""Hi"", he said"\n'
        assert read(tmp_path, "t.csv", HEADER + rows) == (
            {
                "a": ('A 12" pan on a stove',),
                "b": ('A "happy" dog',),
                "c": ('x ""y""',),
                "d": ('5"',),
                "e": ('"Hi", he said',),
            },
            [],
            [],
        )

    def test_other_dialects_can_be_set_and_are_advised(self, tmp_path: Path) -> None:
        content = HEADER + 'a,"A \\"happy\\" dog, on grass."\nb,A cat\\, asleep\n'
        assert r"set source.csv.escape: \ " in read(tmp_path, "t.csv", f"{content}c,x\n").aside[0][2] + " "
        found = read(tmp_path, "t.csv", content, csv={"escape": "\\"})
        assert found == ({"a": ('A "happy" dog, on grass.',), "b": ("A cat, asleep",)}, [], [])
        plain = read(tmp_path, "t.csv", HEADER + 'a,"5" pot\nb,"x"\n', csv={"quote": ""})
        assert plain == ({"a": ('"5" pot',), "b": ('"x"',)}, [], [])
        single = read(tmp_path, "t.csv", HEADER + "a,'x, \"y\"'\n", csv={"quote": "'"})
        assert single == ({"a": ('x, "y"',)}, [], [])

    def test_of_a_tsv_stand_as_they_are_unless_they_must_be_there(self, tmp_path: Path) -> None:
        rows = {
            "a": ('"Hello" she said', '"Hello" she said'),
            "b": ('"Hello"', '"Hello"'),
            "c": ('"A ""big"" dog"', 'A "big" dog'),
            "d": ('"a\tb"', "a\tb"),
            "e": ('"two\nlines"', "two\nlines"),
            "f": ('"not closed', '"not closed'),
            "g": ('A 12" pan 5"', 'A 12" pan 5"'),
            "h": ('""', '""'),
            "i": ('"', '"'),
        }
        content = "image\tcaption\n" + "".join(f"{name}\t{written}\n" for name, (written, _) in rows.items())
        assert read(tmp_path, "t.tsv", content) == ({name: (text,) for name, (_, text) in rows.items()}, [], [])
        quoted = '"image"\t"caption"\n"a"\t"x"\n"b"\t"y ""z"""\n'
        assert read(tmp_path, "t.tsv", quoted).captions == {"a": ("x",), "b": ('y "z"',)}
        strict = read(tmp_path, "t.tsv", content, csv={"quote": '"'})
        assert strict.captions["b"] == ("Hello",)
        assert without_messages(strict.aside) == [(*BAD_QUOTES, f"line {line}") for line in (2, 8, 11)]

    def test_broken_ones_of_a_header_refuse_the_table(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="a quote mark opens a cell here"):
            read(tmp_path, "t.csv", '"image" x,caption\na,b\n')


def test_ids_of_rows_are_texts(tmp_path: Path) -> None:
    found = table(tmp_path, "t.csv", "id,image,caption\n10,a,x\n9,b,y\n", columns={"id": "id"})
    assert [one.image_id for one in found] == ["9", "10"]
