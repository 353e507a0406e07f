"""A dataset of any size from a few photos: the same files under new ids, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from benchmarks.tiny_clip import save_tiny_clip


def write_table(folder: Path, photos: Path, captions: Path, images: int) -> Path:
    """A JSONL table of `images` rows over COCO-style photos, each under a fresh id; photos repeat in turn."""
    data = json.loads(captions.read_text())
    texts: dict[int, list[str]] = {}
    for annotation in data["annotations"]:
        texts.setdefault(annotation["image_id"], []).append(annotation["caption"])
    known = sorted(data["images"], key=lambda image: int(image["id"]))
    file = folder / f"table{images}.jsonl"
    with open(file, "w") as lines:
        for row in range(images):
            image = known[row % len(known)]
            values = {"id": f"{row:07d}", "image": str(photos / image["file_name"]), "caption": texts[image["id"]]}
            lines.write(json.dumps(values) + "\n")
    return file


def write_manifest(folder: Path, table: Path, **shards: Any) -> Path:  # noqa: ANN401 - YAML values
    """A build manifest over such a table: classical proposals, the tiny CLIP, no cache."""
    clip = save_tiny_clip(folder / "clip")
    values = {
        "version": 2,
        "kind": "build",
        "source": {"kind": "table", "path": str(table), "columns": {"id": "id"}},
        "proposals": {"proposer": {"kind": "classical"}},
        "matching": {"clip": {"model": f"local-dir:{clip}"}},
        "shards": shards,
        "run": {"cache": "none"},
    }
    file = folder / f"{table.stem}.yaml"
    file.write_text(yaml.safe_dump(values))
    return file
