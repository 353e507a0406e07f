"""Reads masks from COCO's files into Arrow: ground truth (instances, stuff, panoptic) and results computed elsewhere.

Segmentations stay JSON text, cut out of the file as they stand: parsing them is the proposer's work, an image at a
time, and a training set's 860,000 polygons would take gigabytes as Python objects.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common import Folder, UserError, open_file
from stages.proposals.json_stream import Element, iterate_elements

# Large strings: a column of all of a training set's RLEs exceeds 2 GiB once it is in one piece.
PRECOMPUTED_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("segmentation", pa.large_string()),
        ("score", pa.float64()),
        ("label", pa.string()),
    ]
)
COCO_SCHEMA = PRECOMPUTED_SCHEMA.append(pa.field("is_crowd", pa.bool_()))
_BATCH_ROWS = 1 << 14
_SEGMENTATION_KEY = re.compile(r'"segmentation"\s*:\s*')
_decode = json.JSONDecoder().raw_decode
# image id, segmentation, score, category id, label, is crowd
Row = tuple[str, str, float, int | None, str | None, bool]


def read_precomputed(path: str) -> pa.Table:
    """Masks computed elsewhere, in the file's order: COCO results as JSON or Parquet.

    Args:
        path: a file, or an fsspec URL. JSON: a list of {image_id, segmentation, score, label?, category_id?}, or an
            object with that list as ``annotations``, and ``categories`` that name the category ids. Parquet (by the
            ending ``.parquet``): the same as columns, segmentation as struct or as JSON text. Gzipped JSON may end
            in ``.gz``.

    Returns:
        Columns of PRECOMPUTED_SCHEMA: image_id, segmentation (JSON text), score in [0, 1], label (null if unnamed).

    Raises:
        UserError: names file, row and what was expected.
    """
    if path.endswith(".parquet"):
        return _read_parquet(path)
    table, found = _read_json(path, _result_row)
    if not found:
        raise UserError(f"{path}: has no masks; expected a list of results, or an object with a list 'annotations'")
    return table.select(PRECOMPUTED_SCHEMA.names)


def read_coco_masks(path: str, panoptic_folder: str | None = None) -> pa.Table:
    """Masks of COCO's instances, stuff or panoptic JSON, in the file's order.

    Args:
        path: a file, or an fsspec URL.
        panoptic_folder: where the PNGs of a panoptic file lie; by default beside it, under its name without ``.json``.

    Returns:
        Columns of COCO_SCHEMA: those of `read_precomputed`, score 1, and is_crowd. A panoptic segment's segmentation
        is {"png": path or URL, "segment_id": id}, for the proposer to read when it comes to the image.

    Raises:
        UserError: names file, row and what was expected.
    """
    folder = (panoptic_folder or re.sub(r"\.json(\.gz)?$", "", path)).rstrip("/")
    folder_checked = False

    def rows(element: Element, where: str) -> Iterable[Row]:
        nonlocal folder_checked
        if "segments_info" not in element.value:
            return [_coco_row(element, where)]
        if not folder_checked and not Folder(folder).exists(""):
            raise UserError(
                f"{path}: is a panoptic file, and the folder of its PNGs was expected at {folder}; "
                f"unpack them there, or say where they are"
            )
        folder_checked = True
        return _panoptic_rows(element.value, folder, where)

    table, found = _read_json(path, rows, strict_categories=True)
    if not found:
        raise UserError(f"{path}: has no masks; expected COCO annotations: an object with a list 'annotations'")
    return table


def _read_json(path: str, rows_of: Any, strict_categories: bool = False) -> tuple[pa.Table, bool]:  # noqa: ANN401
    """All rows of a JSON file as COCO_SCHEMA, and whether it had a list to take them from."""
    names: dict[int, str] = {}
    batches: list[pa.RecordBatch] = []
    category_ids: list[pa.Array] = []
    rows: list[Row] = []
    found = False

    def flush() -> None:
        columns = list(zip(*rows, strict=True)) or [()] * 6
        image_ids, segmentations, scores, categories, labels, crowds = columns
        arrays = [image_ids, segmentations, scores, labels, crowds]
        batches.append(
            pa.record_batch([pa.array(a, f.type) for a, f in zip(arrays, COCO_SCHEMA, strict=True)], schema=COCO_SCHEMA)
        )
        category_ids.append(pa.array(categories, pa.int64()))
        rows.clear()

    with _opened(path, "rt") as file:
        for element in iterate_elements(file, path):
            where = f"{path}: {element.key}[{element.index}]"
            if element.key == "categories":
                category = _object(element.value, where)
                names[_integer(category, "id", where)] = str(_required(category, "name", where))
            elif element.key in ("", "annotations"):
                found = True
                _object(element.value, where)
                rows.extend(rows_of(element, where))
                if len(rows) >= _BATCH_ROWS:
                    flush()
    found = found or bool(names)
    flush()
    table = pa.Table.from_batches(batches, COCO_SCHEMA)
    return _named(table, pa.chunked_array(category_ids, pa.int64()), names, path, strict_categories), found


def _named(table: pa.Table, category_ids: pa.ChunkedArray, names: dict[int, str], path: str, strict: bool) -> pa.Table:
    """Fills in the labels that only category ids tell; categories may stand after the annotations in the file."""
    positions = pc.index_in(category_ids, value_set=pa.array(list(names), pa.int64()))
    unknown = pc.and_(pc.is_valid(category_ids), pc.is_null(positions))
    if (strict or names) and pc.any(unknown).as_py():
        row = pc.index(unknown, True).as_py()
        raise UserError(
            f"{path}: category_id {category_ids[row].as_py()} of mask {row} has no name in 'categories'; "
            f"expected a list of {{id, name}} that has every id"
        )
    labels = pc.take(pa.array(list(names.values()), pa.string()), positions)
    column = table.schema.get_field_index("label")
    return table.set_column(column, "label", pc.coalesce(table["label"], labels))


def _coco_row(element: Element, where: str) -> Row:
    value = element.value
    crowd = bool(value.get("iscrowd", 0))
    return _image_id(value, where), _segmentation_text(element, where), 1.0, _category(value, where), None, crowd


def _result_row(element: Element, where: str) -> Iterable[Row]:
    value = element.value
    label = _label(value)
    category = _category(value, where) if label is None else None
    score = _score(_required(value, "score", where), where)
    yield _image_id(value, where), _segmentation_text(element, where), score, category, label, False


def _panoptic_rows(value: dict[str, Any], folder: str, where: str) -> Iterator[Row]:
    image_id = _image_id(value, where)
    png = f"{folder}/{_required(value, 'file_name', where)}"
    for number, segment in enumerate(value["segments_info"]):
        there = f"{where}.segments_info[{number}]"
        reference = json.dumps({"png": png, "segment_id": _integer(_object(segment, there), "id", there)})
        yield image_id, reference, 1.0, _category(segment, there), None, bool(segment.get("iscrowd", 0))


def _segmentation_text(element: Element, where: str) -> str:
    """The segmentation as it stands in the file: writing it again would take longer than reading the file."""
    value = _required(element.value, "segmentation", where)
    if isinstance(value, str):
        return value
    for match in _SEGMENTATION_KEY.finditer(element.text):
        again, end = _decode(element.text, match.end())
        if again == value:
            return element.text[match.end() : end]
    return json.dumps(value)  # the key is spelled with escapes


def _object(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object, got {type(value).__name__}")
    return value


def _required(value: dict[str, Any], key: str, where: str) -> Any:  # noqa: ANN401
    if value.get(key) is None:
        raise UserError(f"{where}: expected a key {key!r}; it has {sorted(value)}")
    return value[key]


def _integer(value: dict[str, Any], key: str, where: str) -> int:
    number = _required(value, key, where)
    if not isinstance(number, int) or isinstance(number, bool):
        raise UserError(f"{where}.{key}: expected an integer, got {number!r}")
    return number


def _category(value: dict[str, Any], where: str) -> int | None:
    return _integer(value, "category_id", where) if value.get("category_id") is not None else None


def _label(value: dict[str, Any]) -> str | None:
    label = value.get("label")
    return None if label is None else str(label)


def _image_id(value: dict[str, Any], where: str) -> str:
    image_id = _required(value, "image_id", where)
    if not isinstance(image_id, int | str) or isinstance(image_id, bool):
        raise UserError(f"{where}.image_id: expected an integer or a string, got {image_id!r}")
    return str(image_id)


def _score(score: Any, where: str) -> float:  # noqa: ANN401
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0.0 <= score <= 1.0 or math.isnan(score):
        raise UserError(f"{where}.score: expected a number in [0, 1], got {score!r}")
    return float(score)


def _read_parquet(path: str) -> pa.Table:
    with _opened(path, "rb") as file:
        try:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            missing = [name for name in ("image_id", "segmentation", "score") if name not in names]
            if missing:
                raise UserError(f"{path}: expected columns {missing} beside {names}")
            wanted = [name for name in PRECOMPUTED_SCHEMA.names if name in names]
            batches = []
            row = 0
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted):
                batches.append(_checked_batch(batch, path, row))
                row += batch.num_rows
        except pa.ArrowException as error:
            raise UserError(f"{path}: cannot be read as Parquet: {error}") from error
    return pa.Table.from_batches(batches, PRECOMPUTED_SCHEMA)


def _checked_batch(batch: pa.RecordBatch, path: str, first_row: int) -> pa.RecordBatch:
    rows = []
    for number, value in enumerate(batch.to_pylist()):
        where = f"{path}: row {first_row + number}"
        segmentation = _required(value, "segmentation", where)
        if not isinstance(segmentation, str):
            segmentation = json.dumps(segmentation, default=_ascii)
        score = _score(_required(value, "score", where), where)
        rows.append((_image_id(value, where), segmentation, score, _label(value)))
    columns = list(zip(*rows, strict=True)) or [()] * 4
    arrays = [pa.array(column, field.type) for column, field in zip(columns, PRECOMPUTED_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=PRECOMPUTED_SCHEMA)


def _ascii(counts: Any) -> str:  # noqa: ANN401
    """Compressed counts as pycocotools gives them: bytes."""
    if not isinstance(counts, bytes):
        raise TypeError(f"no JSON for {type(counts).__name__}")
    return counts.decode("ascii")


@contextmanager
def _opened(path: str, mode: str) -> Iterator[IO[Any]]:
    """The file; what keeps it from being read becomes a UserError."""
    try:
        with open_file(path, mode) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: does not exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text: {error}") from error
    except (OSError, EOFError, ValueError, TypeError, ImportError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
