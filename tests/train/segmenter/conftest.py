"""Tiny models, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.tiny_clip import MODEL_CFG, save_tiny_clip
from tests import tiny_models
from train.segmenter import SegmenterConfig

SMALL_CFG: dict[str, Any] = {
    **MODEL_CFG,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'), model_cfg=SMALL_CFG)}"


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model with soft masks and classes cat, dog, grass; one with windows; one without classes."""
    root = tmp_path_factory.mktemp("generators")
    return {
        "maskformer": tiny_models.tiny_maskformer(root / "maskformer"),
        "eomt": tiny_models.tiny_eomt(
            root / "eomt", do_split_image=True, do_pad=False, size={"shortest_edge": 64, "longest_edge": None}
        ),
        "sam": tiny_models.tiny_sam(root / "sam"),
    }


def config(clip: str, proposer: dict[str, Any], /, **keys: Any) -> SegmenterConfig:  # noqa: ANN401 - any key's value
    values = {"proposer": proposer, "clip": {"model": clip}, "templates": ["a {}"], "device": "cpu"}
    values["precision"] = "fp32"
    return SegmenterConfig.model_validate({**values, **keys})


def photo(height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    """Four coloured quarters with noise: masks without weights find them."""
    pixels = np.random.default_rng(0).integers(0, 30, (height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2, 0] += 200
    pixels[height // 2 :, : width // 2, 1] += 200
    pixels[: height // 2, width // 2 :, 2] += 200
    return pixels
