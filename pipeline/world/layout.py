"""Backgrounds: which stuff lies where in a scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.world.textures import TILE_PX, TILES_PER_STUFF, Textures
from pipeline.world.vocabulary import Stuff, Vocabulary


@dataclass(frozen=True, slots=True)
class Background:
    """A painted background.

    Attributes:
        image: RGB uint8 [S, S, 3].
        regions: index into `stuff`, uint8 [S, S].
        stuff: the one to three categories that the regions show.
        horizon: height at which the ground begins, as a share of the side; 0 if all is ground.
        has_sky: the part above the horizon is sky.
    """

    image: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    stuff: tuple[Stuff, ...]
    horizon: float
    has_sky: bool


def paint_background(rng: np.random.Generator, side_px: int, vocabulary: Vocabulary, textures: Textures) -> Background:
    """Draws one layout: a plain, ground under a sky, a room, three bands, or a patch on a plain."""

    def pick(*roles: str) -> Stuff:
        entries = [stuff for stuff in vocabulary.stuff if set(roles) & set(stuff.roles)]
        return entries[int(rng.integers(len(entries)))]

    kind = rng.choice(["plain", "outdoors", "room", "bands", "patch"], p=[0.2, 0.28, 0.27, 0.1, 0.15])
    edge = rng.uniform(0.3, 0.62)
    if kind == "plain":
        stuff, cuts = [pick("ground", "floor", "wall", "far")], []
    elif kind == "outdoors":
        stuff, cuts = [pick("far"), pick("ground")], [edge]
    elif kind == "room":
        stuff, cuts = [pick("wall"), pick("floor")], [edge]
    elif kind == "bands":
        stuff, cuts = [pick("far"), pick("ground", "wall"), pick("ground")], [edge - 0.15, edge + 0.1]
    else:
        stuff, cuts = [pick("ground", "floor")] * 2, []
        stuff[1] = pick(*stuff[0].roles)
    regions = np.zeros((side_px, side_px), np.uint8)
    wavy = 0.0 if kind == "room" else 0.02
    for number, cut in enumerate(cuts, start=1):
        regions[_below(rng, side_px, cut, wavy)] = number
    if kind == "patch":
        regions[_blob(rng, side_px)] = 1
    stuff, regions = _merge_equal(stuff, regions)
    image = _surface(rng, side_px, stuff[0].name, textures)
    for number, entry in enumerate(stuff[1:], start=1):
        cv2.copyTo(_surface(rng, side_px, entry.name, textures), (regions == number).astype(np.uint8), image)
    has_sky = "far" in stuff[0].roles
    return Background(image, regions, tuple(stuff), cuts[-1] if cuts else 0.0, has_sky)


def _merge_equal(stuff: list[Stuff], regions: NDArray[np.uint8]) -> tuple[list[Stuff], NDArray[np.uint8]]:
    """One region for each category, though chance may have picked a category twice."""
    unique = list(dict.fromkeys(stuff))
    to_unique = np.array([unique.index(entry) for entry in stuff], np.uint8)
    merged: NDArray[np.uint8] = to_unique[regions]
    return unique, merged


def _below(rng: np.random.Generator, side_px: int, cut: float, wavy: float) -> NDArray[np.bool_]:
    """Pixels under a nearly level line, bool [S, S]."""
    x = np.linspace(0, 1, side_px)
    line = cut + rng.uniform(-0.06, 0.06) * (x - 0.5) + wavy * np.sin(x * rng.uniform(4, 14) + rng.uniform(0, 6))
    below: NDArray[np.bool_] = np.linspace(0, 1, side_px)[:, None] > line
    return below


def _blob(rng: np.random.Generator, side_px: int) -> NDArray[np.bool_]:
    """A path across the picture or a round patch, bool [S, S]."""
    y, x = np.mgrid[0:side_px, 0:side_px] / side_px
    center_x, center_y = rng.uniform(0.25, 0.75, 2)
    turn = rng.uniform(0, np.pi)
    along = (x - center_x) * np.cos(turn) + (y - center_y) * np.sin(turn)
    across = -(x - center_x) * np.sin(turn) + (y - center_y) * np.cos(turn)
    bend = 0.05 * np.sin(along * rng.uniform(5, 10) + rng.uniform(0, 6))
    if rng.random() < 0.5:
        path: NDArray[np.bool_] = np.abs(across + bend) < rng.uniform(0.12, 0.2)
        return path
    patch: NDArray[np.bool_] = np.hypot(along / 1.4, across) + bend < rng.uniform(0.22, 0.38)
    return patch


def _surface(rng: np.random.Generator, side_px: int, stuff: str, textures: Textures) -> NDArray[np.uint8]:
    """A random part of a texture at a random scale, [S, S, 3]."""
    tile = textures.tile(stuff, int(rng.integers(TILES_PER_STUFF)))
    part_px = int(rng.uniform(0.35, 0.75) * TILE_PX)
    top, left = rng.integers(0, TILE_PX - part_px + 1, 2)
    part = tile[top : top + part_px, left : left + part_px]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    shrink = part_px > side_px
    resized = cv2.resize(part, (side_px, side_px), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return cv2.convertScaleAbs(resized, alpha=float(rng.uniform(0.85, 1.12))).astype(np.uint8, copy=False)
