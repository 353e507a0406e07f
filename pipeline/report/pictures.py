"""Pictures for the report: small JPEGs as data URIs, and the outline of a mask as an SVG path."""

from __future__ import annotations

import base64
import io
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from stages.common import Folder
from stages.shards import IndexRow, read_sample

_LADDER = ((360, 84), (300, 80), (240, 76), (180, 70), (128, 62), (96, 50))
"""Longest side in pixels and JPEG quality, best first: the first that fits the budget is taken."""
_MOST_POINTS = 1200
_SHARD = re.compile(r"shards/[\w-]+\.tar")


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A picture for the page.

    Attributes:
        uri: ``data:image/jpeg;base64,...``.
        width_px: of the JPEG.
        height_px: of the JPEG.
        outline: path data (SVG) in pixels of the JPEG; empty without a mask.
    """

    uri: str
    width_px: int
    height_px: int
    outline: str = ""


def sample_of(store: Folder, row: IndexRow) -> dict[str, bytes]:
    """Members of a pair's sample by extension, by one ranged read of its shard.

    Raises:
        ValueError: the index names no shard of a build.
        SampleError: it cannot be read.
    """
    if not _SHARD.fullmatch(row.shard):  # the index may be anybody's: it must not lead out of the folder
        raise ValueError(f"{row.shard!r} is no shard of a build")
    return read_sample(store.location(row.shard), row.offset, row.nbytes, row.key)


def pair_picture(sample: dict[str, bytes], budget_bytes: int) -> PagePicture:
    """The crop, made small, with its mask's outline.

    Raises:
        KeyError, OSError, ValueError: the sample lacks a member, or one is no picture.
    """
    crop = _open(sample["jpg"]).convert("RGB")
    data, size = _encoded(crop, budget_bytes)
    mask = _open(sample["mask.png"]).convert("L")
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.BOX)
    return PagePicture(_uri(data), *size, outline_path(np.asarray(mask, np.float64)))


def plain_picture(image: Image.Image, budget_bytes: int) -> PagePicture:
    """A picture made small."""
    data, size = _encoded(image, budget_bytes)
    return PagePicture(_uri(data), *size)


def outline_path(mask: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Contours of a mask as path data, in pixels; corners of the picture are (0, 0) and (W, H).

    Args:
        mask: [H, W], how much of each pixel is the region's; the contour runs at half of the highest value.
    """
    import skimage.measure

    measure: Any = skimage.measure  # whose functions have no types
    if not mask.any():
        return ""
    contours = measure.find_contours(np.pad(mask, 1), mask.max() / 2)
    tolerance = 0.4
    lines = [measure.approximate_polygon(contour, tolerance) for contour in contours]
    while sum(map(len, lines)) > _MOST_POINTS:
        tolerance *= 2
        # What has become smaller than the tolerance could not be seen; at worst the longest contour is left.
        lines = [line for contour in contours if len(line := measure.approximate_polygon(contour, tolerance)) > 3]
        lines = lines[:_MOST_POINTS] or [measure.approximate_polygon(max(contours, key=len), tolerance)]
    return "".join("M" + "L".join(f"{x - 0.5:.1f} {y - 0.5:.1f}" for y, x in line[:-1]) + "Z" for line in lines)


def _open(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            image.draft("RGB", (2 * _LADDER[0][0],) * 2)  # a large JPEG is decoded at a fraction of its size
            image.load()
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("too large to be shown") from error


def _encoded(image: Image.Image, budget_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """JPEG of the largest size whose data URI fits the budget, or else of the smallest; and its width and height."""
    for side, quality in _LADDER:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=quality)
        if len(buffer.getvalue()) * 4 / 3 <= budget_bytes:
            break
    return buffer.getvalue(), small.size


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
