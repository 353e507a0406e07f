"""Small captioned photos in COCO's layout, drawn by code: every test that needs a dataset can have its own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

COLOURS = {"ball": (220, 40, 40), "box": (40, 60, 220), "plate": (240, 240, 240), "tree": (30, 140, 50)}
CAPTIONS = (
    "A {0} next to a {1}.",
    "Two dogs look at the {0}.",
    "a group of people with a {1} on the grass",
    "The {1} stands in front of a {0} and a red bus.",
    "An old {0}, a hot dog and a {1}",
)


def write_photos(folder: Path, number: int, size: tuple[int, int] = (72, 96)) -> Path:
    """Writes images/, captions.json and instances.json of `number` photos with two shapes each."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = sorted(COLOURS)
    images: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for index in range(number):
        height, width = size
        generator = np.random.default_rng(index)
        pixels = generator.integers(90, 130, (height, width, 3)).astype(np.uint8)
        pair = [names[index % 4], names[(index + 1) % 4]]
        image_id = 100 + 7 * index
        for place, name in enumerate(pair):
            mask = shape_mask(place, index, height, width)
            pixels[mask] = COLOURS[name]
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            masks.append(
                {
                    "id": len(masks) + 1,
                    "image_id": image_id,
                    "category_id": names.index(name) + 1,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "bbox": [float(value) for value in coco_mask.toBbox(rle)],
                }
            )
        file_name = f"{image_id:06d}.jpg"
        (folder / "images" / file_name).write_bytes(jpeg(pixels))
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width, "license": 1})
        for text in CAPTIONS:
            captions.append({"id": len(captions), "image_id": image_id, "caption": text.format(*pair)})
    licenses = [{"id": 1, "name": "drawn by code", "url": ""}]
    common = {"images": images, "licenses": licenses}
    (folder / "captions.json").write_text(json.dumps({**common, "annotations": captions}))
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(names)]
    (folder / "instances.json").write_text(json.dumps({**common, "annotations": masks, "categories": categories}))
    return folder


def shape_mask(place: int, index: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A disc on the left (place 0) or a rectangle on the right (place 1)."""
    rows, columns = np.mgrid[:height, :width]
    if place == 0:
        disc = (rows - height // 2) ** 2 + (columns - width // 4 - index % 3) ** 2 < (height // 4) ** 2
        return np.asarray(disc, dtype=bool)
    box = (abs(rows - height // 2) < height // 3) & (abs(columns - 3 * width // 4) < width // 6 + index % 3)
    return np.asarray(box, dtype=bool)


def jpeg(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:  # noqa: ANN401 - Pillow's options
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=92, **options)
    return buffer.getvalue()
