"""`stages.regions.cut_regions` where the model is: on a GPU, each pixel of a region is gathered from the photo there.

The photo, or parts of photos, go over once, as bytes. A resize is separable: a pixel of the result is a weighted sum
over a few columns and rows of the box, its taps. Which ones, and with which weights, stands in a table per region and
axis, made on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.clip_config import RegionRules
from stages.common import Rle
from stages.regions import Rgb, boxed_mask, nearest

_BLOCK_VALUES = 1 << 27
"""Floats of the largest tensor at once: 512 MiB."""
_CUBIC, _ANTIALIASED = -0.75, -0.5
"""The kernel's free number: OpenCV's and torch's, and torch's with antialiasing."""


def gather_regions(
    photo: Tensor,
    rles: Sequence[Rle],
    size_px: int,
    mean_rgb: Rgb,
    rules: RegionRules,
    std_rgb: Rgb | None = None,
) -> tuple[Tensor, Tensor]:
    """Cuts regions out of a photo as `stages.regions.cut_regions` does, on the photo's device.

    Args:
        photo: [H, W, 3] RGB, uint8, on any device.
        rles: N masks of the photo's size, none empty.
        size_px: side of the square results.
        mean_rgb: fill colour in [0, 255].
        rules: expand ratio, fill, antialiasing; whose resize makes no difference here.
        std_rgb: if given, the regions are normalised.

    Returns:
        The regions, float32 [N, 3, size, size] in about [0, 255] or normalised, and their masks, float32 [N, 1, size,
        size] in {0, 1}; pixels differ from those of `cut_regions` by at most 1e-3 of 255 (with torch's resize: 0.02).

    Raises:
        ValueError: a mask is empty or of another size than the photo.
    """
    height, width = photo.shape[:2]
    cuts = []
    for rle in rles:
        (left, top, _, _), mask = boxed_mask(rle, (height, width), rules)
        cuts.append(_Cut.of(mask, size_px, rules, top * width + left, width))
    return _gather_all(photo.reshape(-1, 3), cuts, size_px, mean_rgb, rules, std_rgb)


def gather_parts(
    pixels: Tensor,
    masks: Sequence[NDArray[np.bool_]],
    size_px: int,
    mean_rgb: Rgb,
    rules: RegionRules,
    std_rgb: Rgb | None = None,
) -> tuple[Tensor, Tensor]:
    """`gather_regions` of N parts that were cut out of their photos before.

    Args:
        pixels: [sum of h * w, 3] RGB, uint8, on any device: the parts' pixels row by row, one part after the other.
        masks: of the parts, bool [h, w] each.
        size_px: side of the square results.
        mean_rgb: fill colour in [0, 255].
        rules: fill, antialiasing.
        std_rgb: if given, the regions are normalised.
    """
    starts = np.cumsum([0, *(mask.size for mask in masks)])
    given = zip(masks, starts[:-1], strict=True)
    cuts = [_Cut.of(mask, size_px, rules, int(start), mask.shape[1]) for mask, start in given]
    return _gather_all(pixels, cuts, size_px, mean_rgb, rules, std_rgb)


def _gather_all(
    pixels: Tensor, cuts: list[_Cut], size_px: int, mean_rgb: Rgb, rules: RegionRules, std_rgb: Rgb | None
) -> tuple[Tensor, Tensor]:
    fills = rules.fill == "mean"
    parts = [_gather(pixels, group, size_px, mean_rgb, std_rgb, fills) for group in _groups(cuts, size_px)]
    if not parts:
        return pixels.new_empty(0, 3, size_px, size_px).float(), pixels.new_empty(0, 1, size_px, size_px).float()
    regions, keep = (torch.cat(each) for each in zip(*parts, strict=True))
    return regions, keep


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Which pixels of an axis make each of the result's, and with which weights.

    Attributes:
        places: int64 [size, K], inside of the axis.
        weights: float32 [size, K]; rows sum to 1.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, before: int, after: int, antialias: bool) -> Taps:
        """Those of a bicubic resize, half-pixel centres, from `before` pixels to `after`.

        Without antialiasing there are 4, and pixels beyond the edge are those at the edge; with it the kernel is as
        wide as the scale asks, and ends at the edge; its places are rounded to float32, as torch has them.
        """
        scale = before / after
        centres = (np.arange(after) + 0.5) * scale
        if not antialias:
            first = np.floor(centres - 0.5).astype(np.int64) - 1
            places = first[:, None] + np.arange(4)
            weights = _cubic(centres[:, None] - 0.5 - places, _CUBIC)
            return cls(places.clip(0, before - 1), weights.astype(np.float32))
        centres = ((np.arange(after, dtype=np.float32) + np.float32(0.5)) * np.float32(scale)).astype(np.float64)
        stretch = max(scale, 1.0)
        first = np.maximum((centres - 2 * stretch + 0.5).astype(np.int64), 0)
        last = np.minimum((centres + 2 * stretch + 0.5).astype(np.int64), before)
        places = first[:, None] + np.arange(int((last - first).max()))
        weights = _cubic((places - centres[:, None] + 0.5) / stretch, _ANTIALIASED) * (places < last[:, None])
        return cls(places.clip(0, before - 1), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))

    def widened(self, count: int) -> Taps:
        """The same with `count` taps, those added of weight 0."""
        more = ((0, 0), (0, count - self.places.shape[1]))
        return Taps(np.pad(self.places, more), np.pad(self.weights, more))


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' kernel (1981, equation 4)."""
    far = np.abs(distance)
    inner = ((a + 2) * far - (a + 3)) * far * far + 1
    outer = ((far - 5) * far + 8) * far * a - 4 * a
    weights: NDArray[np.float64] = np.where(far <= 1, inner, np.where(far < 2, outer, 0.0))
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """A region: its mask, bool [h, w], the taps of both axes, and where it lies among the pixels.

    Attributes:
        start: number of its first pixel.
        stride: pixels from one of its rows to the next.
    """

    mask: NDArray[np.bool_]
    rows: Taps
    columns: Taps
    start: int
    stride: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_], size_px: int, rules: RegionRules, start: int, stride: int) -> _Cut:
        rows, columns = (Taps.of(side, size_px, rules.antialias) for side in mask.shape)
        return cls(mask, rows, columns, start, stride)


def _groups(cuts: list[_Cut], size_px: int) -> list[list[_Cut]]:
    """Cuts in their order, so many at once as memory allows."""
    groups: list[list[_Cut]] = []
    widest = 0
    for cut in cuts:
        widest = max(widest, cut.rows.places.shape[1])
        if not groups or (len(groups[-1]) + 1) * widest * size_px * size_px * 3 > _BLOCK_VALUES:
            groups.append([])
            widest = cut.rows.places.shape[1]
        groups[-1].append(cut)
    return groups


def _gather(
    pixels: Tensor, cuts: list[_Cut], size_px: int, mean_rgb: Rgb, std_rgb: Rgb | None, fills: bool
) -> tuple[Tensor, Tensor]:
    """Pixels [n, 3, size, size] and masks [n, 1, size, size] of regions."""

    def there(values: Any) -> Tensor:  # noqa: ANN401 - arrays and lists
        return torch.from_numpy(np.asarray(values)).to(pixels.device, non_blocking=True)

    firsts, strides = there([cut.start for cut in cuts]), there([cut.stride for cut in cuts])
    widths = there([cut.mask.shape[1] for cut in cuts])
    starts = there(np.cumsum([0, *(cut.mask.size for cut in cuts[:-1])]))
    masks = there(np.concatenate([cut.mask.ravel() for cut in cuts]))
    (rows, row_weights), (columns, column_weights) = (
        _stacked([getattr(cut, axis) for cut in cuts], there) for axis in ("rows", "columns")
    )
    mean = torch.tensor(mean_rgb, device=pixels.device)

    def kept(row: Tensor, column: Tensor) -> Tensor:
        """Whether the masks hold pixels of the boxes, [n, ...], by row and column in the box."""
        shape = (-1, *[1] * (row.ndim - 1))
        return masks[starts.view(shape) + row * widths.view(shape) + column]

    row = rows.flatten(1)[:, :, None]  # [n, size * K, 1]
    across = torch.zeros(len(cuts), row.shape[1], size_px, 3, device=pixels.device)
    for tap in range(columns.shape[2]):
        column = columns[:, None, :, tap]  # [n, 1, size]
        found = pixels[firsts[:, None, None] + row * strides[:, None, None] + column] - mean
        if fills:
            found *= kept(row, column)[..., None]
        across += found * column_weights[:, None, :, tap, None]
    down = (across.view(len(cuts), size_px, -1, size_px, 3) * row_weights[..., None, None]).sum(dim=2)
    down = down + mean if std_rgb is None else down / torch.tensor(std_rgb, device=pixels.device)
    heights = [cut.mask.shape[0] for cut in cuts]
    near = there([nearest(height, size_px) for height in heights])[:, :, None]
    near_columns = there([nearest(cut.mask.shape[1], size_px) for cut in cuts])[:, None, :]
    return down.permute(0, 3, 1, 2), kept(near, near_columns)[:, None].float()


def _stacked(taps: list[Taps], there: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - a function
    """Places int64 and weights float32, [n, size, K], on the device."""
    most = max(each.places.shape[1] for each in taps)
    wide = [each.widened(most) for each in taps]
    return there(np.stack([each.places for each in wide])), there(np.stack([each.weights for each in wide]))
