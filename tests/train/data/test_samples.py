"""One sample: decoding, and the geometry that it shares with mining and inference."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.clip import ClipInput
from stages.clip_config import RegionRules
from stages.common import Rle, SampleError
from stages.regions import cut_regions
from tests.stages.test_regions import drawn_masks, photo
from tests.train.data.conftest import drawn, members_of, png
from train.data.samples import (
    NO_AUGMENTATION,
    Augmentation,
    augmented_part,
    cut_part,
    decode_mask,
    decode_sample,
    noisy_mask,
    part_of_box,
)

CLIP = ClipInput(32, (0.5, 0.4, 0.3), (1 / 255, 1 / 255, 1 / 255))
"""Normalised, the fill is 0, and the photo's colours keep their scale."""


def region(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    augment: Augmentation,
    seed: int,
    **rules: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    pixels, keep = torch.empty(32, 32, 3), torch.empty(32, 32)
    asked = RegionRules(**rules)
    cut_part(augmented_part(image, mask, asked, augment, rng), CLIP, asked, pixels, keep)
    return pixels.permute(2, 0, 1), keep[None]


@pytest.mark.parametrize("name", drawn_masks())
@pytest.mark.parametrize("fill", ["mean", "photo"])
@pytest.mark.parametrize(("ratio", "antialias"), [(1.0, False), (0.3, False), (1.5, False), (3.0, True)])
def test_without_augmentation_it_is_the_region_of_mining(
    name: str, fill: Literal["mean", "photo"], ratio: float, antialias: bool
) -> None:
    image, mask = photo(), drawn_masks()[name]
    rules = RegionRules(expand_ratio=ratio, fill=fill, antialias=antialias)
    expected, kept = cut_regions(image, [Rle.encode(mask)], 32, CLIP.mean_rgb, rules, CLIP.std_rgb)
    found = region(image, mask, NO_AUGMENTATION, 0, **rules.model_dump())
    assert all(torch.equal(*pair) for pair in zip(found, (expected[0], kept[0]), strict=True))


def test_picture_and_mask_are_cropped_and_flipped_together() -> None:
    _, mask = drawn(0)
    image = np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    augment = Augmentation(crop_scale=(0.3, 0.8), flip=True)
    differ = set()
    for seed in range(20):
        pixels, keep = region(image, mask, augment, seed, fill="photo")
        inside = pixels[0] > 127
        # Nearest and bicubic disagree about the edge alone.
        assert (inside == keep[0].bool()).float().mean() > 0.9
        differ.add(keep.numpy().tobytes())
    assert len(differ) > 10


def test_flip_mirrors_about_every_second_sample() -> None:
    image, mask = drawn(3)
    plain = region(image, mask, NO_AUGMENTATION, 0)
    flipped = 0
    for seed in range(60):
        found = region(image, mask, NO_AUGMENTATION.model_copy(update={"flip": True}), seed)
        mirrored = torch.equal(found[0], plain[0].flip(-1)) and torch.equal(found[1], plain[1].flip(-1))
        assert mirrored or torch.equal(found[0], plain[0])
        flipped += mirrored
    assert 15 < flipped < 45


def test_an_option_leaves_the_draws_of_the_others_alone() -> None:
    image, mask = drawn(3)
    alone = region(image, mask, Augmentation(crop_scale=(0.4, 0.6)), 5)
    flipped = region(image, mask, Augmentation(crop_scale=(0.4, 0.6), flip=True), 5)
    assert torch.equal(flipped[0], alone[0]) or torch.equal(flipped[0], alone[0].flip(-1))


def test_crops_keep_their_share_of_the_box_and_stay_inside() -> None:
    box = (10, 20, 410, 120)
    rng = np.random.default_rng(0)
    augment = Augmentation(crop_scale=(0.5, 0.9))
    shares, aspects, lefts = [], [], []
    for _ in range(500):
        left, top, right, bottom = part_of_box(box, augment, tuple(rng.random(4)))
        assert 10 <= left < right <= 410
        assert 20 <= top < bottom <= 120
        shares.append((right - left) * (bottom - top) / 40_000)
        aspects.append((right - left) / (bottom - top) / 4)
        lefts.append(left)
    assert 0.49 < min(shares) < 0.53 < 0.87 < max(shares) < 0.91
    assert 0.73 < min(aspects) < 0.8 < 1.25 < max(aspects) < 1.36
    assert min(lefts) == 10


def test_a_crop_that_would_lose_the_region_is_the_whole_box() -> None:
    image, mask = photo(40, 40), np.zeros((40, 40), bool)
    mask[0, :] = mask[:, 0] = True  # an edge of one pixel, which a crop may cut off
    for seed in range(40):
        _, keep = region(image, mask, Augmentation(crop_scale=(0.5, 0.6)), seed)
        assert keep.any()


@pytest.mark.parametrize("name", drawn_masks())
def test_noise_never_empties_a_mask(name: str) -> None:
    mask = drawn_masks()[name]
    for amount in np.linspace(-0.5, 0.5, 9):
        assert noisy_mask(mask, float(amount)).any()


def test_noise_moves_the_edge_by_its_amount() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:30] = True
    expected = np.zeros((60, 60), bool)
    expected[18:42, 18:32] = True
    np.testing.assert_array_equal(noisy_mask(mask, 0.1), expected)
    np.testing.assert_array_equal(noisy_mask(expected, -2 / 24), mask)
    np.testing.assert_array_equal(noisy_mask(mask, 0.01), mask)


def test_noise_is_drawn_anew() -> None:
    image, mask = drawn(0)
    found = {
        region(image, mask, NO_AUGMENTATION.model_copy(update={"mask_noise": 0.3}), seed)[1].sum().item()
        for seed in range(9)
    }
    assert len(found) > 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_masks_of_any_mode_are_zero_or_not(mode: str) -> None:
    _, mask = drawn(0)
    bits = Image.fromarray(mask.astype(np.uint8))  # 0 and 1: almost black in a viewer, and a mask all the same
    if mode == "1":
        values: Any = mask
    elif mode == "I;16":
        values = mask.astype(np.uint16) * 300
    elif mode == "P":
        bits.putpalette([255, 255, 255, 0, 0, 0])
        values = bits
    else:
        values = np.asarray(bits.convert(mode))
    data = png(values) if isinstance(values, np.ndarray) else png_of(values)
    np.testing.assert_array_equal(decode_mask(data, *mask.shape), mask)


def png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_sample_is_decoded_as_it_was_written() -> None:
    image, mask = decode_sample(members_of(4))
    np.testing.assert_array_equal(image, drawn(4)[0])
    np.testing.assert_array_equal(mask, drawn(4)[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask.png": None}, "missing_member"),
        ({"jpg": b""}, "empty_file"),
        ({"jpg": b"nothing"}, "undecodable_image"),
        ({"mask.png": b"nothing"}, "undecodable_mask"),
        ({"mask.png": members_of(0)["mask.png"][:90]}, "undecodable_mask"),
        ({"mask.png": png(np.ones((40, 30), bool))}, "mask_size_mismatch"),
        ({"mask.png": png(np.zeros((30, 40), bool))}, "empty_mask"),
    ],
)
def test_a_bad_sample_is_named_by_its_reason(change: dict[str, Any], reason: str) -> None:
    members = {name: data for name, data in {**members_of(0), **change}.items() if data is not None}
    with pytest.raises(SampleError) as caught:
        decode_sample(members)
    assert caught.value.reason == reason
