"""One sample: from the bytes of its members to CLIP's input."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from stages.boxes import Box, tight_box
from stages.clip_config import RegionRules
from stages.common import SampleError
from stages.images import decode_image
from stages.regions import cut_region, region_box
from train.data.config import Augmentation

_IMAGES = ("jpg", "jpeg", "png", "webp")
MASK = "mask.png"


def lacking(extensions: Collection[str]) -> str | None:
    """What a sample lacks to be a pair; None if it is whole."""
    if not any(extension in extensions for extension in _IMAGES):
        return "KEY.jpg"
    return next((f"KEY.{extension}" for extension in (MASK, "txt") if extension not in extensions), None)


def decode_sample(members: dict[str, bytes]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Crop, uint8 [H, W, 3] RGB, and mask, bool [H, W], not empty.

    Args:
        members: contents by extension.

    Raises:
        SampleError: missing_member, empty_file, undecodable_image, image_too_large, undecodable_mask,
            mask_size_mismatch, empty_mask.
    """
    if missing := lacking(members):
        raise SampleError("missing_member", f"expected {missing}")
    image = decode_image(next(members[extension] for extension in _IMAGES if extension in members))
    mask = decode_mask(members[MASK], image.shape[0], image.shape[1])
    return image, mask


def decode_mask(data: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """A mask PNG of any mode: every value but 0 is the region; of a palette the index counts, alpha does not.

    Raises:
        SampleError: undecodable_mask, mask_size_mismatch, empty_mask.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.size != (width, height):
                raise SampleError(
                    "mask_size_mismatch", f"the mask has {image.width}x{image.height} px, the image {width}x{height}"
                )
            values: NDArray[Any] = np.asarray(image)
            if image.mode in ("LA", "RGBA"):
                values = values[..., :-1]
    except SampleError:
        raise
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise SampleError("undecodable_mask", f"expected a PNG: {type(error).__name__}") from error
    mask = np.asarray((values if values.ndim == 3 else values[..., None]).any(axis=-1), dtype=np.bool_)
    if not mask.any():
        raise SampleError("empty_mask", "no pixel of the mask is set")
    return mask


def augmented_region(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    size_px: int,
    mean_rgb: tuple[float, float, float],
    rules: RegionRules,
    augment: Augmentation,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """`stages.regions.masked_region` with a noisy mask, a random part of its box, and a flip.

    All that an option may need is drawn, whether it is on or not: switching one on leaves the others' draws alone.

    Args:
        image: [H, W, 3] RGB, uint8.
        mask: [H, W], bool, not empty.
        size_px: side of the result.
        mean_rgb: fill colour in [0, 255].
        rules: box, fill, antialiasing.
        augment: what to vary.
        rng: of this sample alone.

    Returns:
        float32 [3, size, size] in about [0, 255], and its mask, float32 [1, size, size] in {0, 1}.
    """
    noise, scale, ratio, x, y, flip = rng.random(6)
    mask = noisy_mask(mask, (2 * noise - 1) * augment.mask_noise)
    box = region_box(mask, rules)
    left, top, right, bottom = part = part_of_box(box, augment, (scale, ratio, x, y))
    if not mask[top:bottom, left:right].any():
        part = box
    pixels, keep = cut_region(image, mask, part, size_px, mean_rgb, rules)
    if augment.flip and flip < 0.5:
        return pixels.flip(-1), keep.flip(-1)
    return pixels, keep


def part_of_box(box_xyxy_px: Box, augment: Augmentation, draws: tuple[float, float, float, float]) -> Box:
    """A random part of a box, in whole pixels, at least one.

    Its area is uniform in `crop_scale`, its aspect ratio relative to the box's log-uniform in what of `crop_ratio`
    fits into the box, its place uniform. Unlike torchvision's crop the ratio is relative: an absolute one of 3/4 to
    4/3 cannot keep 90 % of a long region, and a crop of its middle is not what inference shows.

    Args:
        box_xyxy_px: left, top, right, bottom; right and bottom exclusive.
        augment: ranges.
        draws: of area, aspect ratio, place across and place down, uniform in [0, 1).
    """
    scale, ratio, x, y = draws
    left, top, right, bottom = box_xyxy_px
    least, greatest = augment.crop_scale
    area = least + scale * (greatest - least)
    low, high = np.log(max(augment.crop_ratio[0], area)), np.log(min(augment.crop_ratio[1], 1 / area))
    aspect = np.exp(low + ratio * (high - low))
    width = min(max(round((right - left) * np.sqrt(area * aspect)), 1), right - left)
    height = min(max(round((bottom - top) * np.sqrt(area / aspect)), 1), bottom - top)
    left += int(x * (right - left - width + 1))
    top += int(y * (bottom - top - height + 1))
    return left, top, left + width, top + height


def noisy_mask(mask: NDArray[np.bool_], amount: float) -> NDArray[np.bool_]:
    """Dilates (amount > 0) or erodes a mask by a square; one that erosion would empty stays as it is.

    Args:
        mask: [H, W], bool, not empty.
        amount: how far the mask's edge moves, in units of the longer side of its tight box.
    """
    left, top, right, bottom = tight_box(mask)
    radius = round(abs(amount) * max(right - left, bottom - top))
    if radius == 0:
        return mask
    noisy: NDArray[np.bool_] = (maximum_filter if amount > 0 else minimum_filter)(mask, size=2 * radius + 1)
    return noisy if noisy.any() else mask
