"""The published system at other sizes and settings than the released ones', against plain arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests import ovseg_reference
from tests.tiny_ovseg import CLIP, CLIP_SIDE_PX, Sizes, ovseg_state
from train.segmenter.published import load_ovseg

SETTINGS: dict[str, dict[str, Any]] = {
    "input": {"MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 96, "FORMAT": "RGB"},
    "mask_former": {"NHEADS": 2, "SIZE_DIVISIBILITY": 32},
    "clip_adapter": {
        **{"MASK_THR": 0.5, "MASK_EXPAND_RATIO": 1.0, "MASK_PROMPT_FWD": True},
        **{"CLIP_ENSEMBLE": True, "CLIP_ENSEMBLE_WEIGHT": 0.7},
    },
    "resnets": {},
    "clip": {"vision_heads": 1, "quick_gelu": True},
}
COLOURS = {"pixel_mean": (123.675, 116.28, 103.53), "pixel_std": (58.395, 57.12, 57.375)}


def settings(swin: bool, changes: dict[str, Any]) -> dict[str, Any]:
    """All of them, some changed: a section's keys, or a colour."""
    backbone = "D2SwinTransformer" if swin else "build_resnet_deeplab_backbone"
    found: dict[str, Any] = {"backbone": backbone, **COLOURS, **SETTINGS}
    for key, value in changes.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    return found


def photo(height: int, width: int) -> Any:  # noqa: ANN401
    """Blots of colour, so that masks follow something."""
    blots = np.random.default_rng(0).integers(0, 256, (-(-height // 9), -(-width // 9), 3), dtype=np.uint8)
    return np.array(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))


def words(count: int) -> Tensor:
    """Like each other, as names are, so that no softmax is sure."""
    drawn = torch.randn(count, CLIP, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.normalize(0.05 * drawn + drawn[:1], dim=-1)


def agree(swin: bool, sizes: Sizes, changes: dict[str, Any], hw: tuple[int, int] = (48, 70), **given: Any) -> None:  # noqa: ANN401
    """Scores of half of the masks that are empty, and of none, are those of the reference."""
    state, config, image = ovseg_state(swin, vocabulary=30, sizes=sizes, **given), settings(swin, changes), photo(*hw)
    state["clip_adapter.non_object_embedding"] = 3 * words(4)[3:]  # else it would win everywhere
    for threshold in (0.5, 0.9):
        config = {**config, "clip_adapter": {**config["clip_adapter"], "MASK_THR": threshold}}
        expected = ovseg_reference.score_maps(state, config, image, words(3), CLIP_SIDE_PX)
        found = load_ovseg(state, config).score_maps(image, words(3))
        assert float((found - expected).abs().max()) < 2e-4 * max(1.0, float(expected.abs().max()))
        assert float(expected.max() - expected.min()) > 1e-4, "scores that are all alike show nothing"


@pytest.mark.parametrize("name", ["dev", "dev_r50c"])
@pytest.mark.parametrize("number", [0, 1])
def test_the_reference_is_the_published_system(name: str, number: int, shared_data: Path) -> None:
    file = shared_data / f"golden/ovseg_two_stage_{name}.npz"
    if not file.is_file():
        pytest.skip(f"reference numbers not found at {file}")
    data = np.load(file)
    state = {key.removeprefix("state/"): data[key] for key in data if key.startswith("state/")}
    config, text = json.loads(str(data["config_json"])), torch.from_numpy(data["text_features"])
    found = ovseg_reference.score_maps(state, config, data[f"image{number}.photo"], text)
    np.testing.assert_allclose(found, data[f"image{number}.sem_seg"], atol=5e-5)


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(width=6, depths=(1, 2, 3, 2), heads=(1, 3, 4, 2), window=5, mlp=2.5),  # shifted, larger than the last map
        Sizes(width=8, depths=(2, 1, 1, 2), heads=(1, 2, 4, 8), window=1, qkv_bias=False),
        Sizes(width=16, hidden=128, project=False, layers=3, ffn=7, queries=1, embed=(9, 1)),
        Sizes(hidden=48, features=64, mask=5, queries=7, embed=(11, 3), clip_width=128, clip_layers=4),
    ],
)
def test_a_swin_of_any_size(sizes: Sizes) -> None:
    agree(True, sizes, {"clip": {"vision_heads": 2 if sizes.clip_width == 128 else 1}})


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(stem=13, res2=18, group_width=3),  # no width is a fixed share of another
        Sizes(stem=12, deep=False, res2=24, group_width=4, blocks=(2, 1, 2, 3)),
        Sizes(stem=16, res2=16, groups=4, group_width=2, blocks=(3, 4, 6, 3)),  # its first block has no shortcut
    ],
)
def test_a_resnet_of_any_size(sizes: Sizes) -> None:
    agree(False, sizes, {})


@pytest.mark.parametrize(
    ("swin", "changes"),
    [
        (False, {"resnets": {"RES5_DILATION": 2, "RES5_MULTI_GRID": (2, 3, 1)}}),
        (False, {"resnets": {"RES4_DILATION": 2, "RES5_DILATION": 4, "STRIDE_IN_1X1": True}}),
        (False, {"backbone": "build_resnet_backbone", "mask_former": {"SIZE_DIVISIBILITY": 0}}),
        (True, {"mask_former": {"NHEADS": 8, "SIZE_DIVISIBILITY": 64}}),
        (True, {"mask_former": {"SIZE_DIVISIBILITY": 1}}),
        (True, {"input": {"FORMAT": "BGR"}, "pixel_mean": (10.0, 90.0, 130.0), "pixel_std": (80.0, 60.0, 40.0)}),
        (True, {"clip_adapter": {"CLIP_ENSEMBLE": False}}),
        (True, {"clip_adapter": {"CLIP_ENSEMBLE_WEIGHT": 0}}),
        (True, {"clip_adapter": {"CLIP_ENSEMBLE_WEIGHT": 0.45, "MASK_EXPAND_RATIO": 1.5}}),
        (True, {"clip_adapter": {"CLIP_ENSEMBLE_WEIGHT": 1.0, "MASK_PROMPT_FWD": False}}),
        (True, {"clip": {"vision_heads": 4, "quick_gelu": False}, "clip_adapter": {"CLIP_ENSEMBLE_WEIGHT": 0.9}}),
    ],
)
def test_a_setting_is_followed(swin: bool, changes: dict[str, Any]) -> None:
    agree(swin, Sizes(), changes)


@pytest.mark.parametrize("hw", [(92, 40), (37, 37), (1, 1), (3, 7), (150, 151)])
def test_a_photo_of_any_size(hw: tuple[int, int]) -> None:
    agree(True, Sizes(), {"clip_adapter": {"CLIP_ENSEMBLE_WEIGHT": 0.5}}, hw)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_prompts_of_any_depth(depth: int) -> None:
    agree(True, Sizes(), {"clip_adapter": {"CLIP_ENSEMBLE_WEIGHT": 0.9}}, depth=depth)


@pytest.mark.parametrize(
    ("hw", "short", "longest", "resized"),
    [
        ((25, 256), 72, 128, (13, 128)),  # 12.5 in exact numbers: the order of the steps decides
        ((22, 512), 72, 128, (5, 128)),
        ((49, 192), 64, 96, (25, 96)),
        ((192, 49), 64, 96, (96, 25)),
        ((37, 160), 33, 80, (19, 80)),
        ((480, 640), 640, 2560, (640, 853)),
        ((500, 3000), 640, 2560, (427, 2560)),
    ],
)
def test_sides_are_rounded_as_published(
    hw: tuple[int, int], short: int, longest: int, resized: tuple[int, int]
) -> None:
    from stages.proposals.ovseg import resized_hw
    from stages.proposals.ovseg_settings import InputSettings

    assert resized_hw(*hw, InputSettings(MIN_SIZE_TEST=short, MAX_SIZE_TEST=longest)) == resized
