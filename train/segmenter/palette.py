"""Colours for classes that differ as much as so many colours can."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

_STEPS = 20
_FIRST_RGB = (230, 25, 75)


@lru_cache(maxsize=8)
def palette(count: int) -> NDArray[np.uint8]:
    """Distinct colours, uint8 [count, 3] RGB; those of a smaller palette begin every larger one.

    Farthest-point sampling in CIE Lab among an even grid of RGB: each colour is as far as possible from all before it.
    Near black, near white and greys are left out, as they could be taken for the photo's own.
    """
    ticks = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = np.concatenate([np.array([_FIRST_RGB], dtype=np.uint8), grid])
    lab = cv2.cvtColor((grid[None] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] > 38) & (lab[:, 0] < 92) & (chroma > 30)
    grid, lab = grid[usable], lab[usable]
    chosen = np.zeros(count, dtype=np.int64)  # the first colour is the grid's first
    distance = np.full(len(lab), np.inf)
    for number in range(1, count):
        distance = np.minimum(distance, ((lab - lab[chosen[number - 1]]) ** 2).sum(axis=1))
        chosen[number] = int(distance.argmax())
    found: NDArray[np.uint8] = grid[chosen]
    return found
