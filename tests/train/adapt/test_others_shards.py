"""The command `maskmine train` on shards that others wrote: img2dataset's files, and masks of a third tool."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset as wds
import yaml
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.manifest import BuildManifest
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from tests.photos import write_photos
from tests.pipeline.conftest import manifest_values, run_build
from train.clip.checkpoint.folder import load_adapted, read_description

PICTURES, SHARDS = 12, 2
CAPTIONS = ("a Dog beside a red car", "two cats, one of them asleep", "Ein Bär im Grünen")
Train = Callable[..., str]


def encoded(pixels: Any, form: str) -> bytes:  # noqa: ANN401 - an array
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def write_like_img2dataset(folder: Path) -> Path:
    """NNNNN.tar with KEY.jpg, KEY.json, KEY.txt; NNNNN.parquet with a row for failed downloads, too; a count file."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for shard in range(SHARDS):
        rows = []
        with (folder / f"{shard:05d}.tar").open("wb") as file, wds.TarWriter(file) as tar:
            for number in range(PICTURES // SHARDS + 1):
                key, failed = f"{shard:05d}{number:04d}", number == 2
                row = {
                    "url": f"https://example.org/{key}",
                    "caption": CAPTIONS[number % len(CAPTIONS)],
                    "key": key,
                    "status": "failed_to_download" if failed else "success",
                    "error_message": "HTTP Error 404: Not Found" if failed else None,
                    "width": None if failed else 48,
                    "height": None if failed else 40,
                    "original_width": None if failed else 640,
                    "original_height": None if failed else 480,
                    "exif": None if failed else "{}",
                    "sha256": None if failed else "0" * 64,
                }
                rows.append(row)
                if not failed:
                    jpg = encoded(rng.integers(0, 255, (40, 48, 3), np.uint8), "JPEG")
                    described = json.dumps(row, indent=4)
                    tar.write({"__key__": key, "jpg": jpg, "txt": row["caption"], "json": described})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": len(rows), "successes": len(rows) - 1}))
    return folder


def add_masks(source: Path, target: Path) -> Path:
    """What a third tool does: a sample for each region of a picture, with its mask and its noun."""
    target.mkdir()
    rows, columns = np.mgrid[:40, :48]
    for path in sorted(source.glob("*.tar")):
        with (target / path.name).open("wb") as file, wds.TarWriter(file) as tar:
            for sample in wds.WebDataset(str(path), shardshuffle=False):
                for region, noun in enumerate(("Dog", "red car", "Bär")[: 1 + int(sample["__key__"]) % 2]):
                    mask = (rows - 20) ** 2 / 100 + (columns - 15 - 12 * region) ** 2 / 64 < 1
                    png = encoded(np.where(mask, 255, 0).astype(np.uint8), "PNG")
                    parts = {"jpg": sample["jpg"], "json": sample["json"], "mask.png": png, "txt": noun}
                    tar.write({"__key__": f"{sample['__key__']}-{region}", **parts})
    return target


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    return add_masks(write_like_img2dataset(folder / "img2dataset"), folder / "masked")


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, clip: str) -> Path:
    """A build of ten photos."""
    folder = tmp_path_factory.mktemp("mined")
    run_build(
        BuildManifest.model_validate(manifest_values(write_photos(folder / "photos", 10), clip)), folder / "build"
    )
    return folder / "build"


@pytest.fixture
def train(clip: str, tmp_path: Path) -> Train:
    """Runs the command in the folder of the test, on shard sets, with other keys; gives what it printed."""

    def run(sets: list[dict[str, Any]], out: str = "run", **settings: Any) -> str:  # noqa: ANN401
        values = {
            "version": 2,
            "kind": "adapt",
            "init": {"model": clip},
            "data": {"sets": sets, "workers": 0},
            "phases": [{"train": "both", "epochs": 2, "tower_lr": 1e-3, "warmup_steps": 1}],
            "prompt_depth": 2,
            "batch_size": 6,
            "log_every": 1,
            "device": "cpu",
            **settings,
        }
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(values))
        done = CliRunner().invoke(app, ["train", str(tmp_path / "train.yaml"), "--out", str(tmp_path / out)])
        assert done.exception is None, done.exception
        return done.output

    return run


def test_shards_of_img2dataset_with_masks_of_a_third_tool_train(
    train: Train, foreign: Path, clip: str, tmp_path: Path
) -> None:
    printed = train([{"shards": [str(foreign)]}])
    assert "step 6/6: loss " in printed
    model, _, description = load_adapted(tmp_path / "run/last")
    plain, _ = load_clip(ClipConfig(model=clip), "cpu")
    before, after = plain.state_dict(), model.clip.state_dict()
    assert not torch.equal(before["visual.conv1.weight"], after["visual.conv1.weight"])
    assert torch.equal(before["token_embedding.weight"], after["token_embedding.weight"])
    assert model.depth == 2
    data = description.provenance["data"]
    assert (data["pairs"], data["nouns"], data["left_out"]) == (18, 2, {})


def test_mixes_others_shards_with_a_build_by_weight(train: Train, foreign: Path, mined: Path, tmp_path: Path) -> None:
    built = pq.read_metadata(mined / "index.parquet").num_rows
    sets = [{"shards": [str(mined)]}, {"shards": [f"{foreign}/{{00000..00001}}.tar"], "weight": 0.5}]
    train(sets)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2 * ((built + 9) // 6)
    description = read_description(tmp_path / "run/last").provenance
    assert description["data"]["pairs"] == built + 18
    assert list(description["data"]["build_locks_sha256"]) == ["build"]
    train([sets[0], {**sets[1], "weight": 2.0}], out="more")
    lines = [json.loads(line) for line in (tmp_path / "more/log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2 * ((built + 36) // 6)


def test_shards_without_masks_are_refused_with_the_way_to_add_them(foreign: Path, train: Train) -> None:
    with pytest.raises(AssertionError, match=r"00000\.tar: 000000000 has no KEY\.mask\.png; see docs/shards-for"):
        train([{"shards": [str(foreign.parent / "img2dataset")]}])
