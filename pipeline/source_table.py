"""A table of image paths and captions: JSON lines, CSV or Parquet."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from pipeline.sources import ROWS, TableSource
from pipeline.storage import open_location
from stages.errors import UserError


def read_table(source: TableSource) -> pa.Table:
    """One row an image; its captions in the order of the table.

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
    flat = pa.table(
        {
            "image_id": _texts(table, columns.id or columns.image, source),
            "file": _texts(table, columns.image, source),
            "caption": _captions(table[columns.caption], source),
            "license": table[columns.license].cast(pa.string())
            if columns.license
            else pa.nulls(len(table), pa.string()),
        }
    )
    return _one_row_an_image(flat, source)


def _load(source: TableSource, wanted: list[str]) -> pa.Table:
    fs, path = open_location(source.path)
    kind = source.path.lower().rsplit(".", 1)[-1]
    try:
        with fs.open(path, "rb") as file:
            if kind == "parquet":
                have = pyarrow.parquet.read_schema(file).names
                return pyarrow.parquet.read_table(file, columns=[name for name in wanted if name in have] or None)
            if kind == "csv":
                options = pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in wanted}, strings_can_be_null=False
                )
                newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
                return pyarrow.csv.read_csv(file, convert_options=options, parse_options=newlines)
            if kind in ("jsonl", "ndjson"):
                return pyarrow.json.read_json(file)
    except FileNotFoundError as error:
        raise UserError(f"source.path: there is no file {source.path}") from error
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise UserError(f"source.path: {source.path} cannot be read as {kind}: {error}") from error
    raise UserError(f"source.path: {source.path}: expected a file that ends in .jsonl, .ndjson, .csv or .parquet")


def _texts(table: pa.Table, name: str, source: TableSource) -> pa.ChunkedArray:
    column = table[name].cast(pa.string())
    if column.null_count:
        row = pc.index(pc.is_null(column), pa.scalar(True)).as_py()
        raise UserError(f"source.path: {source.path}: column {name!r} is empty in row {row + 1}")
    return column


def _captions(column: pa.ChunkedArray, source: TableSource) -> pa.ChunkedArray:
    """A caption column as lists of texts."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.cast(pa.list_(pa.string()))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)):
        name = source.columns.caption
        raise UserError(f"source.path: {source.path}: column {name!r} holds {column.type}, expected texts")
    texts = column.cast(pa.string()).fill_null("").combine_chunks()
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), texts)])


def _one_row_an_image(flat: pa.Table, source: TableSource) -> pa.Table:
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
