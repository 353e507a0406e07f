"""Names and ids of photos in a table, column by column: most need no look."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.names import MOST_BYTES_OF_PART, NEEDS_A_LOOK, base_of, normal_name
from pipeline.sources.tables.rows import Problems
from stages.common import SampleError

_WEB = r"^https?://[A-Za-z0-9.-]+(:\d{1,4})?([/?#]|$)"


def with_names(rows: pa.Table, problems: Problems, root: str) -> pa.Table:
    """Rows whose photo has a name that a file can have, spelled in one way, and whose id is there if it is asked for.

    Args:
        rows: of a table (schema ROW).
        problems: gets the other rows.
        root: folder or URL that names are relative to.
    """
    names = rows["image"].fill_null("")
    base = base_of(root)
    if base and pc.any(pc.or_(pc.starts_with(names, base), pc.starts_with(names, "file://"))).as_py():
        names = pc.replace_substring_regex(names, f"^(file://)?{re.escape(base)}/*", "")
        named = pc.if_else(rows["image"].is_valid(), names, None)
        rows = rows.set_column(rows.schema.get_field_index("image"), rows.schema.field("image"), named)
    is_odd = pc.and_not(pc.match_substring_regex(names, NEEDS_A_LOOK), pc.match_substring_regex(names, _WEB))
    is_odd = pc.or_(is_odd, pc.greater(pc.binary_length(names), MOST_BYTES_OF_PART))
    is_odd = pc.and_(pc.or_(is_odd, pc.match_substring(names, "\0")), rows["row"].is_null())
    if pc.any(is_odd).as_py():
        rows = _looked_at(rows, is_odd.combine_chunks(), problems, root)
    if "id" in problems.columns:
        trimmed = pc.utf8_trim_whitespace(rows["id"])
        rows = rows.set_column(rows.schema.get_field_index("id"), rows.schema.field("id"), trimmed)
        is_empty = pc.equal(rows["id"].fill_null(""), "")
        for line in rows["line"].filter(is_empty).to_pylist():
            problems.row(line, "no_id", f"column {problems.columns['id']!r} is empty")
        rows = rows.filter(pc.invert(is_empty))
    return rows


def _looked_at(rows: pa.Table, is_odd: pa.BooleanArray, problems: Problems, root: str) -> pa.Table:
    """Rows with the odd ones of their names made plain, or left out."""
    odd = rows.filter(is_odd)
    names: list[str | None] = []
    for line, name in zip(odd["line"].to_pylist(), odd["image"].to_pylist(), strict=True):
        try:
            if not name or name.isspace():
                raise SampleError("no_image", f"column {problems.columns['image']!r} is empty")
            names.append(normal_name(name, root))
        except SampleError as error:
            names.append(None)
            problems.row(line, error.reason, error.message)
    image = pc.replace_with_mask(rows["image"].combine_chunks(), is_odd, pa.array(names, pa.string()))
    rows = rows.set_column(rows.schema.get_field_index("image"), rows.schema.field("image"), image)
    return rows.filter(pc.or_(rows["row"].is_valid(), image.is_valid()))
