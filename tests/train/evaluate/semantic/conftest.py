"""Four pictures with labels, and a CLIP with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.tiny_clip import save_tiny_clip
from train.evaluate.semantic import SemanticManifest

NAMES = ("cat", "grass", "sky")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A set: sky above grass, a cat of ids 7, 8, 9 in another place of each picture, a border that is ignored."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    colours = np.array([[0, 0, 0], [200, 120, 40], [30, 160, 30], [90, 140, 240]], np.uint8)
    for number in range(4):
        labels = np.full((48, 64), 9, np.uint8)
        labels[24:] = 8
        labels[20:36, 10 * number : 10 * number + 14] = 7
        labels[:, -2:] = 0
        noise = rng.integers(0, 25, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(colours[np.maximum(labels.astype(int) - 6, 0)] // 2 + noise).save(root / f"images/{number}.png")
        Image.fromarray(labels).save(root / f"labels/{number}.png")
    (root / "classes.json").write_text(json.dumps([{"id": 7 + at, "name": name} for at, name in enumerate(NAMES)]))
    return {
        "kind": "folder",
        "images": str(root / "images"),
        "labels": str(root / "labels"),
        "classes": str(root / "classes.json"),
    }


def manifest(folder: dict[str, Any], **keys: Any) -> SemanticManifest:  # noqa: ANN401 - any key's value
    return SemanticManifest.model_validate({"kind": "semantic_segmentation", "set": folder, **keys})


def segmenter(clip: str, kind: str = "classical", /, **keys: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"proposer": {"kind": kind}, "clip": {"model": clip}, "templates": ["a {}"], "device": "cpu", **keys}


def labels_of(folder: dict[str, Any]) -> dict[str, np.ndarray]:
    return {path.stem: np.array(Image.open(path)) for path in sorted(Path(folder["labels"]).glob("*.png"))}
