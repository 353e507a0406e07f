"""A grid generator as a proposer: masks on the photo, none twice, and folders that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from stages.common import ImageRecord, UserError
from stages.proposals import build_proposer, grid_masks, model_files
from stages.proposals.grid import GridConfig, GridGenerator, load_grid, save_grid
from stages.proposals.grid_masks import GridModel
from stages.proposals.models import GridProposals

SMALL = GridConfig(
    stem_width=16,
    widths=(16, 16, 16, 16),
    depths=(1, 1, 1, 1),
    neck_width=16,
    tower_width=16,
    mask_width=16,
    kernel_width=4,
    side_px=64,
)
RECORD = ImageRecord("1", "1.png", ())


@pytest.fixture(scope="module")
def network() -> GridGenerator:
    """Random weights whose masks and scores differ from cell to cell."""
    torch.manual_seed(3)
    network = GridGenerator(SMALL)
    for head in network.heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.zeros_(head.bias)
    return network.eval()


@pytest.fixture(scope="module")
def folder(network: GridGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "grid"
    save_grid(network, folder)
    return folder


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (50, 80, 3), np.uint8)


def config(folder: Path, **settings: float) -> GridProposals:
    return GridProposals.model_validate({"model": str(folder), **settings})


def test_masks_have_the_photo_s_size_and_the_best_come_first(folder: Path, photo: np.ndarray) -> None:
    found = build_proposer(config(folder)).propose(RECORD, photo)
    assert len(found) > 1
    assert {(one.rle.height, one.rle.width) for one in found} == {(50, 80)}
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert {(one.source, one.label) for one in found} == {("grid", None)}


def test_no_two_masks_are_alike_and_none_is_too_much(network: GridGenerator, photo: np.ndarray) -> None:
    strict = GridProposals(model="none", nms_iou=0.3, min_score=0.0)
    masks = (GridModel(network, strict).queries(photo).mask_logits > 0).numpy()
    coded = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    ious = coco_mask.iou(coded, coded, [0] * len(coded)) - np.eye(len(coded))
    assert len(coded) > 1
    assert ious.max() <= 0.3
    few = GridProposals(model="none", min_score=0.0, max_proposals=2)
    assert len(GridModel(network, few).queries(photo).mask_logits) == 2


def test_nothing_is_found_where_no_score_is_high_enough(folder: Path, photo: np.ndarray) -> None:
    assert build_proposer(config(folder, min_score=1.0)).propose(RECORD, photo) == []


def test_padding_proposes_nothing(network: GridGenerator) -> None:
    """A flat photo fills half of the square: cells below it would speak for padding."""
    output = network(torch.rand(1, 3, 64, 64) * 255)

    every = GridProposals(model="none", min_score=0.0)
    scores, kernels = grid_masks._candidates(output, (32, 64), every)
    all_scores, _ = grid_masks._candidates(output, (64, 64), every)
    assert 0 < len(scores) < len(all_scores)
    assert kernels.shape == (len(scores), output.mask_features.shape[1])


def test_a_photo_of_the_network_s_size_is_not_resized(network: GridGenerator) -> None:
    photo = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    pixels, window = GridModel(network, GridProposals(model="none"))._input(photo)
    assert torch.equal(pixels[0], torch.from_numpy(photo).permute(2, 0, 1).float())
    assert window.input_hw_px == window.valid_hw_px == (64, 64)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 400), (400, 1), (63, 65), (500, 300)])
def test_photos_of_any_shape_are_used(folder: Path, size_hw: tuple[int, int]) -> None:
    photo = np.random.default_rng(2).integers(0, 255, (*size_hw, 3), np.uint8)
    found = build_proposer(config(folder)).propose(RECORD, photo)
    assert {(one.rle.height, one.rle.width) for one in found} <= {size_hw}


def test_saved_weights_are_those_that_were_trained(network: GridGenerator, folder: Path) -> None:
    again = load_grid(folder, "grid", "cpu")
    assert again.config == SMALL
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    assert [file.name for file in model_files(config(folder))] == ["config.json", "model.safetensors"]


def test_two_objects_alike_have_positions_to_tell_them_apart(network: GridGenerator) -> None:
    """A kernel that is linear in these features is right of any line, whatever the pixels show."""
    features = network(torch.full((1, 3, 64, 64), 90.0)).mask_features[0]
    x = features[SMALL.kernel_width + 1]
    assert float(x[:, 0].max()) < -0.9
    assert float(x[:, -1].min()) > 0.9
    assert (x.diff(dim=1) > 0).all()
    assert (features[-1] == 1).all()  # the kernel's offset


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mask2former"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"proposer.model: .*model_type 'mask2former'.*expects maskmine_grid"):
        build_proposer(config(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": [32, 16, 16, 16]}, r"proposer.model: .*expected config.json and model.safetensors of a grid"),
        ({"stem_width": 7}, r"proposer.model: .*expected config.json and model.safetensors of a grid"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    network: GridGenerator, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save_grid(network, tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(UserError, match=message):
        build_proposer(config(tmp_path))


def test_damaged_weights_are_refused(network: GridGenerator, tmp_path: Path) -> None:
    save_grid(network, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\x00\x00")
    with pytest.raises(UserError, match=r"proposer.model: .*expected config.json and model.safetensors of a grid"):
        build_proposer(config(tmp_path))
