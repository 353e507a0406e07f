"""COCO's layout: captions JSON, and instances, stuff or panoptic JSON for masks."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from pipeline.sources.config import MASK, ROWS, CocoSource
from stages.common import UserError, read_file


def read_json(location: str, key: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parses a JSON file.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(read_file(location))
    except FileNotFoundError as error:
        raise UserError(f"{key}: there is no file {location}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {location} cannot be read as JSON: {error}") from error


def read_coco(source: CocoSource) -> pa.Table:
    """One row an image of the captions JSON; captions in the order of the file.

    Raises:
        UserError: naming the file and what it lacks.
    """
    data = read_json(source.captions, "source.captions")
    where = f"source.captions: {source.captions}"
    if not isinstance(data, dict) or not {"images", "annotations"} <= data.keys():
        raise UserError(f"{where}: expected COCO captions, an object with the lists 'images' and 'annotations'")
    captions: dict[Any, list[str]] = {}
    try:
        for annotation in data["annotations"]:
            if not isinstance(annotation["caption"], str | None):
                raise UserError(f"{where}: annotation {annotation.get('id')}: 'caption' must be a text")
            captions.setdefault(annotation["image_id"], []).append(valid_text(annotation["caption"] or ""))
        images = [_image(image, where) for image in data["images"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{where}: every image needs 'id' and 'file_name', every annotation 'image_id' and 'caption'; "
            f"found {type(error).__name__}: {error} (instances files belong under source.masks)"
        ) from error
    unknown = captions.keys() - {image_id for image_id, _ in images}
    if unknown:
        example = min(unknown, key=str)
        raise UserError(f"{where}: {len(unknown)} image id(s) of captions are not among its images, e.g. {example}")
    licenses = {
        str(entry.get("id")): entry.get("url") or entry.get("name")
        for entry in data.get("licenses") or []
        if isinstance(entry, dict)
    }
    take = 1 if source.use_captions == "first" else None
    columns: dict[str, list[Any]] = {
        "image_id": [str(image_id) for image_id, _ in images],
        "file": [name for _, name in images],
        "captions": [captions.get(image_id, [])[:take] for image_id, _ in images],
        "license": [licenses.get(str(image.get("license"))) for image in data["images"]],
        "mask_height": [image.get("height") for image in data["images"]],
        "mask_width": [image.get("width") for image in data["images"]],
    }
    rows = table_of(columns)
    if not source.masks:
        return rows
    from stages.proposals import read_coco_masks

    tables = [read_coco_masks(file, source.panoptic_folder) for file in source.masks]
    return attach_masks(rows, pa.concat_tables(tables))


def _image(image: dict[str, Any], where: str) -> tuple[int | str, str]:
    """Id and file name of an entry of the images list, with its types checked."""
    image_id, name = image["id"], image["file_name"]
    sizes = (image.get("height"), image.get("width"))
    if not isinstance(image_id, int | str) or not isinstance(name, str) or not name:
        raise UserError(f"{where}: image {image_id!r}: expected a number or text 'id', and a text 'file_name'")
    if not all(isinstance(size, int | None) for size in sizes):
        raise UserError(f"{where}: image {image_id!r}: 'height' and 'width' must be whole numbers")
    return image_id, name


def valid_text(text: str) -> str:
    """The text with lone surrogates, which JSON can hold and no file can, as '?'."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def table_of(columns: dict[str, list[Any]]) -> pa.Table:
    """Rows with the given columns; all others null."""
    length = len(next(iter(columns.values())))
    fields = [field for field in ROWS if field.name != "listed"]
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(length, field.type)
        for field in fields
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def attach_masks(rows: pa.Table, masks: pa.Table) -> pa.Table:
    """Puts masks (image_id, segmentation, label, score, is_crowd) into the rows of their images, in their order.

    Masks of images that the source does not have are left out.
    """
    by_image: dict[str, list[int]] = {}
    for number, image_id in enumerate(masks["image_id"].to_pylist()):
        by_image.setdefault(image_id, []).append(number)
    order: list[int] = []
    offsets = [0]
    for image_id in rows["image_id"].to_pylist():
        order += by_image.get(image_id, ())
        offsets.append(len(order))
    taken = masks.take(pa.array(order, pa.int64())).combine_chunks()
    columns = []
    for field in MASK:
        column = taken[field.name].combine_chunks() if field.name in taken.column_names else None
        columns.append(pa.nulls(len(taken), field.type) if column is None else column.cast(field.type))
    structs = pa.StructArray.from_arrays(columns, fields=list(MASK))
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
    return rows.set_column(rows.schema.get_field_index("masks"), pa.field("masks", lists.type), lists).cast(rows.schema)
