"""Real photos: 80 of COCO with all their captions. Skipped where the test data is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from pipeline.manifest import BuildManifest
from pipeline.verify import verify
from tests.pipeline.conftest import bytes_of, run_build

WORLD_CLIP = f"local-dir:{Path(__file__).parents[2] / 'pipeline/world/clip'}"


def coco_mini(data: Path, clip: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML values
    folder = data / "coco-mini"
    if not folder.is_dir():
        pytest.skip(f"no coco-mini in {data}")
    source = {
        "kind": "coco",
        "images": str(folder / "train2017"),
        "captions": str(folder / "annotations/captions_train2017.json"),
        "masks": [str(folder / "annotations/instances_train2017.json")],
    }
    return {"source": source, "matching": {"clip": {"model": clip}}, "shards": {"images_per_shard": 16}, **changes}


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(("proposer", "limit"), [("ground_truth", 80), ("classical", 8)])
def test_real_photos_give_the_same_bytes_on_every_runner(
    shared_data: Path, tmp_path: Path, proposer: str, limit: int
) -> None:
    """By the world's CLIP, which knows no photos. benchmarks/runners.py has classical proposals on all."""
    found = {}
    for name, run in {
        "loop": {"runner": "loop"},
        "one": {"runner": "ray", "workers": 1},
        "two": {"runner": "ray", "workers": 2},
    }.items():
        values = coco_mini(
            shared_data, WORLD_CLIP, proposals={"proposer": {"kind": proposer}}, run={**run, "cache": "none"}
        )
        values["source"]["limit"] = limit
        run_build(BuildManifest.model_validate(values), tmp_path / name)
        found[name] = bytes_of(tmp_path / name)
    assert found["loop"] == found["one"] == found["two"]
    images = pyarrow.parquet.read_table(tmp_path / "loop/images.parquet").to_pylist()
    assert len(images) == limit
    assert all(row["pairs"] or row["reason"] or row["status"] == "quarantined" for row in images)
    assert sum(row["pairs"] for row in images) > limit
    assert verify(str(tmp_path / "loop"))[1] == []


def test_first_caption_and_the_published_nouns(shared_data: Path, tiny_clip: str, tmp_path: Path) -> None:
    values = coco_mini(
        shared_data,
        tiny_clip,
        proposals={"proposer": {"kind": "ground_truth"}},
        nouns={"extractor": {"kind": "nltk"}},
        run={"runner": "loop", "cache": "none"},
    )
    values["source"]["use_captions"] = "first"
    run_build(BuildManifest.model_validate(values), tmp_path / "out")
    rows = pyarrow.parquet.read_table(tmp_path / "out/index.parquet").to_pylist()
    assert {row["caption_number"] for row in rows} == {0}
    assert all(row["noun_rule"].startswith("tag:NN") for row in rows)
    assert all(" " not in row["noun"] for row in rows)
