"""Records of a CSV or TSV: lines as cells, where quote marks are taken as they are meant, or the record is told."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stages.common import SampleError

_LONGEST_CELL = 1 << 24
_PHOTO = re.compile(r"https?://\S+|\S.*\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written.

    Attributes:
        quote: None if no quote mark has a meaning.
        as_it_stands: a cell keeps its quote marks unless they must be there: in a TSV quoting is no rule.
        skips_spaces: spaces at a cell's beginning are no part of it.
    """

    delimiter: str
    quote: str | None
    escape: str | None
    as_it_stands: bool = False
    skips_spaces: bool = False

    def split(self, line: str) -> list[str]:
        """The cells of a line in which no quote mark has a meaning."""
        cells = line.rstrip("\r\n").split(self.delimiter)
        return [cell.lstrip(" ") for cell in cells] if self.skips_spaces else cells


@dataclass(frozen=True, slots=True)
class Shape:
    """What a record looks like: how many cells it has, and which of them, from 0, names a photo."""

    width: int
    image: int


class Lines:
    """Lines of a file, with their numbers from 1; some may be given back, to be read again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._back = iter(lines), deque[str]()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.number += 1
        return line

    def give_back(self, lines: list[str]) -> None:
        """Takes back the lines that were read last."""
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)


def names_photo(cell: str) -> bool:
    """Whether a cell looks like a photo's path or URL."""
    return _PHOTO.fullmatch(cell.strip(' "')) is not None


def read_records(
    lines: Lines, dialect: Dialect, shape: Shape | None = None
) -> Iterator[tuple[int, list[str] | SampleError]]:
    """Each record's line and its cells, or the line on which it is broken and why; the next line is read on.

    Args:
        lines: where to read.
        dialect: how it is written.
        shape: of a record, where it is known: it shows a quote mark that was never closed and swallows other records.
    """
    csv.field_size_limit(_LONGEST_CELL)
    signs = [sign for sign in (dialect.quote, dialect.escape) if sign]
    for line in lines:
        number, plain = lines.number, dialect.split(line)
        stands = dialect.as_it_stands and shape is not None and len(plain) == shape.width
        if not any(sign in line for sign in signs) or (stands and not _may_be_quoted(plain, dialect)):
            yield number, plain
            continue
        held = [line]
        found = _parsed(held, lines, dialect, shape)
        if isinstance(found, list):
            yield number, found
        elif stands:
            lines.give_back(held[1:])
            yield number, plain
        else:
            opens = found
            lines.give_back(held[opens + 1 :])
            yield number + opens, _broken(held[opens], dialect)


def _may_be_quoted(cells: list[str], dialect: Dialect) -> bool:
    """Whether a cell needs its quote marks: it holds others, doubled, or an end of a line, or goes on behind one."""
    mark = dialect.quote or ""
    opened = [cell[1:] for cell in cells if cell[:1] == mark]
    return any(cell[-1:] != mark or mark * 2 in cell[:-1] or "\r" in cell for cell in opened)


def _parsed(held: list[str], lines: Lines, dialect: Dialect, shape: Shape | None) -> list[str] | int:
    """A record with quote marks in it, over as many lines as it takes, or on which of them one is not closed, from 0.

    Args:
        held: its first line; gets the others.
        lines: where they come from.
        dialect: how they are written.
        shape: of a record.
    """

    def feed() -> Iterator[str]:
        yield held[0]
        for line in lines:
            if shape and (dialect.quote or "") not in line and _is_record(dialect.split(line), dialect, shape):
                lines.give_back([line])
                return
            held.append(line)
            yield line

    reader = csv.reader(
        feed(),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape,
        skipinitialspace=dialect.skips_spaces,
        strict=True,
    )
    try:
        cells = next(reader)
    except csv.Error:
        return _last_opening(held, dialect)
    column = _swallowing(cells, dialect, shape) if shape and len(held) > 1 else None
    return cells if column is None else sum(cell.count("\n") for cell in cells[:column])


def _is_record(cells: list[str], dialect: Dialect, shape: Shape) -> bool:
    return len(cells) == shape.width and (dialect.as_it_stands or names_photo(cells[shape.image]))


def _swallowing(cells: list[str], dialect: Dialect, shape: Shape) -> int | None:
    """The cell of several lines that holds another record's photo: its quote mark was closed by that record's."""
    for column, cell in enumerate(cells):
        first, *others = (dialect.split(line) for line in cell.splitlines() or [""])
        ahead = shape.image - column
        if others and 0 < ahead < len(first) and names_photo(first[ahead]):
            return column
        names = [other[shape.image].strip() for other in others if len(other) > max(1, shape.image)]
        if any(names if dialect.as_it_stands else map(names_photo, names)):
            return column
    return None


def _broken(line: str, dialect: Dialect) -> SampleError:
    """What is wrong with the line on which a record is broken."""
    if len(line) > _LONGEST_CELL:
        return SampleError("bad_cells", f"a cell in quotes has more than {_LONGEST_CELL:,} characters")
    mark = dialect.quote or ""
    if not dialect.escape and f"\\{mark}" in line:
        remedy = "backslashes stand before quote marks: set source.csv.escape: \\"
    else:
        remedy = f"inside quotes a mark is written twice ({mark * 2}); if it has no meaning, set source.csv.quote: ''"
    told = "a quote mark opens a cell here and is not closed before the next separator"
    return SampleError("bad_quotes", f"{told}; {remedy}")


def _last_opening(held: list[str], dialect: Dialect) -> int:
    """Which of a record's lines has the quote mark that is not closed, from 0."""
    if not dialect.quote:
        return 0
    quote, delimiter, escape = (re.escape(sign or "") for sign in (dialect.quote, dialect.delimiter, dialect.escape))
    opening = (" *" if dialect.skips_spaces else "") + quote
    inside = f"[^{quote}{escape}]++|{quote}{quote}" + (f"|{escape}." if escape else "")
    opened = re.compile(opening)
    closed = re.compile(rf"{opening}(?:{inside})*+{quote}(?=[{delimiter}\r\n]|\Z)", re.DOTALL)
    plain = re.compile(rf"[^{delimiter}\r\n]*+")
    text, place = "".join(held), 0
    while found := (closed if opened.match(text, place) else plain).match(text, place):
        if found.end() >= len(text):
            break
        place = found.end() + 1
    return min(text.count("\n", 0, place), len(held) - 1)
