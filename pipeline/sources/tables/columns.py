"""Columns of a Parquet file, by name or, inside a struct, by names with dots."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def type_of(schema: pa.Schema, name: str) -> Any | None:  # noqa: ANN401 - pyarrow has no types
    """The type of a column's values, whatever they are wrapped in; None if there is no such column."""
    top = _top(schema.names, name)
    if top is None:
        return None
    found = _plain(schema.field(schema.names.index(top)).type)
    for part in name[len(top) + 1 :].split(".") if name != top else ():
        if not pa.types.is_struct(found) or found.get_field_index(part) < 0:
            return None
        found = _plain(found.field(part).type)
    return found


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of a batch that has it."""
    top = _top(batch.schema.names, name)
    column = batch.column(top)
    return column if top == name else pc.struct_field(column, name[len(str(top)) + 1 :].split("."))


def is_bytes(kind: Any) -> bool:  # noqa: ANN401
    """Whether a type is one of Arrow's for bytes."""
    return any(test(kind) for test in _BYTES)


def picture_column(schema: pa.Schema, name: str) -> str:
    """Where pictures lie if a column holds any: in itself, or in its `bytes` as the hub's data sets have it."""
    kind = type_of(schema, name)
    return f"{name}.bytes" if kind is not None and pa.types.is_struct(kind) else name


def is_damage(error: Exception) -> bool:
    """Whether Arrow complains of what it read; of its errors some are OSErrors, without a number or a subtype."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and error.errno is None)


def _top(names: list[str], name: str) -> str | None:
    """The column that a name with dots begins with."""
    return max((one for one in names if name == one or name.startswith(f"{one}.")), key=len, default=None)


def _plain(kind: Any) -> Any:  # noqa: ANN401
    while isinstance(kind, pa.ExtensionType) or pa.types.is_dictionary(kind):
        kind = kind.storage_type if isinstance(kind, pa.ExtensionType) else kind.value_type
    return kind
