"""For any rows and any one mutation of a table: rows read + rows set aside = rows written, and texts are unchanged."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.sources.config import TableSource
from pipeline.sources.scan import read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import UserError

SIGNS = "\",;\\'\t |\0é犬🐶\u200b\u2028\x85xy12."
LINES = st.text(
    st.one_of(st.sampled_from(SIGNS), st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")), max_size=20
)
TEXTS = st.text(st.one_of(st.sampled_from(SIGNS + "\n\r"), st.characters(exclude_categories=["Cs"])), max_size=20)
quickly = settings(max_examples=120, deadline=None, derandomize=True, database=None)


class Read(NamedTuple):
    """What a table gives: captions by image, how many rows and captions are set aside, and the notes."""

    captions: dict[str, list[str]]
    rows: int
    texts: int
    notes: list[str]


def read(name: str, content: bytes, **options: Any) -> Read:  # noqa: ANN401
    fsspec.filesystem("memory").pipe_file(f"/properties/{name}", content)
    aside = SetAside()
    source = TableSource.model_validate({"path": f"memory://properties/{name}", **options})
    rows = read_rows(source, aside).to_pylist()
    counts = aside.counts()
    captions = {row["image_id"]: row["captions"] for row in rows}
    return Read(captions, counts.get("row", 0), counts.get("caption", 0), aside.notes)


def names(texts: list[str]) -> list[str]:
    return [f"{number:03d}.jpg" for number in range(len(texts))]


def as_csv(texts: list[str], delimiter: str = ",", quoting: Any = csv.QUOTE_MINIMAL) -> bytes:  # noqa: ANN401
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\r\n")
    writer.writerows([("image", "caption"), *zip(names(texts), texts, strict=True)])
    return text.getvalue().encode()


def as_tsv(texts: list[str]) -> bytes:
    """As people write one: texts as they are."""
    rows = [("image", "caption"), *zip(names(texts), texts, strict=True)]
    return "".join(f"{name}\t{text}\n" for name, text in rows).encode()


def as_jsonl(texts: list[str]) -> bytes:
    rows = zip(names(texts), texts, strict=True)
    return "".join(
        json.dumps({"image": name, "caption": text}, ensure_ascii=len(text) % 2 == 0) + "\n" for name, text in rows
    ).encode()


def as_parquet(texts: list[str]) -> bytes:
    return parquet(names(texts), texts)


def parquet(images: list[Any], captions: list[Any]) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"image": pa.array(images, pa.binary()), "caption": pa.array(captions, pa.binary())})
    pyarrow.parquet.write_table(table, sink, row_group_size=3)
    return sink.getvalue()


def quoted_tsv(texts: list[str]) -> bytes:
    return as_csv(texts, "\t")


def all_quoted(texts: list[str]) -> bytes:
    return as_csv(texts, quoting=csv.QUOTE_ALL)


def semicolons(texts: list[str]) -> bytes:
    return as_csv(texts, ";")


Write = Callable[[list[str]], bytes]
WRITERS: dict[str, tuple[str, Write, dict[str, Any]]] = {
    "csv": ("t.csv", as_csv, {}),
    "csv, all quoted": ("t.csv", all_quoted, {}),
    "csv, semicolons": ("t.csv", semicolons, {"csv": {"delimiter": ";"}}),
    "tsv": ("t.tsv", as_tsv, {}),
    "tsv, quoted": ("t.tsv", quoted_tsv, {}),
    "jsonl": ("t.jsonl", as_jsonl, {}),
    "parquet": ("t.parquet", as_parquet, {}),
}


def fits(kind: str, text: str) -> bool:
    """Whether a text can be written in a format without a doubt: in a TSV, where quoting is no rule, some cannot."""
    if kind == "tsv, quoted":
        return not ("\t" in text and set("\n\r").intersection(text))
    if kind != "tsv":
        return True
    return not set("\t\n\r").intersection(text) and not (text[:1] == '"' == text[-1:] and '""' in text[1:-1])


@pytest.mark.parametrize("kind", WRITERS)
@quickly
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_what_is_written_is_read(kind: str, texts: list[str]) -> None:
    assume(all(fits(kind, text) for text in texts))
    name, write, options = WRITERS[kind]
    wanted = {name: [text] for name, text in zip(names(texts), texts, strict=True)}
    assert read(name, write(texts), **options) == Read(wanted, 0, 0, [])


class Change(NamedTuple):
    """A mutation of one line: bytes that stand in the place of some."""

    row: int
    place: float
    removed: int
    added: bytes


CHANGES = st.builds(
    Change,
    st.integers(0, 5),
    st.floats(0, 1),
    st.integers(0, 3),
    st.one_of(
        st.sampled_from(
            [
                b'"',
                b'""',
                b",",
                b"\t",
                b";",
                b"\\",
                b"\xff",
                b"\xe9",
                b"\0",
                b"",
                b" ",
                b"{",
                b"\\ud83d",
                b"htp://",
                b"data:,",
            ]
        ),
        LINES.map(str.encode),
        st.just(b"x" * 300),
    ),
)


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "parquet"])
@quickly
@given(texts=st.lists(LINES, min_size=1, max_size=6), change=CHANGES)
def test_one_changed_line_costs_no_other_row(kind: str, texts: list[str], change: Change) -> None:
    assume(all(fits(kind, text) and (kind != "tsv" or text[:1] != '"') for text in texts))
    name, write, options = WRITERS[kind]
    lines = write(texts).removesuffix(b"\n").split(b"\n")
    first = len(lines) - len(texts)  # a header
    at = first + change.row % len(texts)
    place = int(change.place * len(lines[at]))
    lines[at] = lines[at][:place] + change.added + lines[at][place + change.removed :]
    assume(lines[at].strip())  # an empty line is no row
    try:
        found = read(name, b"\n".join(lines) + b"\n", **options)
    except UserError:
        assert len(texts) == 1  # nothing is left
        return
    others = {
        one: text for number, (one, text) in enumerate(zip(names(texts), texts, strict=True)) if first + number != at
    }
    for one, text in others.items():
        assert text in found.captions[one]
    read_rows = sum(map(len, found.captions.values()))
    assert read_rows + found.rows + found.texts == len(texts)


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv, all quoted"])
@quickly
@given(texts=st.lists(LINES, min_size=1, max_size=6), change=CHANGES)
def test_a_changed_header_is_refused_or_changes_nothing(kind: str, texts: list[str], change: Change) -> None:
    assume(all(fits(kind, text) for text in texts))
    name, write, options = WRITERS[kind]
    header, _, rest = write(texts).partition(b"\n")
    place = int(change.place * len(header))
    header = header[:place] + change.added + header[place + change.removed :]
    assume(header.strip())
    try:
        found = read(name, header + b"\n" + rest, **options)
    except UserError:
        return
    if not found.captions:  # a plan refuses that
        assert found.rows == len(texts)
        return
    wanted = {name: [text.lstrip(" ") if found.notes else text] for name, text in zip(names(texts), texts, strict=True)}
    assert (found.captions, found.rows) == (wanted, 0)


BAD_IMAGES = st.sampled_from(
    [
        None,
        b"",
        b" ",
        b"\xff",
        b"a\0b",
        b"x" * 300,
        b"htp://x",
        b"data:,x",
        b"http://",
        "\ud83d".encode("utf-8", "surrogatepass"),
    ]
)
BAD_CAPTIONS = st.sampled_from([b"\xff\xfe", "\ud83d".encode("utf-8", "surrogatepass")])


@quickly
@given(
    texts=st.lists(TEXTS, min_size=2, max_size=9),
    row=st.integers(0, 8),
    bad=st.one_of(BAD_IMAGES.map(lambda one: (one, True)), BAD_CAPTIONS.map(lambda one: (one, False))),
)
def test_one_bad_cell_of_a_parquet_costs_itself_alone(
    texts: list[str], row: int, bad: tuple[bytes | None, bool]
) -> None:
    images: list[Any] = list(names(texts))
    captions: list[Any] = list(texts)
    (value, is_image), row = bad, row % len(texts)
    (images if is_image else captions)[row] = value
    found = read("t.parquet", parquet(images, captions))
    wanted = {name: [text] for name, text in zip(names(texts), texts, strict=True)}
    if is_image:
        del wanted[names(texts)[row]]
    else:
        wanted[names(texts)[row]] = []
    assert found == Read(wanted, int(is_image), int(not is_image), [])
