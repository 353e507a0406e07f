"""JSON lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.sources.config import TableSource
from pipeline.sources.tables.rows import Cells, Problems, shown
from pipeline.sources.tables.text import open_text, undecoded


def read_json_lines(source: TableSource, problems: Problems) -> Iterator[Cells]:
    """The rows of a file; a line that is no JSON object is set aside.

    Raises:
        UserError: it is no text, no file of lines, or not one line has a column that is asked for.
        OSError: it cannot be read.
    """
    names = [problems.columns.get(role) for role in ("image", "caption", "id", "license")]
    missing = {name for name in names if name is not None}
    keys: list[str] = []
    first = ""
    with open_text(problems, source.encoding) as lines:
        for number, line in enumerate(lines, start=1):
            if line.isspace():
                continue
            first = first or line
            try:
                values = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                values = f"{error.msg} (character {error.pos + 1})"
            except (ValueError, RecursionError) as error:
                values = str(error)
            if not isinstance(values, dict):
                told = values if isinstance(values, str) else "found something else"
                problems.row(number, "bad_json", f"expected a JSON object, {told}: {shown(line.strip())}")
                continue
            keys = keys or list(values)
            missing -= values.keys()
            cells = [None if name is None else values.get(name) for name in names]
            if undecoded(line, source.encoding) and (found := undecoded(_text(cells), source.encoding)):
                problems.row(number, "bad_encoding", found)
                continue
            yield Cells(number, *cells)
    if not first:
        problems.empty()
    if not keys and first.lstrip().startswith("["):
        raise problems.refused("is one JSON list, expected an object a line; jq -c '.[]' makes lines of it")
    if missing and keys:
        raise problems.no_column(min(missing), keys)


def _text(cells: list[object]) -> str:
    return json.dumps(cells, ensure_ascii=False)
