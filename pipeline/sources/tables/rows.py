"""Rows of a table of any format: what their cells hold becomes texts; what is no text is set aside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.sources.set_aside import SetAside
from stages.common import WEB, SampleError, UserError

ROW = pa.schema(
    [
        ("line", pa.int64()),
        ("image", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("id", pa.string()),
        ("license", pa.string()),
        ("row", pa.int64()),
    ]
)
"""One row of a table: Cells whose texts are texts."""
_CHUNK_ROWS = 1 << 16
_SHOWN_CHARS = 60
_MOST_OF_ID = 255
_KINDS = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list", str: "a text"}


class Cells(NamedTuple):
    """What a row's wanted columns hold, as parsed; None where a column is not asked for, or has nothing.

    Attributes:
        line: where the row stands, from 1.
        caption: a text, or a list of texts.
        row: the row's number from 0, if it holds the picture itself.
    """

    line: int
    image: Any
    caption: Any
    id: Any
    license: Any
    row: int | None = None


@dataclass(slots=True)
class Problems:
    """Tells what is wrong in one table, by the place where it stands.

    Attributes:
        file: the table.
        columns: role of a column (image, caption, id, license) -> its name.
        is_alone: whether the source has no other table.
    """

    aside: SetAside
    file: str
    columns: dict[str, str]
    is_alone: bool = True

    @property
    def ending(self) -> str:
        """Of the table's name, in lower case: what it is when it is unpacked."""
        name = self.file.partition("?")[0] if self.file.startswith(WEB) else self.file
        return "." + name.rpartition("/")[2].lower().removesuffix(".gz").rpartition(".")[2]

    @property
    def place(self) -> str:
        """What its rows are counted in."""
        return "row" if self.ending == ".parquet" else "line"

    @property
    def name(self) -> str:
        """Of the table, without its folder, which is no part of a build's identity."""
        return self.file.rpartition("/")[2]

    def empty(self) -> None:
        """Tells that the file holds nothing.

        Raises:
            UserError: it is the only one.
        """
        if self.is_alone:
            raise self.refused("is empty")
        self.aside.note(f"{self.name} is empty")

    def row(self, line: int, reason: str, message: str) -> None:
        """Sets a row aside."""
        self.aside.add("row", self.name, reason, f"{self.place} {line}: {message}")

    def caption(self, line: int, image: str, message: str) -> None:
        """Sets one caption of a row aside."""
        self.aside.add("caption", self.name, "bad_caption", f"{self.place} {line}: {message}", image)

    def no_column(self, name: str, names: Sequence[str], advice: str = "") -> UserError:
        """An error that stops the plan: a column is not there."""
        advice = advice or "Set source.columns.image and source.columns.caption."
        return self.refused(f"no column {name!r}; it has {', '.join(map(shown, names))}. {advice}")

    def refused(self, message: str) -> UserError:
        """An error that stops the plan: the table as a whole cannot be read."""
        return UserError(f"source.path: {self.file}: {message}")


def arrow_rows(rows: Iterable[Cells], problems: Problems) -> Iterator[pa.Table]:
    """Rows as Arrow (schema ROW), some ten thousand at a time; cell by cell only where one is no plain text."""
    rest = iter(rows)
    while chunk := list(islice(rest, _CHUNK_ROWS)):
        try:
            yield _as_arrow(chunk)
        except (pa.ArrowException, UnicodeError, OverflowError):
            yield _as_arrow([clean for cells in chunk if (clean := _cleaned(cells, problems)) is not None])


def shown(value: object) -> str:
    """The beginning of a value, for a message."""
    text = str(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def _as_arrow(chunk: list[Cells]) -> pa.Table:
    """
    Raises:
        pa.ArrowException, UnicodeError, OverflowError: a cell needs a look.
    """
    lines, images, captions, ids, licenses, rows = zip(*chunk, strict=True) if chunk else [()] * len(ROW)
    if captions and isinstance(captions[0], list):
        lists = pa.array(captions, pa.list_(pa.string()))
        if lists.null_count or lists.values.null_count:
            raise pa.ArrowInvalid("a caption is null")
    else:
        texts = pa.array(captions, pa.string()).fill_null("")
        lists = pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), texts)
    names = [pa.array(images, pa.string()), lists, _numbers_or_texts(ids), _numbers_or_texts(licenses)]
    return pa.table([pa.array(lines, pa.int64()), *names, pa.array(rows, pa.int64())], ROW)


def _numbers_or_texts(values: tuple[Any, ...]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:
        return pa.array(values, pa.int64()).cast(pa.string())


def _cleaned(cells: Cells, problems: Problems) -> Cells | None:
    """The row with texts alone, and a list of captions; None if it is set aside."""
    try:
        image = (
            None
            if cells.image is None
            else _text(cells.image, "bad_name" if isinstance(cells.image, str) else "no_image")
        )
    except SampleError as error:
        problems.row(cells.line, error.reason, f"column {problems.columns['image']!r} {error.message}")
        return None
    try:
        image_id = None if cells.id is None else _text(_number_as_text(cells.id), "no_id")
    except SampleError as error:
        problems.row(cells.line, error.reason, f"column {problems.columns['id']!r} {error.message}")
        return None
    captions = []
    for caption in cells.caption if isinstance(cells.caption, list) else [cells.caption]:
        try:
            captions.append("" if caption is None else _text(caption, "bad_caption"))
        except SampleError as error:
            problems.caption(
                cells.line,
                (image_id or image or "")[:_MOST_OF_ID],
                f"column {problems.columns['caption']!r} {error.message}",
            )
    return cells._replace(image=image, caption=captions, id=image_id, license=_any_text(cells.license))


def _text(value: Any, reason: str) -> str:  # noqa: ANN401 - any JSON value
    """The value, which must be a text.

    Raises:
        SampleError: of the given reason; its message goes on after the column's name.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise SampleError("bad_encoding", f"holds what is no UTF-8: {error}") from error
    if not isinstance(value, str):
        kind = _KINDS.get(type(value), type(value).__name__)
        raise SampleError(reason, f"holds {kind}, expected a text: {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise SampleError(reason, f"holds half of a character ({half} at {error.start}), which is no text") from error
    return value


def _number_as_text(value: Any) -> Any:  # noqa: ANN401
    """1, 1.0 and "1" are the same id; NaN and infinity are none."""
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool) or not math.isfinite(value):
        return value
    return str(int(value) if value == int(value) else value)


def _any_text(value: Any) -> str | None:  # noqa: ANN401
    """A licence, which costs no row whatever it is."""
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    return None if text is None else str(text).encode(errors="backslashreplace").decode()
