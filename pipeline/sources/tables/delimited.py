"""CSV and TSV: which cell of a record is in which column."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from pipeline.sources.config import TableSource
from pipeline.sources.tables.records import Dialect, Lines, Shape, names_photo, read_records
from pipeline.sources.tables.rows import Cells, Problems, shown
from pipeline.sources.tables.text import open_text, undecoded
from stages.common import SampleError

_DELIMITERS = ",;\t|"
_SEPARATOR_TOLD = re.compile(r'"?sep=([^"\r\n])"?[\r\n ]*', re.IGNORECASE)


def read_delimited(source: TableSource, problems: Problems) -> Iterator[Cells]:
    """The rows of a file; a record that is broken, or has another number of cells than the first, is set aside.

    Raises:
        UserError: it is no text, or has no such columns.
        OSError: it cannot be read.
    """
    with open_text(problems, source.encoding) as text:
        lines = Lines(text)
        first, told = _first_line(lines)
        if not first:
            problems.empty()
            return
        lines.give_back([first])
        dialect = _dialect(first, told, source, problems)
        names = _header(lines, dialect, problems) if source.csv.header else _numbers(first, dialect)
        places = _places(names, dialect, source, problems)
        for line, cells in read_records(lines, dialect, Shape(len(names), places["image"])):
            if isinstance(cells, SampleError):
                problems.row(line, cells.reason, cells.message)
            elif len(cells) != len(names) and not any(cell.strip() for cell in cells):
                continue  # an empty line
            elif source.csv.header and [cell.strip() for cell in cells] == names:
                problems.row(line, "repeated_header", "the header stands here again; what was joined is read on")
            elif len(cells) < len(names) or any(cells[len(names) :]):
                problems.row(line, "bad_cells", _miscounted(cells, len(names), dialect))
            else:
                wanted = [cells[places[role]] if role in places else None for role in Cells._fields[1:5]]
                if found := undecoded("".join(cell or "" for cell in wanted), source.encoding):
                    problems.row(line, "bad_encoding", found)
                else:
                    yield Cells(line, wanted[0], wanted[1], wanted[2], wanted[3])


def _first_line(lines: Lines) -> tuple[str, str | None]:
    """The first line that is not blank, and the separator that a line before it tells, as Excel writes it."""
    told: str | None = None
    for line in lines:
        if found := _SEPARATOR_TOLD.fullmatch(line):
            told = found[1]
        elif line.strip("\r\n "):
            return line, told
    return "", told


def _miscounted(cells: list[str], expected: int, dialect: Dialect) -> str:
    told = f"{len(cells)} cells, expected {expected}: {shown(dialect.delimiter.join(cells))!r}"
    if len(cells) < expected:
        return f"{told}; the line ends too early, or a separator is missing"
    mark = "'"
    if any(cell.startswith(mark) for cell in cells) and any(cell.rstrip().endswith(mark) for cell in cells):
        return f'{told}; if {mark} stands around texts, set source.csv.quote: "{mark}"'
    return f"{told}; a text with {dialect.delimiter!r} in it must stand in quotes"


def _dialect(first: str, told: str | None, source: TableSource, problems: Problems) -> Dialect:
    """What the manifest says of the file, and what its first line shows."""
    asked, is_tsv = source.csv, problems.ending == ".tsv"
    delimiter = asked.delimiter or told or ("\t" if is_tsv else ",")
    quote = '"' if asked.quote is None else asked.quote or None
    cells = first.rstrip("\r\n").split(delimiter)
    all_quoted = all(len(cell) > 1 and cell[0] == quote == cell[-1] for cell in cells)
    has_spaces = asked.header and any(cell.startswith(" ") for cell in cells[1:])
    if has_spaces:
        problems.aside.note(
            f"{problems.name}: spaces stand behind the separators of its header, so those that begin a cell are left "
            "out."
        )
    return Dialect(delimiter, quote, asked.escape, is_tsv and asked.quote is None and not all_quoted, has_spaces)


def _header(lines: Lines, dialect: Dialect, problems: Problems) -> list[str]:
    _, names = next(read_records(lines, dialect))
    if isinstance(names, SampleError):
        raise problems.refused(names.message)
    return [name.strip() for name in names]


def _numbers(first: str, dialect: Dialect) -> list[str]:
    """Names of the columns of a file without a header: their numbers."""
    if dialect.as_it_stands or not dialect.quote:
        cells = dialect.split(first)
    else:
        cells = next(
            csv.reader([first], delimiter=dialect.delimiter, quotechar=dialect.quote, escapechar=dialect.escape)
        )
    return [str(number) for number in range(1, len(cells) + 1)]


def _places(names: Sequence[str], dialect: Dialect, source: TableSource, problems: Problems) -> dict[str, int]:
    """Role -> index of its column.

    Raises:
        UserError: there is no such column, or more than one.
    """
    columns = problems.columns
    if missing := [name for name in columns.values() if name not in names]:
        raise problems.no_column(missing[0], names, _advice(names, dialect, source))
    if twice := [name for name in columns.values() if names.count(name) > 1]:
        raise problems.refused(f"more than one column {twice[0]!r}")
    return {role: names.index(name) for role, name in columns.items()}


def _advice(names: Sequence[str], dialect: Dialect, source: TableSource) -> str:
    """What may be wrong where a column is not there."""
    line = dialect.delimiter.join(names)
    others = [sign for sign in _DELIMITERS if sign in line and sign != dialect.delimiter]
    if others and len(names) < 3:
        return f"The separator looks like {others[0]!r}: set source.csv.delimiter."
    if not source.csv.header:
        return "Without a header a column's name is its number, from 1: set source.columns.image and the others to it."
    photos = [number for number, name in enumerate(names, start=1) if names_photo(name)]
    if photos:
        return (
            "Its first line looks like a row: for a file without a header set source.csv.header: false and "
            f"source.columns.image: {photos[0]}, and source.columns.caption to a number, too."
        )
    return ""
