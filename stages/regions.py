"""Region geometry: box, crop, fill, resize, patch mask. The one place for it: mining, training and inference alike.

Rules as in the published system (OVSeg, arXiv 2210.04150, section 3.1 and its public configuration): a soft mask
is cut at a threshold; tight box, expanded by a ratio; outside the mask the pixels are filled with CLIP's mean; the
crop is squashed to a square, the image bicubic and without antialiasing, the mask nearest.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from stages.boxes import Box, expand_box, tight_box
from stages.clip_config import RegionRules


def masked_region(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    size_px: int,
    mean_rgb: tuple[float, float, float],
    rules: RegionRules,
) -> tuple[Tensor, Tensor]:
    """Cuts one region out of a photo and squashes it to CLIP's input size.

    Args:
        image: [H, W, 3] RGB, uint8.
        mask: [H, W], bool, not empty.
        size_px: side of the square result.
        mean_rgb: fill colour in [0, 255]; CLIP's is (122.77, 116.75, 104.09).
        rules: expand ratio, fill, antialiasing.

    Returns:
        The region, float32 [3, size, size] in about [0, 255] (bicubic overshoots are kept, as published), not yet
        normalised; and its mask, float32 [1, size, size] in {0, 1}, 1 = keep.

    Raises:
        ValueError: shapes disagree or the mask is empty.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask has shape {list(mask.shape)}, the image {list(image.shape[:2])}")
    return cut_region(image, mask, region_box(mask, rules), size_px, mean_rgb, rules)


def region_box(mask: NDArray[np.bool_], rules: RegionRules) -> Box:
    """The box that is cut for a mask [H, W], not empty: tight, expanded, at least one pixel."""
    height, width = mask.shape
    left, top, right, bottom = expand_box(tight_box(mask), rules.expand_ratio, height, width)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def cut_region(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    box_xyxy_px: Box,
    size_px: int,
    mean_rgb: tuple[float, float, float],
    rules: RegionRules,
) -> tuple[Tensor, Tensor]:
    """`masked_region` with a box of the caller's own: a trainer varies it."""
    left, top, right, bottom = box_xyxy_px
    pixels = torch.from_numpy(np.ascontiguousarray(image[top:bottom, left:right])).permute(2, 0, 1).float()
    keep = torch.from_numpy(np.ascontiguousarray(mask[top:bottom, left:right]))[None]
    if rules.fill == "mean":
        pixels = torch.where(keep, pixels, torch.tensor(mean_rgb, dtype=torch.float32)[:, None, None])
    return squash(pixels, size_px, rules.antialias), squash_mask(keep.float(), size_px)


def squash(pixels: Tensor, size_px: int, antialias: bool = False) -> Tensor:
    """Resizes [3, h, w] to [3, size, size], bicubic, ignoring the aspect ratio."""
    size = (size_px, size_px)
    squashed = functional.interpolate(pixels[None], size, mode="bicubic", align_corners=False, antialias=antialias)
    return squashed[0]


def squash_mask(mask: Tensor, size_px: int) -> Tensor:
    """Resizes a mask [1, h, w] in {0, 1} to [1, size, size], nearest neighbour."""
    return functional.interpolate(mask[None], size=(size_px, size_px), mode="nearest")[0]


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
