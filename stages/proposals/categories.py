"""The categories of a COCO file: names of their ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.common import clean_name, escaped
from stages.proposals.coco_values import id_text

_SHOWN = 3


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
            notes.append(f"{path}: category ids with two names, of which the last is taken: {_some(listed)}")
        unknown = ids.filter(pc.and_(pc.is_null(labels), pc.is_valid(ids)))
        nameless = list(dict.fromkeys([*self.nameless, *pc.unique(unknown).to_pylist()]))
        if nameless and (must_have_names or self.names):
            count = f"{len(unknown):,} mask{'s' * (len(unknown) != 1)}"
            notes.append(f"{path}: categories without a name, and {count} of theirs without a label: {_some(nameless)}")
        return rows, notes


def name_of(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """A category's name: a text that is not empty, or a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return clean_name(escaped(str(value))) or None


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
