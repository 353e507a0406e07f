"""A table of image paths and captions: JSON lines, CSV or Parquet."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from pipeline.sources.config import ROWS, TableSource
from pipeline.sources.set_aside import SetAside
from stages.common import UserError, open_file

_BLOCK_BYTES = 1 << 24  # the longest row that can be read


def read_table(source: TableSource, aside: SetAside) -> pa.Table:
    """One row per image; its captions in the order of the table.

    Without an id column, the image's path is its id.

    Raises:
        UserError: naming the file, and the column or line that is wrong.
    """
    columns = source.columns
    wanted = [name for name in (columns.id, columns.image, columns.caption, columns.license) if name is not None]
    table = _load(source, wanted)
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise UserError(
            f"source.path: {source.path} has no column {missing[0]!r}; it has {', '.join(table.column_names)}. "
            "Set source.columns.image and source.columns.caption."
        )
    if twice := [name for name in wanted if table.column_names.count(name) > 1]:
        raise UserError(f"source.path: {source.path} has more than one column {twice[0]!r}")
    flat = pa.table(
        {
            "image_id": _filled(table, columns.id or columns.image, source),
            "file": _filled(table, columns.image, source),
            "caption": _captions(table, source),
            "license": _texts(table, columns.license, source) if columns.license else pa.nulls(len(table), pa.string()),
        }
    )
    return _one_row_per_image(flat, source)


def _load(source: TableSource, wanted: list[str]) -> pa.Table:
    kind = source.path.lower().rsplit(".", 1)[-1]
    try:
        with open_file(source.path) as file:
            if kind == "parquet":
                have = pyarrow.parquet.read_schema(file).names
                return pyarrow.parquet.read_table(file, columns=[name for name in wanted if name in have] or None)
            if kind == "csv":
                options = pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in wanted}, strings_can_be_null=False
                )
                newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
                blocks = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
                return pyarrow.csv.read_csv(file, blocks, newlines, options)
            if kind in ("jsonl", "ndjson"):
                parse = pyarrow.json.ParseOptions(explicit_schema=_text_keys(file.readline(), wanted))
                file.seek(0)
                return pyarrow.json.read_json(file, pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES), parse)
    except FileNotFoundError as error:
        raise UserError(f"source.path: there is no file {source.path}") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"source.path: {source.path} cannot be read as {kind}: {error}") from error
    raise UserError(f"source.path: {source.path}: expected a file that ends in .jsonl, .ndjson, .csv or .parquet")


def _text_keys(line: bytes, wanted: list[str]) -> pa.Schema:
    """Keys that hold texts in a file's first line; Arrow would take texts that look like dates for times."""
    try:
        values = json.loads(line)
    except ValueError:
        return pa.schema([])
    texts = [name for name in wanted if isinstance(values, dict) and isinstance(values.get(name), str)]
    return pa.schema([(name, pa.string()) for name in dict.fromkeys(texts)])


def _texts(table: pa.Table, name: str, source: TableSource) -> pa.ChunkedArray:
    try:
        return table[name].cast(pa.string())
    except pa.ArrowException as error:
        kind = table[name].type
        raise UserError(f"source.path: {source.path}: column {name!r} holds {kind}, expected texts") from error


def _filled(table: pa.Table, name: str, source: TableSource) -> pa.ChunkedArray:
    """A column of texts without an empty cell."""
    column = _texts(table, name, source)
    empty = pc.equal(pc.fill_null(column, ""), "")
    if pc.any(empty).as_py():
        row = pc.index(empty, pa.scalar(True)).as_py()
        raise UserError(f"source.path: {source.path}: column {name!r} is empty in row {row + 1}")
    return column


def _captions(table: pa.Table, source: TableSource) -> pa.ChunkedArray:
    """The caption column as lists of texts."""
    column = table[source.columns.caption]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_list = any(test(column.type) for test in (pa.types.is_list, pa.types.is_large_list))
    of = column.type.value_type if is_list else column.type
    are_texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(test(of) for test in are_texts):
        raise UserError(
            f"source.path: {source.path}: column {source.columns.caption!r} holds {column.type}, expected texts, "
            "or lists of texts"
        )
    if is_list:
        return column.cast(pa.list_(pa.string()))
    texts = column.cast(pa.string()).fill_null("").combine_chunks()
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), texts)])


def _one_row_per_image(flat: pa.Table, source: TableSource) -> pa.Table:
    if len(pc.unique(flat["image_id"])) < len(flat):
        flat = _grouped(flat, source)
    arrays = {
        "image_id": flat["image_id"],
        "file": flat["file"],
        "captions": flat["caption"],
        "license": flat["license"],
    }
    fields = [field for field in ROWS if field.name != "listed"]
    return pa.table([arrays.get(field.name, pa.nulls(len(flat), field.type)) for field in fields], pa.schema(fields))


def _grouped(flat: pa.Table, source: TableSource) -> pa.Table:
    first: dict[str, int] = {}
    captions: dict[str, list[str]] = {}
    files = flat["file"].to_pylist()
    pairs = zip(flat["image_id"].to_pylist(), flat["caption"].to_pylist(), strict=True)
    for number, (image_id, texts) in enumerate(pairs):
        start = first.setdefault(image_id, number)
        if files[start] != files[number]:
            raise UserError(
                f"source.path: {source.path}: id {image_id!r} stands for {files[start]!r} and for {files[number]!r}"
            )
        captions.setdefault(image_id, []).extend(texts or [])
    kept = flat.take(pa.array(first.values(), pa.int64()))
    column = pa.array(captions.values(), pa.list_(pa.string()))
    return kept.set_column(kept.schema.get_field_index("caption"), "caption", column)
