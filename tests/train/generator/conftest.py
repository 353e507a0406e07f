"""Pictures of shapes with their masks in COCO's form, and the recipe of a tiny generator that learns them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from train.generator.config import GeneratorManifest

SIDE = 64
TINY = {
    "stem_width": 16,
    "widths": [16, 32, 32, 32],
    "depths": [1, 1, 1, 1],
    "neck_width": 32,
    "tower_width": 32,
    "mask_width": 32,
    "kernel_width": 8,
    "side_px": SIDE,
}
Recipe = Callable[..., GeneratorManifest]


def rle(mask: np.ndarray) -> dict[str, Any]:
    coded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": coded["counts"].decode()}


def write_shapes(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` pictures: a box and a disc, which do not touch, on a ground of two colours."""
    (folder / "images").mkdir(parents=True)
    images, things, stuff = [], [], []
    for number in range(1, count + 1):
        rng = np.random.default_rng([seed, number])
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        edge = int(rng.integers(24, 40))
        ground = np.zeros((SIDE, SIDE), bool)
        ground[edge:] = True
        picture[~ground], picture[ground] = (200, 180, 90), (60, 120, 40)
        box, disc = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        left, top = (int(value) for value in rng.integers(3, 12, 2))
        cv2.rectangle(box, (left, top), (left + 16, top + 20), 1, -1)
        cv2.circle(disc, (int(rng.integers(42, 50)), int(rng.integers(30, 50))), int(rng.integers(8, 12)), 1, -1)
        picture[box > 0], picture[disc > 0] = (30, 30, 220), (220, 40, 200)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE})
        covered = (box | disc) > 0
        for at, mask in enumerate((box, disc)):
            things.append(
                {"id": number * 10 + at, "image_id": number, "category_id": 1 + at, "segmentation": rle(mask)}
            )
        for at, mask in enumerate((~ground & ~covered, ground & ~covered)):
            stuff.append({"id": number * 10 + at, "image_id": number, "category_id": 3 + at, "segmentation": rle(mask)})
    names = {"things": ("box", "disc"), "stuff": ("sky", "grass")}
    for name, masks, first in (("things", things, 1), ("stuff", stuff, 3)):
        categories = [{"id": first + at, "name": each} for at, each in enumerate(names[name])]
        document = {"images": images, "annotations": masks, "categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def change(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits a JSON file."""
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


def mask_set(folder: Path, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - any key's value
    files = {"annotations": [str(folder / "things.json")], "stuff": [str(folder / "stuff.json")]}
    return {"images": str(folder / "images"), **files, **settings}


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", 24)


@pytest.fixture
def own_shapes(tmp_path: Path) -> Path:
    """Six pictures that a test may spoil."""
    return write_shapes(tmp_path / "shapes", 6)


@pytest.fixture
def recipe(shapes: Path) -> Recipe:
    """A manifest of six steps; keys replace its own."""

    def make(data: dict[str, Any] | None = None, **settings: Any) -> GeneratorManifest:  # noqa: ANN401 - any key's value
        values: dict[str, Any] = {
            "kind": "generator",
            "network": {"kind": "grid", "config": TINY},
            "data": {
                "sets": [mask_set(shapes)],
                "held_out": 0.2,
                "sides_px": [SIDE],
                "augment": {"scale": [0.9, 1.1], "color": 0.1},
                "workers": 0,
                **(data or {}),
            },
            "batch_size": 4,
            "steps": 6,
            "lr": 3e-3,
            "warmup_steps": 2,
            "ema_decay": 0.5,
            "checkpoint_every": 2,
            "log_every": 1,
            "device": "cpu",
            "precision": "fp32",
        }
        return GeneratorManifest.model_validate({**values, **settings})

    return make
