"""COCO's layout: captions JSON, and instances, stuff or panoptic JSON for masks."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.sources.config import CocoSource, attach_masks, table_of, valid_text
from pipeline.sources.set_aside import SetAside
from stages.common import UserError, read_json


def read_coco(source: CocoSource, aside: SetAside) -> pa.Table:
    """One row per image of the captions JSON; captions in the order of the file.

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
