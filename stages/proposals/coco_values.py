"""Values and categories in COCO's files as people have them: read where they mean one thing, else set aside."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from stages.common import SampleError, clean_name, escaped, some

_SHOWN = 3
_FLAGS = {"0": False, "false": False, "no": False, "": False, "1": True, "true": True, "yes": True}
_LARGEST = 2**31 - 1


class Aside(Protocol):
    """Takes what cannot be used; a plan writes it into a table, an evaluation counts it."""

    def add(
        self, item: Literal["image", "annotation"], file: str, reason: str, message: str, image_id: str = ""
    ) -> None:
        """Sets one entry aside, by its file, a reason in snake_case, and where it stands and what was expected."""

    def note(self, sentence: str) -> None:
        """Tells what loses nothing."""


def entry_of(value: Any, reason: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """An element of a list as the object that it must be.

    Raises:
        SampleError: with `reason`.
    """
    if not isinstance(value, dict):
        raise SampleError(reason, f"expected an object, got {shown(value)}")
    return value


def place_of(key: str, index: int, value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Where an entry stands, for messages: ``annotations[2] (id 7)``."""
    own = id_text(value.get("id")) if isinstance(value, dict) else None
    return f"{key}[{index}]" + (f" (id {own})" if own is not None else "")


def id_text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """An id as text, by which ids are compared: 2, 2.0 and "2" are one. None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    if isinstance(value, str) and value.strip() and is_text(value):
        return value.strip()
    return None


def required_id(entry: dict[str, Any], key: str, reason: str) -> str:
    """An id that an entry must have.

    Raises:
        SampleError: with `reason`.
    """
    found = id_text(entry.get(key))
    if found is None:
        has = f"got {shown(entry[key])}" if key in entry else f"it has {', '.join(map(shown, entry)) or 'no key'}"
        raise SampleError(reason, f"expected a whole number or a text as {key!r}; {has}")
    return found


def whole_number(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    """A count of pixels: 480, 480.0 and "480" are one. None for what is no number from 1 on."""
    text = id_text(value)
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > len(str(_LARGEST)):
        return None
    number = int(text)
    return number if 0 < number <= _LARGEST else None


def number_of(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    """A finite number, given as such or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def flag(value: Any, key: str, reason: str) -> bool:  # noqa: ANN401 - any JSON value
    """Yes or no: 0 or 1, true or false, as numbers or texts; null is no.

    Raises:
        SampleError: it is something else; with `reason`.
    """
    text = str(value).strip().lower() if isinstance(value, str | bool) else id_text(value)
    if value is not None and text not in _FLAGS:
        raise SampleError(reason, f"expected 0 or 1 as {key!r}, got {shown(value)}")
    return value is not None and _FLAGS[str(text)]


def is_text(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether it is a text that a file can hold: JSON can also spell half a character (a lone surrogate)."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A value for a message: short."""
    text = escaped(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(slots=True)
class Categories:
    """Names of ids; an id without a name names nothing, of two names of an id the later one holds, as in pycocotools.

    Attributes:
        names: id -> name.
        nameless: ids, or entries without an id, that the list has without a name.
        two_names: id -> both.
    """

    names: dict[str, str] = field(default_factory=dict)
    nameless: list[str] = field(default_factory=list)
    two_names: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, value: Any) -> str | None:  # noqa: ANN401 - any JSON value
        """Takes an element of the list; gives its name, None if it has none."""
        entry = value if isinstance(value, dict) else {}
        own, name = id_text(entry.get("id")), name_of(entry.get("name"))
        if own is None or name is None:
            self.nameless.append(own or "an entry without 'id'")
            return None
        before = self.names.get(own, name)
        if before != name:
            self.two_names[own] = (before, name)
        self.names[own] = name
        return name

    def named(self, rows: pa.Table, path: str, must_have_names: bool) -> tuple[pa.Table, list[str]]:
        """Fills in labels by category id; categories may stand after the annotations in the file.

        Args:
            rows: with the columns ``label`` and ``category_id``.
            path: of the file, for the notes.
            must_have_names: whether the file is expected to name every id; else only one that names any.

        Returns:
            The rows, and what a person should know, a sentence each.
        """
        ids = rows["category_id"]
        positions = pc.index_in(ids, value_set=pa.array(list(self.names), pa.string()))
        labels = pc.take(pa.array(list(self.names.values()), pa.string()), positions)
        labels = pc.coalesce(rows["label"], labels)
        rows = rows.set_column(rows.schema.get_field_index("label"), "label", labels)
        notes = []
        if self.two_names:
            listed = [f"{own}: {first!r} and {last!r}" for own, (first, last) in self.two_names.items()]
            notes.append(f"{path}: category ids with two names, of which the last is taken: {some(listed, _SHOWN)}")
        unknown = ids.filter(pc.and_(pc.is_null(labels), pc.is_valid(ids)))
        nameless = list(dict.fromkeys([*self.nameless, *pc.unique(unknown).to_pylist()]))
        if nameless and (must_have_names or self.names):
            count = f"{len(unknown):,} mask{'s' * (len(unknown) != 1)}"
            notes.append(
                f"{path}: categories without a name, and {count} of theirs without a label: {some(nameless, _SHOWN)}"
            )
        return rows, notes


def name_of(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """A category's name: a text that is not empty, or a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return clean_name(escaped(str(value))) or None
