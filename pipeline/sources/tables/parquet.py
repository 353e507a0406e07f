"""Parquet: texts of any of Arrow's types, and pictures, of which only the place is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipeline.sources.config import TableSource
from pipeline.sources.tables.columns import column_of, is_bytes, is_damage, picture_column, type_of
from pipeline.sources.tables.rows import Cells, Problems
from stages.common import open_file

_BATCH_ROWS = 1 << 14
_FEW_ROWS = 16
_LISTS = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null, is_bytes)


def read_parquet(source: TableSource, problems: Problems) -> Iterator[Cells]:
    """The rows of a file; those of a damaged part of it are set aside.

    Raises:
        UserError: it is no Parquet file, or has no such columns.
        OSError: it cannot be read.
    """
    with open_file(problems.file) as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            if not is_damage(error):
                raise
            raise problems.refused(f"cannot be read as Parquet: {error}") from error
        _check(parquet.schema_arrow, problems)
        columns, pictures = _layout(parquet, problems.columns)
        first = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            read = 0
            try:
                has_picture = _has_picture(parquet, group, pictures) if pictures else [False] * rows
                for batch in parquet.iter_batches(_BATCH_ROWS, [group], sorted(set(columns.values()))):
                    yield from _cells(batch, columns, first + read, has_picture[read : read + len(batch)])
                    read += len(batch)
            except (pa.ArrowException, OSError) as error:
                if not is_damage(error):
                    raise
                for line in range(first + read + 1, first + rows + 1):
                    problems.row(line, "damaged_row", f"the file is damaged there: {error}")
            first += rows


def _check(schema: pa.Schema, problems: Problems) -> None:
    """
    Raises:
        UserError: a column is not there, is there twice, or cannot hold what is asked of it.
    """
    for role, name in problems.columns.items():
        kind = type_of(schema, name)
        if kind is None:
            raise problems.no_column(name, schema.names)
        for top in {top for top in schema.names if schema.names.count(top) > 1}:
            if name == top or name.startswith(f"{top}."):
                raise problems.refused(f"more than one column {top!r}")
        if role == "caption" and not _is_text(kind.value_type if any(test(kind) for test in _LISTS) else kind):
            raise problems.refused(f"column {name!r} holds {kind}, expected texts, or lists of texts")
        if (
            role == "image"
            and not _is_text(kind)
            and not (pa.types.is_struct(kind) and {"bytes", "path"}.intersection(field.name for field in kind))
        ):
            raise problems.refused(
                f"column {name!r} holds {kind}, expected texts, pictures, or structs of bytes and path"
            )


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(kind) for test in _TEXTS)


def _layout(parquet: Any, asked: dict[str, str]) -> tuple[dict[str, str], str | None]:  # noqa: ANN401
    """Role -> the column with its texts, and the column with pictures, if there is one."""
    schema, image = parquet.schema_arrow, asked["image"]
    kind = type_of(schema, image)
    others = {role: name for role, name in asked.items() if role != "image"}
    if kind is not None and pa.types.is_struct(kind):
        names = {field.name for field in kind}
        paths = {"image": f"{image}.path"} if "path" in names else {}
        return {**others, **paths}, picture_column(schema, image) if "bytes" in names else None
    if is_bytes(kind) and _holds_pictures(parquet, image):
        return others, image
    return asked, None


def _holds_pictures(parquet: Any, column: str) -> bool:  # noqa: ANN401
    """Whether a column of bytes holds pictures, not texts: most of its first values that are not empty are no UTF-8."""
    for batch in parquet.iter_batches(_FEW_ROWS, columns=[column]):
        values = [value for value in column_of(batch, column).to_pylist() if value]
        if values:
            return 2 * sum(map(_is_utf8, values)) < len(values)
    return False


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_picture(parquet: Any, group: int, column: str) -> list[bool]:  # noqa: ANN401
    """Which rows of a row group have a picture; pictures are read only if some have none."""
    metadata = parquet.metadata.row_group(group)
    chunks = [metadata.column(number) for number in range(metadata.num_columns)]
    statistics = next(chunk.statistics for chunk in chunks if chunk.path_in_schema == column)
    if statistics is not None and statistics.has_null_count and statistics.null_count in (0, metadata.num_rows):
        return [statistics.null_count == 0] * metadata.num_rows
    batches = parquet.iter_batches(_FEW_ROWS, [group], [column])
    return [there for batch in batches for there in column_of(batch, column).is_valid().to_pylist()]


def _cells(batch: pa.RecordBatch, columns: dict[str, str], first: int, has_picture: list[bool]) -> Iterator[Cells]:
    nothing = [None] * len(batch)
    values = {role: _values(column_of(batch, name)) for role, name in columns.items()}
    wanted = zip(*(values.get(role, nothing) for role in Cells._fields[1:5]), has_picture, strict=True)
    for row, (image, caption, image_id, license_name, is_here) in enumerate(wanted, start=first):
        yield Cells(row + 1, None if is_here else image, caption, image_id, license_name, row if is_here else None)


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:  # texts that are none: Arrow does not look when it reads
        kind = column.type.value_type if any(test(column.type) for test in _LISTS) else None
        return list(column.cast(pa.list_(pa.binary()) if kind else pa.binary()).to_pylist())
