"""Region geometry against a slow reference in numpy, written from the published rules alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.boxes import Box, add_margin, expand_box, tight_box
from stages.clip_config import RegionRules
from stages.common import Rle
from stages.regions import cut_into, cut_regions, normalise, patch_mask

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
MEAN_255 = (122.7709383, 116.7460125, 104.09373615)
SIZE_PX = 32


def masked_region(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], size_px: int, rgb: tuple[float, float, float], rules: RegionRules
) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, keep = cut_regions(image, [Rle.encode(mask)], size_px, rgb, rules)
    return pixels[0], keep[0]


def reference_box(mask: NDArray[np.bool_], ratio: float) -> Box:
    """Tight box, sides times the ratio about the centre, cut off at the image, whole pixels downwards."""
    places = [(row, column) for row in range(mask.shape[0]) for column in range(mask.shape[1]) if mask[row, column]]
    top, bottom = min(row for row, _ in places), max(row for row, _ in places) + 1
    left, right = min(column for _, column in places), max(column for _, column in places) + 1
    grow_x, grow_y = (right - left) * (ratio - 1) / 2, (bottom - top) * (ratio - 1) / 2
    return (
        int(max(left - grow_x, 0)),
        int(max(top - grow_y, 0)),
        int(min(right + grow_x, mask.shape[1])),
        int(min(bottom + grow_y, mask.shape[0])),
    )


def cubic_weights(before: int, after: int) -> NDArray[np.float64]:
    """[after, before]: bicubic with a = -0.75, half-pixel centres, borders repeated, no antialiasing."""
    weights = np.zeros((after, before))
    for place in range(after):
        centre = (place + 0.5) * before / after - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            far = abs(centre - tap)
            if far <= 1:
                weight = 1.25 * far**3 - 2.25 * far**2 + 1
            else:
                weight = -0.75 * (far**3 - 5 * far**2 + 8 * far - 4)
            weights[place, min(max(tap, 0), before - 1)] += weight
    return weights


def reference_region(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], size_px: int, ratio: float, fill: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The published order: normalise the photo, blank what is outside of the mask, crop, resize."""
    left, top, right, bottom = reference_box(mask, ratio)
    pixels = (image / 255.0 - MEAN) / STD
    if fill == "mean":
        pixels = pixels * mask[..., None]  # CLIP's mean colour is 0 once it is normalised
    crop, keep = pixels[top:bottom, left:right], mask[top:bottom, left:right]
    rows, columns = cubic_weights(bottom - top, size_px), cubic_weights(right - left, size_px)
    nearest_rows = np.arange(size_px) * (bottom - top) // size_px
    nearest_columns = np.arange(size_px) * (right - left) // size_px
    resized = np.einsum("yr,rxc,zx->cyz", rows, crop, columns)
    return resized, keep[nearest_rows][:, nearest_columns]


def photo(height: int = 41, width: int = 57) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


def drawn_masks() -> dict[str, NDArray[np.bool_]]:
    height, width = 41, 57
    rows, columns = np.mgrid[:height, :width]
    masks = {
        "disc": (rows - 20) ** 2 + (columns - 25) ** 2 < 150,
        "top left corner": (rows < 9) & (columns < 5),
        "bottom right corner": (rows > 30) & (columns > 50) & ((rows + columns) % 3 > 0),
        "whole photo": np.ones((height, width), bool),
        "two far parts": ((rows < 3) & (columns < 3)) | ((rows > 37) & (columns > 40)),
        "one row": (rows == 17) & (columns > 4),
        "one column": (columns == 56) & (rows < 30),
        "one pixel": (rows == 12) & (columns == 31),
        "last pixel": (rows == 40) & (columns == 56),
    }
    return {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}


@pytest.mark.parametrize("name", drawn_masks())
@pytest.mark.parametrize(("ratio", "fill"), [(1.0, "mean"), (1.0, "photo"), (1.5, "mean"), (3.0, "photo")])
def test_region_is_that_of_the_published_rules(name: str, ratio: float, fill: Literal["mean", "photo"]) -> None:
    image, mask = photo(), drawn_masks()[name]
    region, keep = masked_region(image, mask, SIZE_PX, MEAN_255, RegionRules(expand_ratio=ratio, fill=fill))
    expected, expected_keep = reference_region(image, mask, SIZE_PX, ratio, fill)
    assert (region.dtype, region.shape) == (torch.float32, (3, SIZE_PX, SIZE_PX))
    assert (keep.dtype, keep.shape) == (torch.float32, (1, SIZE_PX, SIZE_PX))
    normalised = normalise(region, tuple(MEAN), tuple(STD)).numpy()
    np.testing.assert_allclose(normalised, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(keep[0].numpy(), expected_keep)


def test_torch_in_the_published_order_gives_the_same() -> None:
    image, mask = photo(), drawn_masks()["disc"]
    left, top, right, bottom = tight_box(mask)
    pixels = torch.from_numpy((image - np.array(MEAN_255)) / (STD * 255)).float().permute(2, 0, 1)
    crop = (pixels * torch.from_numpy(mask))[None, :, top:bottom, left:right]
    expected = torch.nn.functional.interpolate(crop, (224, 224), mode="bicubic", align_corners=False)[0]
    region, _ = masked_region(image, mask, 224, MEAN_255, RegionRules())
    assert (normalise(region, tuple(MEAN), tuple(STD)) - expected).abs().max() < 1e-4


def test_many_regions_are_those_of_each_alone() -> None:
    image, masks = photo(), list(drawn_masks().values())
    rules = RegionRules(expand_ratio=1.2)
    pixels, keep = cut_regions(image, [Rle.encode(mask) for mask in masks], 16, MEAN_255, rules)
    assert (pixels.shape, keep.shape) == ((len(masks), 3, 16, 16), (len(masks), 1, 16, 16))
    for number, mask in enumerate(masks):
        alone = masked_region(image, mask, 16, MEAN_255, rules)
        assert torch.equal(pixels[number], alone[0])
        assert torch.equal(keep[number], alone[1])


def test_normalised_they_are_those_that_are_normalised_afterwards() -> None:
    image, masks = photo(), [Rle.encode(mask) for mask in drawn_masks().values()]
    std_rgb = STD[0] * 255, STD[1] * 255, STD[2] * 255
    pixels, _ = cut_regions(image, masks, 20, MEAN_255, RegionRules())
    found, _ = cut_regions(image, masks, 20, MEAN_255, RegionRules(), std_rgb)
    torch.testing.assert_close(found, normalise(pixels, tuple(MEAN), tuple(STD)), rtol=0, atol=1e-5)


def test_no_region_is_an_empty_batch() -> None:
    pixels, keep = cut_regions(photo(), [], 8, MEAN_255, RegionRules())
    assert (pixels.shape, keep.shape) == ((0, 3, 8, 8), (0, 1, 8, 8))


def test_published_rules_are_the_defaults() -> None:
    assert RegionRules() == RegionRules(expand_ratio=1.0, fill="mean", antialias=False)


@pytest.mark.parametrize("ratio", [0.01, 0.4, 0.8])
@pytest.mark.parametrize("name", drawn_masks())
def test_a_shrunken_box_keeps_a_pixel_at_least(name: str, ratio: float) -> None:
    image, mask = photo(), drawn_masks()[name]
    region, _ = masked_region(image, mask, 8, MEAN_255, RegionRules(expand_ratio=ratio))
    assert torch.isfinite(region).all()


def test_a_shrunken_box_is_that_of_the_published_rules() -> None:
    image, mask = photo(), drawn_masks()["disc"]
    region, keep = masked_region(image, mask, SIZE_PX, MEAN_255, RegionRules(expand_ratio=0.5))
    expected, expected_keep = reference_region(image, mask, SIZE_PX, 0.5, "mean")
    np.testing.assert_allclose(normalise(region, tuple(MEAN), tuple(STD)).numpy(), expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(keep[0].numpy(), expected_keep)


def test_outside_the_mask_is_the_mean_colour_and_inside_the_photo() -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    mask = np.zeros((10, 10), bool)
    mask[2:8, 2:5] = mask[2:3, 2:8] = True
    region, keep = masked_region(image, mask, 6, MEAN_255, RegionRules())  # the box is 6 x 6: nothing is resized
    for row in range(6):
        for column in range(6):
            inside = bool(mask[2 + row, 2 + column])
            assert bool(keep[0, row, column]) == inside
            assert region[:, row, column].tolist() == pytest.approx([200.0] * 3 if inside else MEAN_255, abs=1e-3)


def test_bicubic_overshoots_are_kept() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    region, _ = masked_region(image, np.ones((8, 8), bool), 32, MEAN_255, RegionRules())
    assert region.min() < -1
    assert region.max() > 256


def test_antialiasing_is_the_low_pass_filter_of_pillow() -> None:
    image = photo(90, 70)
    got, _ = masked_region(image, np.ones((90, 70), bool), 16, MEAN_255, RegionRules(antialias=True))
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        expected = np.asarray(plane.resize((16, 16), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(got[channel].numpy(), expected, atol=0.01)


def test_photo_and_mask_are_not_written_to() -> None:
    image, mask = photo(), drawn_masks()["disc"]
    image.flags.writeable = mask.flags.writeable = False
    region, _ = masked_region(image.copy(), mask.copy(), 8, MEAN_255, RegionRules(fill="photo"))
    again, _ = masked_region(image, mask, 8, MEAN_255, RegionRules(fill="photo"))
    assert torch.equal(region, again)


def test_another_size_of_mask_is_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\[57, 41\].*\[41, 57\]"):
        masked_region(photo(), np.ones((57, 41), bool), 8, MEAN_255, RegionRules())


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        masked_region(photo(), np.zeros((41, 57), bool), 8, MEAN_255, RegionRules())


@pytest.mark.parametrize("name", drawn_masks())
@pytest.mark.parametrize("ratio", [1.0, 1.3, 2.0, 9.0])
def test_boxes_are_those_of_the_reference(name: str, ratio: float) -> None:
    mask = drawn_masks()[name]
    assert expand_box(tight_box(mask), ratio, *mask.shape) == reference_box(mask, ratio)


def test_margin_is_of_the_longer_side_and_ends_at_the_photo() -> None:
    assert add_margin((20, 10, 40, 50), 0.25, 100, 100) == (10, 0, 50, 60)
    assert add_margin((20, 10, 40, 50), 0.5, 60, 55) == (0, 0, 55, 60)
    assert add_margin((20, 10, 40, 50), 0.0, 60, 55) == (20, 10, 40, 50)


def test_nearest_mask_takes_the_pixel_at_the_floor() -> None:
    mask = np.array([[False, True, False, True, True]])
    pixels, keep = torch.empty(3, 3, 3), torch.empty(3, 3)
    cut_into(pixels, keep, np.zeros((1, 5, 3), np.uint8), mask, MEAN_255, RegionRules())
    assert keep.tolist() == [[0.0, 1.0, 1.0]] * 3  # columns 0, 1, 3


def test_only_blank_patches_are_zero() -> None:
    masks = torch.zeros(2, 1, 12, 8)
    masks[0, 0, 3, 4] = 1  # the last row of the first row of patches, the first column of the second
    masks[1, 0, 8:, :4] = 1
    assert patch_mask(masks, 4)[..., 0].tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]]
    assert patch_mask(masks, 4).shape == (2, 6, 1)


def test_one_pixel_keeps_a_large_patch() -> None:
    masks = torch.zeros(1, 1, 64, 64)
    masks[0, 0, 63, 32] = 1
    assert patch_mask(masks, 32).flatten().tolist() == [0, 0, 0, 1]


def test_normalised_mean_colour_is_zero() -> None:
    pixels = torch.tensor(MEAN_255).view(3, 1, 1).expand(3, 2, 2)
    assert normalise(pixels, tuple(MEAN), tuple(STD)).abs().max() < 1e-5
