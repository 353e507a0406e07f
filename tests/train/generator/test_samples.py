"""Random views of pictures: masks follow the pixels, and all depends on the seed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common import Rle
from tests.train.generator.conftest import SIDE, mask_set
from train.evaluate.proposals import TruthMask
from train.generator.config import MaskAugmentation, MaskData
from train.generator.mask_index import index_masks
from train.generator.samples import MaskBatch, MaskLoader, augmented

NUMBERS = {"a": 0, "b": 1, "c": 2}
WIDE = MaskAugmentation(scale=(0.5, 2.0), color=0.0)


def two_halves(height: int, width: int) -> tuple[np.ndarray, list[TruthMask]]:
    """A picture of one grey level per region."""
    mask = np.zeros((height, width), bool)
    mask[:, width // 3 :] = True
    pixels = np.where(mask, 200, 50).astype(np.uint8)[..., None].repeat(3, axis=2)
    return pixels, [TruthMask(Rle.encode(mask), "a"), TruthMask(Rle.encode(~mask), "b", is_thing=False)]


@pytest.mark.parametrize("seed", range(12))
def test_masks_stay_on_their_pixels(seed: int) -> None:
    pixels, regions = two_halves(90, 60)
    image, sample = augmented(pixels, regions, NUMBERS, 64, WIDE, np.random.default_rng(seed))
    assert image.shape == (64, 64, 3)
    height, width = sample.valid_hw_px
    shown = image[..., 0].astype(int)
    assert (shown[height:] == 0).all()
    assert (shown[:, width:] == 0).all()
    for mask, name in zip(sample.masks.numpy(), sample.names.tolist(), strict=True):
        level = (200, 50)[name]
        assert not mask[height:].any()
        assert not mask[:, width:].any()
        assert (
            np.abs(shown[mask] - level) <= 76
        ).all()  # half of the way to the other region, in the seam that resizing blurs


def test_a_view_is_larger_smaller_and_mirrored_at_times() -> None:
    pixels, regions = two_halves(64, 64)
    views = [augmented(pixels, regions, NUMBERS, 64, WIDE, np.random.default_rng(seed)) for seed in range(20)]
    assert any(min(sample.valid_hw_px) < 50 for _, sample in views)
    assert any(len(sample.names) == 1 for _, sample in views)  # cropped to a single region
    at_left = {
        int(name) for _, sample in views for name, mask in zip(sample.names, sample.masks, strict=True) if mask[0, 0]
    }
    assert at_left == {0, 1}


def test_no_augmentation_leaves_a_picture_as_it_is() -> None:
    pixels, regions = two_halves(64, 64)
    still = MaskAugmentation(flip=False, color=0.0)
    image, sample = augmented(pixels, regions, NUMBERS, 64, still, np.random.default_rng(0))
    assert (image == pixels).all()
    assert (sample.masks[0].numpy() == regions[0].rle.decode()).all()


def test_colours_change_and_masks_do_not() -> None:
    pixels, regions = two_halves(64, 64)
    bright = MaskAugmentation(flip=False, color=0.5)
    image, sample = augmented(pixels, regions, NUMBERS, 64, bright, np.random.default_rng(1))
    assert np.abs(image.astype(int) - pixels).mean() > 5
    assert (sample.masks[0].numpy() == regions[0].rle.decode()).all()


def test_crowds_are_ignored_and_small_rests_left_out() -> None:
    pixels, regions = two_halves(64, 64)
    dot = np.zeros((64, 64), bool)
    dot[:2, :2] = True
    others = [TruthMask(Rle.encode(dot), "c"), TruthMask(regions[0].rle, "a", is_crowd=True)]
    still = MaskAugmentation(flip=False, color=0.0)
    _, sample = augmented(pixels, regions + others, NUMBERS, 64, still, np.random.default_rng(0))
    assert sample.names.tolist() == [0, 1]
    assert (sample.ignored.numpy() == regions[0].rle.decode()).all()


def loaded(shapes: Path, first: int, last: int, rank: int = 0, ranks: int = 1, workers: int = 0) -> list[MaskBatch]:
    data = MaskData.model_validate(
        {"sets": [mask_set(shapes)], "sides_px": [32, 64], "final_share": 0.5, "workers": workers, "held_out": 0.0}
    )
    return list(MaskLoader(index_masks(data), data, 4, 7, 20, rank, ranks).batches(first, last))


def test_a_batch_depends_on_the_step_alone(shapes: Path) -> None:
    whole, rest = loaded(shapes, 0, 8), loaded(shapes, 5, 8, workers=1)
    for one, other in zip(whole[5:], rest, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert all(torch.equal(a.masks, b.masks) for a, b in zip(one.samples, other.samples, strict=True))
        assert [a.seed for a in one.samples] == [b.seed for b in other.samples]
    assert not torch.equal(whole[0].pixels.float().mean(), whole[1].pixels.float().mean())


def test_ranks_have_the_parts_of_one_batch(shapes: Path) -> None:
    one = loaded(shapes, 0, 6)
    parts = [loaded(shapes, 0, 6, rank, 2) for rank in range(2)]
    for batch, *halves in zip(one, *parts, strict=True):
        assert torch.equal(batch.pixels, torch.cat([half.pixels for half in halves]))


def test_steps_draw_a_side_and_the_last_ones_have_the_largest(shapes: Path) -> None:
    sides = [batch.pixels.shape[-1] for batch in loaded(shapes, 0, 20)]
    assert set(sides[:10]) == {32, 64}
    assert sides[10:] == [SIDE] * 10


@pytest.mark.parametrize("unlabelled", ["background", "ignored"])
def test_what_is_not_taught_is_background_or_unknown(shapes: Path, unlabelled: str) -> None:
    values = {"sets": [mask_set(shapes)], "names": ["box"], "unlabelled": unlabelled, "sides_px": [64], "workers": 0}
    config = MaskData.model_validate(values)
    index = index_masks(config)
    (batch,) = MaskLoader(index, config, 4, 7, 20).batches(0, 1)
    for sample in batch.samples:
        assert {index.names[number] for number in sample.names.tolist()} == {"box"}
        assert torch.equal(sample.ignored, ~sample.masks[0] & (unlabelled == "ignored"))
