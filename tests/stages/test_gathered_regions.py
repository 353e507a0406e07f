"""Regions gathered on a device against those that OpenCV and torch cut; on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages import gathered_regions
from stages.clip_config import RegionRules
from stages.common import Rle
from stages.gathered_regions import Taps, gather_regions
from stages.regions import cut_regions
from tests.stages.test_regions import MEAN_255, drawn_masks, photo

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
RULES: list[dict[str, Any]] = [
    {},
    {"fill": "photo"},
    {"expand_ratio": 1.5},
    {"expand_ratio": 0.4},
    {"antialias": True},
    {"antialias": True, "expand_ratio": 3.0, "fill": "photo"},
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size_px", [7, 32, 100])
@pytest.mark.parametrize("rules", RULES)
def test_regions_are_those_of_the_cpu(device: str, size_px: int, rules: dict[str, Any]) -> None:
    image, masks = photo(), [Rle.encode(mask) for mask in drawn_masks().values()]
    expected, expected_keep = cut_regions(image, masks, size_px, MEAN_255, RegionRules(**rules))
    pixels, keep = gather_regions(torch.from_numpy(image).to(device), masks, size_px, MEAN_255, RegionRules(**rules))
    assert (pixels.shape, pixels.dtype, pixels.device.type) == (expected.shape, torch.float32, device)
    assert float((pixels.cpu() - expected).abs().max()) < 1e-3
    assert torch.equal(keep.cpu(), expected_keep)


def test_normalised_regions() -> None:
    image, masks, std_rgb = photo(), [Rle.encode(mask) for mask in drawn_masks().values()], (60.0, 70.0, 80.0)
    expected, _ = cut_regions(image, masks, 20, MEAN_255, RegionRules(), std_rgb)
    pixels, _ = gather_regions(torch.from_numpy(image), masks, 20, MEAN_255, RegionRules(), std_rgb)
    assert float((pixels - expected).abs().max()) < 2e-5


@pytest.mark.parametrize("antialias", [False, True])
def test_a_photo_of_many_pixels(antialias: bool) -> None:
    image = photo(900, 1300)
    rows, columns = np.mgrid[:900, :1300]
    masks = [Rle.encode(np.asarray(mask, bool)) for mask in (rows + columns > 500, (rows - 300) ** 2 < columns * 90)]
    rules = RegionRules(antialias=antialias)
    expected, expected_keep = cut_regions(image, masks, 64, MEAN_255, rules)
    pixels, keep = gather_regions(torch.from_numpy(image), masks, 64, MEAN_255, rules)
    assert float((pixels - expected).abs().max()) < 1e-3
    assert torch.equal(keep, expected_keep)


def test_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, masks = torch.from_numpy(photo()), [Rle.encode(mask) for mask in drawn_masks().values()]
    asked = image, masks, 16, MEAN_255, RegionRules(antialias=True)
    at_once = gather_regions(*asked)
    monkeypatch.setattr(gathered_regions, "_BLOCK_VALUES", 16 * 16 * 40)
    for found, expected in zip(gather_regions(*asked), at_once, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_weights_sum_to_one_and_places_lie_inside() -> None:
    for before, after, antialias in ((1, 5, False), (1, 5, True), (50, 7, True), (3, 50, True), (640, 224, False)):
        taps = Taps.of(before, after, antialias)
        assert np.allclose(taps.weights.sum(axis=1), 1, atol=1e-6)
        assert taps.places.min() >= 0
        assert taps.places.max() < before


def test_empty_masks_and_other_sizes_are_refused() -> None:
    image = torch.from_numpy(photo())
    with pytest.raises(ValueError, match="empty"):
        gather_regions(image, [Rle.encode(np.zeros((41, 57), bool))], 8, MEAN_255, RegionRules())
    with pytest.raises(ValueError, match="the photo"):
        gather_regions(image, [Rle.encode(np.ones((57, 41), bool))], 8, MEAN_255, RegionRules())
    assert gather_regions(image, [], 8, MEAN_255, RegionRules())[0].shape == (0, 3, 8, 8)
