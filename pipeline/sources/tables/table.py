"""Tables of any format as one row per photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from braceexpand import braceexpand
from numpy.typing import NDArray

from pipeline.sources.config import ROWS, TableSource, folder_of, root_of
from pipeline.sources.set_aside import SetAside
from pipeline.sources.tables.delimited import read_delimited
from pipeline.sources.tables.json_lines import read_json_lines
from pipeline.sources.tables.names import with_names
from pipeline.sources.tables.parquet import read_parquet
from pipeline.sources.tables.rows import ROW, Cells, Problems, arrow_rows
from stages.common import WEB, Folder, UserError, find_files

_READERS: dict[str, Callable[[TableSource, Problems], Iterator[Cells]]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet,
}
_SIGNS = frozenset("*?[{")


def table_files(source: TableSource) -> list[str]:
    """The tables that a source's path names, sorted: one, or those that a pattern stands for.

    Raises:
        UserError: the pattern stands for a file that is not there.
    """
    folder, name = folder_of(source.path), source.path.rpartition("/")[2]
    try:
        if source.path.startswith(WEB):  # nothing is listed there, and ? begins a query
            return sorted(braceexpand(source.path))
        if not _SIGNS.intersection(source.path) or Folder(folder).is_file(name):
            return [source.path]
        if _SIGNS.intersection(folder):
            told = "a pattern may stand in the file name alone, not in its folder"
            raise UserError(f"source.path: {source.path}: {told}, and there is no such file")
        found = find_files(source.path)
    except ValueError:  # a brace that is part of the name
        return [source.path]
    if missing := [pattern for pattern, files in found.items() if not files]:
        more = f" (nor {len(missing) - 1} others of {source.path})" if len(missing) > 1 else ""
        raise UserError(f"source.path: there is no file {missing[0]}{more}")
    listed = {file for files in found.values() for file in files}
    return sorted(file for file in listed if name.startswith(".") or "/." not in f"/{file.rpartition('/')[2]}")


def read_table(source: TableSource, aside: SetAside) -> pa.Table:
    """One row per image; its captions in the order of the tables.

    Without an id column the image's path is its id; that of a picture inside a table is its place there.

    Raises:
        UserError: naming the table, and the column or line that is wrong.
    """
    files = table_files(source)
    tables = [Problems(aside, file, source.columns.named(), len(files) == 1) for file in files]
    rows = pa.concat_tables([_rows(source, table, number) for number, table in enumerate(tables)])
    bad_caption = aside.examples().get(("caption", "bad_caption"))
    if bad_caption and not pc.any(pc.greater(pc.list_value_length(rows["captions"]), 0)).as_py():
        raise UserError(f"source.path: not one caption can be used; the first: {bad_caption}")
    rows = _one_row_per_image(rows, files, source.columns.named(), aside)
    fields = [field for field in ROWS if field.name != "listed"]
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(len(rows), field.type) for field in fields
    ]
    return pa.table(columns, pa.schema(fields))


def _rows(source: TableSource, problems: Problems, number: int) -> pa.Table:
    """The rows of one table, with ids and files."""
    read = _READERS.get(problems.ending)
    if read is None:
        raise problems.refused(
            "expected a file that ends in .jsonl, .ndjson, .csv, .tsv (packed by gzip or not) or .parquet"
        )
    try:
        chunks = [
            with_names(chunk, problems, root_of(source)) for chunk in arrow_rows(read(source, problems), problems)
        ]
    except FileNotFoundError as error:
        raise UserError(f"source.path: there is no file {problems.file}") from error
    except OSError as error:
        raise problems.refused(f"cannot be read: {error}") from error
    rows = pa.concat_tables(chunks) if chunks else ROW.empty_table()
    name = problems.name
    is_inside = rows["row"].is_valid()
    line = pc.utf8_lpad(rows["line"].cast(pa.string()), 9, "0")
    inside = pc.binary_join_element_wise(name.rpartition(".")[0], line, "/")
    own = rows["id"] if "id" in problems.columns else pc.if_else(is_inside, inside, rows["image"])
    columns = {
        "image_id": own,
        "file": pc.if_else(is_inside, name, rows["image"]),
        **{column: rows[column] for column in ("captions", "license", "row", "line")},
        "table": pa.repeat(number, len(rows)),
    }
    return pa.table(columns)


def _one_row_per_image(rows: pa.Table, files: list[str], columns: dict[str, str], aside: SetAside) -> pa.Table:
    """Rows of one id as one row, in the order of the first of them."""
    codes = _codes(rows["image_id"])
    if len(codes) == codes.max(initial=-1) + 1:
        return rows
    _, firsts = np.unique(codes, return_index=True)
    file_codes = _codes(rows["file"])
    differs = (file_codes != file_codes[firsts][codes]) & rows["row"].is_null().to_numpy()
    for row in np.flatnonzero(differs).tolist():
        found, first = rows.slice(row, 1).to_pylist()[0], rows["file"][int(firsts[codes[row]])].as_py()
        Problems(aside, files[found["table"]], columns).row(
            found["line"],
            "id_of_two_files",
            f"the id {found['image_id']!r} stands for {found['file']!r}, and before for {first!r}",
        )
    rows, codes = rows.filter(pa.array(~differs)), codes[~differs]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    captions = rows["captions"].combine_chunks().take(pa.array(order))
    offsets = captions.offsets.to_numpy()
    merged = pa.ListArray.from_arrays(pa.array(np.append(offsets[starts], offsets[-1]), pa.int32()), captions.flatten())
    kept = rows.take(pa.array(order[starts]))
    return kept.set_column(kept.schema.get_field_index("captions"), "captions", merged)


def _codes(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    """A number for each different text, in the order in which they come."""
    return np.asarray(texts.combine_chunks().dictionary_encode().indices, np.int64)
