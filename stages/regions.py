"""Region geometry: box, crop, fill, resize, patch mask. The one place for it: mining, training and inference alike.

Rules as in the published system (OVSeg, arXiv 2210.04150, section 3.1 and its public configuration): a soft mask
is cut at a threshold; tight box, expanded by a ratio; outside the mask the pixels are filled with CLIP's mean; the
crop is squashed to a square, the image bicubic and without antialiasing, the mask nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from stages.boxes import Box, expand_box
from stages.clip_config import RegionRules
from stages.common import Rle

Rgb = tuple[float, float, float]


def cut_regions(
    photo: NDArray[np.uint8],
    rles: Sequence[Rle],
    size_px: int,
    mean_rgb: Rgb,
    rules: RegionRules,
    std_rgb: Rgb | None = None,
) -> tuple[Tensor, Tensor]:
    """Cuts regions out of a photo and squashes each to CLIP's input size.

    A mask is decoded inside its box alone, and no copy of the whole photo is made.

    Args:
        photo: [H, W, 3] RGB, uint8.
        rles: N masks of the photo's size, none empty.
        size_px: side of the square results.
        mean_rgb: fill colour in [0, 255]; CLIP's is (122.77, 116.75, 104.09).
        rules: expand ratio, fill, antialiasing.
        std_rgb: standard deviation of the colours in [0, 255]; if given, the regions are normalised by it and the mean.

    Returns:
        The regions, float32 [N, 3, size, size] in about [0, 255] (bicubic overshoots are kept, as published), or
        normalised, channels last in memory; and their masks, float32 [N, 1, size, size] in {0, 1}, 1 = keep.

    Raises:
        ValueError: a mask is empty or of another size than the photo.
    """
    return cut_each([(photo, rle) for rle in rles], size_px, mean_rgb, rules, std_rgb)


def cut_each(
    regions: Sequence[tuple[NDArray[np.uint8], Rle]],
    size_px: int,
    mean_rgb: Rgb,
    rules: RegionRules,
    std_rgb: Rgb | None = None,
) -> tuple[Tensor, Tensor]:
    """`cut_regions` of N photos and masks, each region of its own photo."""
    pixels, keep = torch.empty(len(regions), size_px, size_px, 3), torch.empty(len(regions), size_px, size_px)
    for number, (photo, rle) in enumerate(regions):
        box, mask = boxed_mask(rle, photo.shape[:2], rules)
        cut_into(pixels[number], keep[number], part_of(photo, box), mask, mean_rgb, rules, std_rgb)
    return pixels.permute(0, 3, 1, 2), keep[:, None]


def boxed_mask(rle: Rle, photo_hw: tuple[int, ...], rules: RegionRules) -> tuple[Box, NDArray[np.bool_]]:
    """The box that is cut for a mask, and the mask inside it, bool [h, w].

    Raises:
        ValueError: the mask is empty or of another size than the photo.
    """
    if (rle.height, rle.width) != photo_hw:
        raise ValueError(f"mask has shape {[rle.height, rle.width]}, the photo {list(photo_hw)}")
    runs = rle.runs()
    if runs.starts.size == 0:
        raise ValueError("an empty mask has no box")
    box = region_box(runs.box_xyxy_px, rules, rle.height, rle.width)
    return box, runs.inside(box)


def region_box(tight_xyxy_px: Box, rules: RegionRules, height: int, width: int) -> Box:
    """The box that is cut for a mask's tight one: expanded, inside the photo, at least one pixel."""
    left, top, right, bottom = expand_box(tight_xyxy_px, rules.expand_ratio, height, width)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def part_of(array: NDArray[Any], box_xyxy_px: Box) -> NDArray[Any]:
    """A box of a photo or mask [H, W, ...], not copied."""
    left, top, right, bottom = box_xyxy_px
    return array[top:bottom, left:right]


def cut_into(
    pixels: Tensor,
    keep: Tensor,
    crop: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    mean_rgb: Rgb,
    rules: RegionRules,
    std_rgb: Rgb | None = None,
) -> None:
    """Fills a crop outside its mask and squashes both, as `cut_regions` does.

    Args:
        pixels: float32 [size, size, 3], written to.
        keep: float32 [size, size], written to: 1 = keep.
        crop: a box of a photo, uint8 [h, w, 3].
        mask: bool [h, w].
        mean_rgb: fill colour in [0, 255].
        rules: fill, antialiasing.
        std_rgb: if given, the region is normalised.
    """
    filled: NDArray[Any] = crop.astype(np.float32)
    if rules.fill == "mean":
        blank = np.empty_like(filled)
        _rows(blank)[:] = _row(mean_rgb, crop.shape[1])
        filled = cv2.copyTo(filled, np.ascontiguousarray(mask).view(np.uint8), blank)
    size_px = len(keep)
    size = (size_px, size_px)
    if rules.antialias or rules.resize == "torch":
        planes = torch.from_numpy(filled).permute(2, 0, 1)[None]
        squashed = functional.interpolate(planes, size, mode="bicubic", antialias=rules.antialias)[0]
        pixels.copy_(squashed.permute(1, 2, 0))
    else:
        cv2.resize(filled, size, dst=pixels.numpy(), interpolation=cv2.INTER_CUBIC)
    if std_rgb is not None:
        rows_rgb = _rows(pixels.numpy())
        rows_rgb -= _row(mean_rgb, size_px)
        rows_rgb /= _row(std_rgb, size_px)
    rows, columns = (nearest(side, size_px) for side in mask.shape)
    np.copyto(keep.numpy(), mask.take(rows, axis=0).take(columns, axis=1))


def _rows(pixels: NDArray[Any]) -> NDArray[Any]:
    """A picture [h, w, 3] as rows [h, w * 3]: arithmetic on them is several times quicker than on threes."""
    return pixels.reshape(len(pixels), -1)


def _row(rgb: Rgb, width: int) -> NDArray[np.float32]:
    return np.tile(np.array(rgb, np.float32), width)


def nearest(before: int, after: int) -> NDArray[np.int64]:
    """Which of `before` pixels each of `after` ones takes, as torch has it: rounded down, places in float32."""
    places = np.arange(after, dtype=np.float32) * np.float32(before / after)
    return np.minimum(places.astype(np.int64), before - 1)


def patch_mask(masks: Tensor, patch_px: int) -> Tensor:
    """Which patches hold anything of the region: ceil(avg_pool(mask)); 0 only where a patch is blank everywhere.

    Args:
        masks: [N, 1, H, W] in {0, 1}; H and W multiples of `patch_px`.
        patch_px: side of a patch.

    Returns:
        float [N, (H / patch) * (W / patch), 1] in {0, 1}, patches in row-major order.
    """
    pooled = functional.avg_pool2d(masks.float(), kernel_size=patch_px, stride=patch_px).ceil()
    return pooled.flatten(2).transpose(1, 2)


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[..., 3, H, W] in [0, 255] to CLIP's normalised input; mean and std in [0, 1] as open_clip has them."""
    shape = (3, 1, 1)
    mean_255 = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device).view(shape) * 255
    std_255 = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).view(shape) * 255
    return (pixels - mean_255) / std_255
