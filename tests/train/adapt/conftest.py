"""A handful of pairs as shards, and a random CLIP that a recipe begins with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.tiny_clip import MODEL_CFG, save_tiny_clip
from train.adapt import AdaptManifest
from train.clip.checkpoint.folder import load_adapted

NOUNS = ("dog", "cat", "dogs", "red car", "tree", "cat", "house", "dog")
Recipe = Callable[..., AdaptManifest]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of 24 pairs: coloured ellipses on noise."""
    path = tmp_path_factory.mktemp("pairs") / "000.tar"
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40]
    with tarfile.open(path, "w") as tar:
        for number in range(24):
            noun = NOUNS[number % len(NOUNS)]
            mask = (rows - 20) ** 2 / (8 + number % 5) ** 2 + (columns - 20) ** 2 / 144 < 1
            pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
            pixels[mask] = 40 * NOUNS.index(noun) + np.array([0, 5, 10])
            canonical = json.dumps({"noun_canonical": noun.removesuffix("s")})
            members = {"jpg": _file(pixels, "JPEG"), "mask.png": _file(mask, "PNG")}
            for name, data in {**members, "txt": noun.encode(), "json": canonical.encode()}.items():
                info = tarfile.TarInfo(f"{number:03d}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def _file(pixels: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    vision = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}
    text = {**MODEL_CFG["text_cfg"], "width": 32, "layers": 1}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'), model_cfg=config)}"


@pytest.fixture
def recipe(pairs: Path, clip: str) -> Recipe:
    """A manifest of six steps of joint training; keys replace its own."""

    def make(**settings: Any) -> AdaptManifest:  # noqa: ANN401 - any key's value
        phase = {"train": "both", "steps": 6, "tower_lr": 1e-3, "prompts_lr": 1e-2, "warmup_steps": 2}
        values: dict[str, Any] = {
            "kind": "adapt",
            "init": {"model": clip},
            "data": {"sets": [{"shards": [str(pairs)]}], "workers": 0},
            "phases": [phase],
            "prompt_depth": 2,
            "loss": {"logit_scale": 20},
            "batch_size": 8,
            "checkpoint_every": 2,
            "log_every": 1,
            "device": "cpu",
            "precision": "fp32",
        }
        return AdaptManifest.model_validate({**values, **settings})

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, _, _ = load_adapted(folder)
    return dict(model.state_dict())


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
