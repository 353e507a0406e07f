"""Several photos in one forward pass: the masks of each are those that it has alone, and a bad one costs no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from stages.common import ImageRecord, Proposal, SampleError
from stages.proposals import BatchProposer, ProposalsConfig, build_proposer
from stages.proposals.grid import GridConfig, GridGenerator, save_grid
from tests import tiny_models

RECORD = ImageRecord("1", "1.jpg", ())
SAM = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0}


def tiny_grid(folder: Path) -> Path:
    torch.manual_seed(3)
    narrow = {"stem_width": 16, "neck_width": 16, "tower_width": 16, "mask_width": 16, "kernel_width": 4, "side_px": 64}
    network = GridGenerator(GridConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), **narrow))
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.zeros_(head.bias)
    save_grid(network, folder)
    return folder


MODELS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "maskformer": (tiny_models.tiny_maskformer, {}),
    "mask2former": (tiny_models.tiny_mask2former, {}),
    "oneformer": (tiny_models.tiny_oneformer, {}),
    "eomt": (tiny_models.tiny_eomt, {}),
    "grid": (tiny_grid, {}),
    "sam": (tiny_models.tiny_sam, SAM),
    "sam_hq": (tiny_models.tiny_sam_hq, SAM),
    "sam2": (tiny_models.tiny_sam2, {**SAM, "crops_n_layers": 1}),
}


def photo(seed: int, height_px: int = 77, width_px: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def alike(found: list[Proposal] | SampleError, alone: list[Proposal]) -> None:
    assert not isinstance(found, SampleError)
    assert len(found) == len(alone)
    for mine, expected in zip(found, alone, strict=True):
        assert mine.score == pytest.approx(expected.score, abs=1e-4)
        assert mine.label == expected.label
        assert (mine.rle.decode() != expected.rle.decode()).mean() < 0.01


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_gives_each_photo_its_own_masks(name: str, tmp_path: Path) -> None:
    make, keys = MODELS[name]
    kind = "sam" if name.startswith("sam") else name
    config = {"kind": kind, "model": str(make(tmp_path / "model")), **keys}
    proposer = build_proposer(TypeAdapter(ProposalsConfig).validate_python(config))
    assert isinstance(proposer, BatchProposer)
    images = [photo(1), photo(2), photo(3)]
    for found, image in zip(proposer.propose_batch(images), images, strict=True):
        alike(found, proposer.propose(RECORD, image))


@pytest.mark.parametrize("name", ["maskformer", "mask2former", "eomt", "sam"])
def test_photos_of_other_sizes_share_a_batch_and_a_sliver_has_an_error(name: str, tmp_path: Path) -> None:
    make, keys = MODELS[name]
    config = {"kind": name, "model": str(make(tmp_path / "model")), **keys}
    proposer = build_proposer(TypeAdapter(ProposalsConfig).validate_python(config))
    assert isinstance(proposer, BatchProposer)
    images = [photo(1, 60, 90), photo(2, 1, 500), photo(3, 90, 60)]
    first, sliver, last = proposer.propose_batch(images)
    assert isinstance(sliver, SampleError)
    assert sliver.reason == "unusable_shape"
    for found, image in ((first, images[0]), (last, images[2])):
        assert not isinstance(found, SampleError)
        assert len(found) == len(proposer.propose(RECORD, image))
        assert {(one.rle.height, one.rle.width) for one in found} == {image.shape[:2]}
