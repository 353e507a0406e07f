"""What a training run reads and does to a sample: configuration, and the way from a sample's bytes to CLIP's input."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from stages.boxes import Box, tight_box
from stages.clip import ClipInput
from stages.clip_config import RegionRules
from stages.common import DOES_NOT_COUNT, Config, Location, SampleError
from stages.images import decode_image
from stages.regions import cut_into, part_of, region_box
from stages.shards import MASK, PICTURES, KeyEndsAt


class ShardSet(Config):
    """Shards that belong together, such as all of one build.

    Attributes:
        shards: a build's folder (its index.parquet is read), a folder of tars, or tars by name; in a file's name
            ``{00000..00099}`` stands for a range and ``*`` for anything.
        weight: how often an epoch holds each of the set's samples, on average: 1 for once, 0.5 for a random half of
            them, 3 for three times.
        key_ends_at: the dot of a member's name at which its sample's key ends: webdataset's rule, or the last one.
    """

    shards: tuple[Location, ...] = Field(min_length=1)
    weight: float = Field(1.0, gt=0, le=1000)
    key_ends_at: KeyEndsAt = "first_dot"


class Augmentation(Config):
    """What is drawn anew each time that a sample is seen; the defaults are the published ones.

    Attributes:
        crop_scale: least and greatest share of the region's box that a random crop keeps, by area; (1, 1) for none.
        crop_ratio: least and greatest aspect ratio of the crop in units of the box's own. Of it, what fits into the
            box at the scale drawn.
        flip: mirrors every second sample, left to right.
        mask_noise: the mask is dilated or eroded by up to this, in units of the longer side of its tight box.
    """

    crop_scale: tuple[float, float] = (0.9, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    mask_noise: float = Field(0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale: expected 0 < least <= greatest <= 1, found {list(self.crop_scale)}")
        if not 0 < self.crop_ratio[0] <= 1 <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio: expected 0 < least <= 1 <= greatest, found {list(self.crop_ratio)}")
        return self


NO_AUGMENTATION = Augmentation(crop_scale=(1.0, 1.0))


class DataConfig(Config):
    """Shard sets, and the way from their samples to batches.

    Attributes:
        sets: mixed by their weights.
        region: box, fill and antialiasing, as in mining; a box ends at the sample's crop, so that `expand_ratio` has
            no effect beyond the margin that the shards were built with.
        augment: of the training samples.
        repeat_threshold: nouns (canonical forms) whose share of the pairs is below it are repeated sqrt(threshold /
            share) times as often; None for no balance. Gupta et al. 2019 (LVIS) take 0.001.
        on_bad: what to do about a sample that cannot be used: stop with an error, or put another one in its place.
        workers: processes that decode; 0 for none beside the trainer's own.
    """

    sets: tuple[ShardSet, ...] = Field(min_length=1)
    region: RegionRules = RegionRules()
    augment: Augmentation = Augmentation()
    repeat_threshold: float | None = Field(None, gt=0, le=1)
    on_bad: Literal["error", "skip"] = "error"
    workers: Annotated[int, DOES_NOT_COUNT] = Field(2, ge=0)


def lacking(extensions: Collection[str]) -> str | None:
    """What a sample lacks to be a pair; None if it is whole."""
    if not any(extension in extensions for extension in PICTURES):
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
    image = decode_image(next(members[extension] for extension in PICTURES if extension in members))
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


class Part(NamedTuple):
    """What a region is cut from: part of a crop, uint8 [h, w, 3], its mask, bool [h, w], and whether it is mirrored."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    is_mirrored: bool


def augmented_part(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    rules: RegionRules,
    augment: Augmentation,
    rng: np.random.Generator,
) -> Part:
    """A random part of a region's box, with a noisy mask.

    All that an option may need is drawn, whether it is on or not: switching one on leaves the others' draws alone.

    Args:
        image: [H, W, 3] RGB, uint8.
        mask: [H, W], bool, not empty.
        rules: the box.
        augment: what to vary.
        rng: of this sample alone.
    """
    noise, scale, ratio, x, y, flip = rng.random(6)
    mask = noisy_mask(mask, (2 * noise - 1) * augment.mask_noise)
    box = region_box(tight_box(mask), rules, *mask.shape)
    left, top, right, bottom = part = part_of_box(box, augment, (scale, ratio, x, y))
    if not mask[top:bottom, left:right].any():
        part = box
    return Part(part_of(image, part), part_of(mask, part), bool(augment.flip and flip < 0.5))


def cut_part(part: Part, clip: ClipInput, rules: RegionRules, pixels: Tensor, keep: Tensor) -> None:
    """Squashes a part to the model's input, as `stages.regions.cut_regions` does.

    Args:
        part: of a crop.
        clip: what the model takes.
        rules: fill, antialiasing.
        pixels: float32 [size, size, 3], written to: normalised.
        keep: float32 [size, size], written to: the mask, in {0, 1}.
    """
    cut_into(pixels, keep, part.pixels, part.mask, clip.mean_rgb, rules, clip.std_rgb)
    if part.is_mirrored:
        pixels.copy_(pixels.flip(1))
        keep.copy_(keep.flip(1))


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
    if amount == 0:
        return mask
    left, top, right, bottom = tight_box(mask)
    radius = round(abs(amount) * max(right - left, bottom - top))
    if radius == 0:
        return mask
    noisy: NDArray[np.bool_] = (maximum_filter if amount > 0 else minimum_filter)(mask, size=2 * radius + 1)
    return noisy if noisy.any() else mask
