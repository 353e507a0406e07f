"""What a plan sets aside: rows, annotations and parts of shards that are bad, each alone, with name and reason."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from stages.common import Folder

Item = Literal["image", "caption", "row", "annotation", "shard"]
SET_ASIDE = pa.schema(
    [
        ("item", pa.string()),
        ("image_id", pa.string()),
        ("file", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)
"""One row per thing that is set aside; the quarantine table's columns of these names."""
SET_ASIDE_ROWS = ".maskmine/set_aside.arrow"
STAGE = "plan"
"""The quarantine table's stage of what a plan sets aside."""


@dataclass(slots=True)
class SetAside:
    """Collects what a source cannot use; the rest of the source goes on.

    Attributes:
        notes: what a user should know that loses nothing, a sentence each.
    """

    notes: list[str] = field(default_factory=list)
    _rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(self, item: Item, file: str, reason: str, message: str, image_id: str = "") -> None:
        """Sets one thing aside.

        Args:
            item: what it is.
            file: file or URL that it stands in, as the user named it.
            reason: short stable code in snake_case.
            message: where it stands (line, row, byte, key), what was found and what was expected.
            image_id: of its image, where it has one.
        """
        told = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", message[:_MESSAGE_CHARS])
        self._rows.append((item, _text(image_id), _text(file), reason, _text(told)))

    def note(self, sentence: str) -> None:
        """Tells the user something, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def counts(self) -> dict[str, int]:
        """How many of each item."""
        return dict(sorted(Counter(row[0] for row in self._rows).items()))

    def reasons(self) -> dict[tuple[str, str], int]:
        """How many of each item and reason, most first."""
        return dict(Counter((row[0], row[3]) for row in self._rows).most_common())

    def examples(self) -> dict[tuple[str, str], str]:
        """The first message of each item and reason, after its file, in the order in which they were found."""
        found: dict[tuple[str, str], str] = {}
        for item, _, file, reason, message in self._rows:
            if (item, reason) not in found:
                found[item, reason] = f"{file}: {message}"
        return found

    def table(self) -> pa.Table:
        """All of it, in the order in which it was found (schema SET_ASIDE)."""
        columns: list[Any] = list(zip(*self._rows, strict=True)) or [()] * len(SET_ASIDE)
        return pa.table([pa.array(column, pa.string()) for column in columns], schema=SET_ASIDE)

    def write(self, store: Folder) -> None:
        """Puts it into a build's folder, as Arrow IPC."""
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, SET_ASIDE) as writer:
            writer.write_table(self.table())
        store.write(SET_ASIDE_ROWS, buffer.getvalue().to_pybytes())


def read_set_aside(store: Folder) -> pa.Table:
    """What the plan of a build set aside (schema SET_ASIDE)."""
    with pa.ipc.open_file(pa.BufferReader(store.read(SET_ASIDE_ROWS))) as reader:
        return reader.read_all()


_MESSAGE_CHARS = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a terminal may take for a command."""


def _text(value: str) -> str:
    """What Arrow and JSON can hold: a lone surrogate is written as its escape."""
    return value.encode("utf-8", errors="backslashreplace").decode("utf-8")
