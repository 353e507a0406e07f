"""Reads masks from COCO's files into Arrow: ground truth (instances, stuff, panoptic) and results computed elsewhere.

Segmentations stay JSON text, cut out of the file as they stand: parsing them is the proposer's work, an image at a
time, and a training set's 860,000 polygons would take gigabytes as Python objects.

An entry that cannot be used is set aside alone. What is wrong with a mask itself is found where it is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.common import Folder, SampleError, UserError, escaped
from stages.proposals.coco_values import (
    Aside,
    Categories,
    entry_of,
    flag,
    id_text,
    is_text,
    number_of,
    place_of,
    required_id,
    shown,
    whole_number,
)
from stages.proposals.json_stream import Element, opened, read_elements

# Large strings: a column of all of a training set's RLEs exceeds 2 GiB once it is in one piece.
PRECOMPUTED_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("segmentation", pa.large_string()),
        ("score", pa.float64()),
        ("label", pa.string()),
    ]
)
COCO_SCHEMA = PRECOMPUTED_SCHEMA.append(pa.field("is_crowd", pa.bool_())).append(pa.field("area_px", pa.float64()))
BAD = "bad_annotation"
_BATCH_ROWS = 1 << 14
_SEGMENTATION_KEY = re.compile(r'"segmentation"\s*:\s*')
_decode = json.JSONDecoder().raw_decode
# image id, segmentation, score, label, is crowd, area, category id
Row = tuple[str, str, float, str | None, bool, float | None, str | None]


def read_precomputed(path: str, aside: Aside) -> pa.Table:
    """Masks computed elsewhere, in the file's order: COCO results as JSON or Parquet.

    Args:
        path: a file, or an fsspec URL. JSON: a list of {image_id, segmentation, score, label?, category_id?}, or an
            object with that list as ``annotations``, and ``categories`` that name the category ids. Parquet (by the
            ending ``.parquet``): the same as columns, segmentation as struct or as JSON text. JSON may be gzipped.
        aside: gets results that cannot be used.

    Returns:
        Columns of PRECOMPUTED_SCHEMA: image_id, segmentation (JSON text), score in [0, 1], label (null if unnamed).

    Raises:
        UserError: the file cannot be read, or none of its entries can be used; names file, place and what was expected.
    """
    masks = _Masks(path, aside)
    if path.endswith(".parquet"):
        _take_parquet(masks)
        return masks.table().select(PRECOMPUTED_SCHEMA.names)
    _take_json(masks, lambda element: masks.take(_result_row, element))
    if not masks.entries:
        raise UserError(f"{path}: has no masks; expected a list of results, or an object with a list 'annotations'")
    return masks.table().select(PRECOMPUTED_SCHEMA.names)


def read_coco_masks(
    path: str, aside: Aside, panoptic_folder: str | None = None, also: Callable[[Element], None] | None = None
) -> pa.Table:
    """Masks of COCO's instances, stuff or panoptic JSON, in the file's order.

    Args:
        path: a file, or an fsspec URL.
        aside: gets annotations that have no mask (a box alone), or lack what is needed to use it.
        panoptic_folder: where the PNGs of a panoptic file lie; by default beside it, under its name without ``.json``.
        also: is given the elements of the file's other lists.

    Returns:
        Columns of COCO_SCHEMA: those of `read_precomputed`, score 1, is_crowd, and area_px, null where the file has
        none: that of the annotated polygons, which may differ from the mask's own. A panoptic segment's segmentation
        is {"png": path or URL, "segment_id": id}, for the proposer to read when it comes to the image. The label is
        null where the category has no name.

    Raises:
        UserError: as `read_precomputed`.
    """
    folder = (panoptic_folder or re.sub(r"\.json(\.gz)?$", "", path)).rstrip("/")
    masks = _Masks(path, aside, must_have_names=True)
    folder_checked = False

    def take(element: Element) -> None:
        nonlocal folder_checked
        if not isinstance(element.value, dict) or "segments_info" not in element.value:
            masks.take(_coco_row, element)
            return
        if not folder_checked and not Folder(folder).exists(""):
            raise UserError(
                f"{path}: is a panoptic file, and the folder of its PNGs was expected at {folder}; "
                f"unpack them there, or say where they are"
            )
        folder_checked = True
        _take_segments(masks, element, folder)

    arrays = _take_json(masks, take, also)
    if not masks.entries and "annotations" not in arrays:
        raise UserError(f"{path}: has no masks; expected COCO annotations: an object with a list 'annotations'")
    return masks.table()


@dataclass(slots=True)
class _Masks:
    """Rows of one file as they are read, and what is set aside.

    Attributes:
        entries: how many there were.
        first: what is wrong with the first entry that was set aside.
    """

    path: str
    aside: Aside
    must_have_names: bool = False
    entries: int = 0
    first: str = ""
    categories: Categories = field(default_factory=Categories)
    _rows: list[Row] = field(default_factory=list)
    _batches: list[pa.RecordBatch] = field(default_factory=list)

    def take(self, read: Callable[[dict[str, Any], str], Row], element: Element) -> None:
        """Takes one entry as a row, which `read` makes of it and its text, or sets it aside."""
        value = element.value
        self.entries += 1
        try:
            self._rows.append(read(entry_of(value, BAD), element.text))
        except SampleError as error:
            message = f"{place_of(element.key, element.index, value)}: {error.message}"
            self.first = self.first or message
            image_id = id_text(value.get("image_id")) if isinstance(value, dict) else None
            self.aside.add("annotation", self.path, error.reason, message, image_id or "")
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def table(self) -> pa.Table:
        """All rows, of COCO_SCHEMA.

        Raises:
            UserError: there is none, as all entries were set aside.
        """
        self._flush()
        rows = pa.Table.from_batches(self._batches)
        if self.first and not len(rows):
            raise UserError(f"{self.path}: none of its entries has a mask that can be used; the first: {self.first}")
        named, notes = self.categories.named(rows, self.path, self.must_have_names)
        for note in notes:
            self.aside.note(note)
        return named.select(COCO_SCHEMA.names)

    def _flush(self) -> None:
        schema = COCO_SCHEMA.append(pa.field("category_id", pa.string()))
        columns: list[Any] = list(zip(*self._rows, strict=True)) or [()] * len(schema)
        arrays = [pa.array(column, of.type) for column, of in zip(columns, schema, strict=True)]
        self._batches.append(pa.record_batch(arrays, schema=schema))
        self._rows.clear()


def _take_json(
    masks: _Masks, take: Callable[[Element], None], also: Callable[[Element], None] | None = None
) -> set[str]:
    """Reads a file; gives the keys of its lists."""
    arrays: set[str] = set()
    for element in read_elements(masks.path, arrays):
        if element.key in ("", "annotations"):
            take(element)
        else:
            if element.key == "categories":
                masks.categories.add(element.value)
            if also is not None:
                also(element)
    return arrays


def _coco_row(value: dict[str, Any], text: str) -> Row:
    image_id = required_id(value, "image_id", BAD)
    segmentation = _segmentation_text(value, text)
    crowd, area_px = flag(value.get("iscrowd"), "iscrowd", BAD), _area_px(value)
    return image_id, segmentation, 1.0, None, crowd, area_px, id_text(value.get("category_id"))


def _result_row(value: dict[str, Any], text: str) -> Row:
    image_id, label = required_id(value, "image_id", BAD), value.get("label")
    segmentation = _segmentation_text(value, text)
    score = number_of(value.get("score"))
    if score is None or not 0.0 <= score <= 1.0:
        raise SampleError("bad_score", f"expected a number in [0, 1] as 'score', got {shown(value.get('score'))}")
    name = None if label is None else escaped(str(label))
    return image_id, segmentation, score, name, False, None, id_text(value.get("category_id"))


def _take_segments(masks: _Masks, element: Element, folder: str) -> None:
    """A panoptic annotation: one mask for each segment, which is used or set aside alone."""
    value, segments = element.value, element.value["segments_info"]

    def read(segment: dict[str, Any], text: str) -> Row:
        image_id, name = required_id(value, "image_id", BAD), value.get("file_name")
        if not is_text(name) or not name:
            raise SampleError(BAD, f"expected a text 'file_name', the PNG; got {shown(name)}")
        segment_id = whole_number(segment.get("id"))
        if segment_id is None:
            raise SampleError(BAD, f"expected a whole number 'id', got {shown(segment.get('id'))}")
        reference = json.dumps({"png": f"{folder}/{name}", "segment_id": segment_id})
        crowd = flag(segment.get("iscrowd"), "iscrowd", BAD)
        return image_id, reference, 1.0, None, crowd, _area_px(segment), id_text(segment.get("category_id"))

    place = f"{element.key}[{element.index}].segments_info"
    for number, segment in enumerate(segments if isinstance(segments, list) else [segments]):
        masks.take(read, Element(place, number, segment, ""))


def _segmentation_text(value: dict[str, Any], text: str) -> str:
    """The segmentation as it stands in the file: writing it again would take longer than reading the file.

    Raises:
        SampleError: there is none.
    """
    found = value.get("segmentation")
    if found is None:
        has = "it is null" if "segmentation" in value else f"it has {', '.join(map(shown, value)) or 'no key'}"
        raise SampleError("no_mask", f"has no mask: expected polygons or RLE as 'segmentation'; {has}")
    if isinstance(found, str):
        return escaped(found)
    for match in _SEGMENTATION_KEY.finditer(text):
        try:
            again, end = _decode(text, match.end())
        except ValueError as error:
            raise SampleError("bad_segmentation", f"cannot be read: {error}") from error
        if again == found:
            return escaped(text[match.end() : end])
    return json.dumps(found, default=_ascii)  # the key is spelled with escapes, or there is no text


def _area_px(value: dict[str, Any]) -> float | None:
    area_px = number_of(value.get("area"))
    return area_px if area_px is not None and area_px >= 0 else None


def _take_parquet(masks: _Masks) -> None:
    row = 0
    with opened(masks.path) as file:
        try:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            missing = [name for name in ("image_id", "segmentation", "score") if name not in names]
            if missing:
                raise UserError(f"{masks.path}: expected columns {missing} beside {names}")
            wanted = [name for name in PRECOMPUTED_SCHEMA.names if name in names]
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted):
                for value in batch.to_pylist():
                    masks.take(_result_row, Element("row", row, value, ""))
                    row += 1
        except pa.ArrowException as error:
            raise UserError(f"{masks.path}: cannot be read as Parquet: {error}") from error


def _ascii(counts: Any) -> str:  # noqa: ANN401
    """Compressed counts as pycocotools gives them: bytes."""
    if not isinstance(counts, bytes) or not counts.isascii():
        raise SampleError("bad_segmentation", f"expected polygons or RLE, got {shown(counts)}")
    return counts.decode("ascii")
