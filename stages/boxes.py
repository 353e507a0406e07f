"""Boxes of regions, in pixels: tight, expanded, with a margin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Tight box of a mask [H, W], bool: (left, top, right, bottom) in pixels, right and bottom exclusive.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def expand_box(box_xyxy_px: Box, ratio: float, height: int, width: int) -> Box:
    """Multiplies a box's sides by a ratio about its centre, truncates to whole pixels, clips to the image."""
    left, top, right, bottom = box_xyxy_px
    centre_x, centre_y = 0.5 * (left + right), 0.5 * (top + bottom)
    half_width, half_height = 0.5 * ratio * (right - left), 0.5 * ratio * (bottom - top)
    return (
        max(int(centre_x - half_width), 0),
        max(int(centre_y - half_height), 0),
        min(int(centre_x + half_width), width),
        min(int(centre_y + half_height), height),
    )


def add_margin(box_xyxy_px: Box, margin: float, height: int, width: int) -> Box:
    """Adds `margin` times the box's longer side to each of its four sides, clipped to the image."""
    left, top, right, bottom = box_xyxy_px
    pad = round(margin * max(right - left, bottom - top))
    return max(left - pad, 0), max(top - pad, 0), min(right + pad, width), min(bottom + pad, height)
