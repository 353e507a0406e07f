"""Builds and truths made by hand, so small that every figure is known on paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from pipeline.finalise import TABLES
from pipeline.records import FORMAT, Counts, Lock, LockedUnit, PlanDocument, shard_name
from stages.common import Rle, canonical_json, digest
from stages.shards import Description, Sample, write_shard
from tests.index_rows import index_row
from tests.pipeline.conftest import make_receipt

SIDE = 100
Box = tuple[int, int, int, int]


def mask(*boxes: Box, side: int = SIDE) -> dict[str, Any]:
    """RLE of the union of boxes (left, top, right, bottom)."""
    pixels = np.zeros((side, side), bool)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = True
    return Rle.encode(pixels).to_coco()


def pair(noun: str, region: Any, score: float = 0.3, canonical: str | None = None) -> dict[str, Any]:  # noqa: ANN401
    """The keys of a pair's JSON that an audit reads, beside the image's."""
    return {
        "noun": noun,
        "noun_canonical": canonical or noun,
        "score_cosine": score,
        "mask_id": digest(region)[:16],
        "mask_rle": region,
        "image_height_px": SIDE,
        "image_width_px": SIDE,
    }


def write_build(
    out: Path,
    images: Mapping[str, Sequence[dict[str, Any]]],
    nouns: int = 0,
    quarantined: Sequence[str] = (),
    images_per_shard: int = 2,
    files: Mapping[str, str] | None = None,
) -> Path:
    """A finished build with the given pairs of each image; of each image as many nouns, at least one per pair."""
    names = [*images, *quarantined]
    units = [names[start : start + images_per_shard] for start in range(0, len(names), images_per_shard)]
    for number, unit in enumerate(units):
        samples = [
            Sample(f"{names.index(image):09d}-{place:03d}", {"jpg": b"no picture", "json": description})
            for image in unit
            for place, entry in enumerate(images.get(image, ()))
            for description in [_description(image, entry)]
        ]
        shard = out / shard_name(number)
        shard.parent.mkdir(parents=True, exist_ok=True)
        with open(shard, "wb") as file:
            write_shard(samples, file)
    rows: list[dict[str, Any]] = [
        {
            "image_id": name,
            "file": (files or {}).get(name, f"photos/{name}.jpg"),
            "status": "quarantined" if name in quarantined else "pairs" if images[name] else "no_pairs",
            "nouns": max(nouns, len(images.get(name, ()))),
            "pairs": len(images.get(name, ())),
            "dropped": [],
        }
        for name in names
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, TABLES["images"]), out / "images.parquet")
    receipts = [make_receipt(number) for number in range(len(units))]
    lock = Lock(
        format=FORMAT,
        plan=PlanDocument(format=FORMAT, config={}, inputs={}, models={}, images=len(names), rows="", set_aside={}),
        plan_digest="abc",
        manifest={},
        libraries={},
        devices=[],
        fingerprints=[],
        poison_images=[],
        counts=Counts.total(receipt.counts for receipt in receipts),
        units=[LockedUnit.of(receipt) for receipt in receipts],
        images_root="",
        tables={},
    )
    (out / "build.lock.json").write_bytes(canonical_json(lock.values()))
    return out


def _description(image: str, entry: dict[str, Any]) -> bytes:
    """A pair's JSON with the keys that an audit reads; all others say nothing."""
    values = {name: value for name, value in entry.items() if name != "mask_rle"}
    return Description(index_row(image_id=image, **values), [], entry["mask_rle"]).to_json()


def write_truth(
    path: Path,
    classes: Sequence[Any],
    images: Mapping[str, Sequence[tuple[str, Any] | tuple[str, Any, int]]],
    changes: Mapping[str, Any] | None = None,
) -> str:
    """A COCO file: (class, segmentation[, iscrowd]) of each image; ids that are numbers stand as numbers."""
    categories = [entry if isinstance(entry, dict) else {"name": entry} for entry in classes]
    categories = [{"id": number, **entry} for number, entry in enumerate(categories, start=1)]
    numbers = {entry["name"]: entry["id"] for entry in categories}
    annotations = [
        {"image_id": _id(image), "category_id": numbers[name], "segmentation": region, "iscrowd": sum(crowd)}
        for image, regions in images.items()
        for name, region, *crowd in regions
    ]
    data = {
        "images": [{"id": _id(image), "file_name": f"{image}.jpg", "height": SIDE, "width": SIDE} for image in images],
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations, start=1)],
        "categories": categories,
        **(changes or {}),
    }
    path.write_text(json.dumps(data))
    return str(path)


def _id(image: str) -> int | str:
    return int(image) if image.isdigit() else image
