"""A tiny CLIP, small photos, and builds in this process on one shared Ray cluster."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.tiny_clip import save_tiny_clip
from pipeline.build import Outcome, build
from pipeline.manifest import BuildManifest, parse_manifest
from tests.photos import write_photos


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """open_clip name of a small CLIP with fixed random weights."""
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photos in COCO's layout; tests must not change them."""
    return write_photos(tmp_path_factory.mktemp("photos"), 10)


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One Ray cluster for all tests of this process: it starts slowly."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=128 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def manifest_values(folder: Path, clip: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML values
    """A manifest over `write_photos`, ground-truth masks, 3 images a shard; `a__b=value` sets a nested key."""
    values: dict[str, Any] = {
        "source": {
            "kind": "coco",
            "images": str(folder / "images"),
            "captions": str(folder / "captions.json"),
            "masks": [str(folder / "instances.json")],
        },
        "proposals": {"proposer": {"kind": "ground_truth"}},
        "nouns": {"extractor": {"kind": "spacy"}},
        # With random weights this rule gives each noun a pair; the default leaves few.
        "matching": {"clip": {"model": clip}, "rules": {"strategy": "best_mask_per_noun"}},
        "shards": {"images_per_shard": 3},
        "run": {"runner": "loop", "cache": "none"},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


@pytest.fixture
def manifest(photos: Path, tiny_clip: str) -> Callable[..., BuildManifest]:
    """Makes manifests over the ten photos."""

    def make(folder: Path = photos, **changes: Any) -> BuildManifest:  # noqa: ANN401
        return parse_manifest(manifest_values(folder, tiny_clip, **changes), "test")

    return make


def run_build(manifest: BuildManifest, out: Path | str, **options: Any) -> Outcome:  # noqa: ANN401
    """Builds quietly."""
    return build(manifest, str(out), Console(file=io.StringIO()), **options)


def bytes_of(out: Path) -> dict[str, str]:
    """SHA-256 of all that a build promises to reproduce."""
    files = [
        *sorted((out / "shards").iterdir()),
        *sorted(out.glob("*.parquet")),
        out / "build.lock.json",
        out / "README.md",
    ]
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
