"""Procedural textures, one function per stuff category; every tile is a function of its name and number alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Tile = NDArray[np.floating[Any]]

TILE_PX = 320
TILES_PER_STUFF = 6


class Textures:
    """Draws each tile once, when it is first needed."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[str, int], NDArray[np.uint8]] = {}

    def tile(self, stuff: str, number: int) -> NDArray[np.uint8]:
        """RGB uint8 [TILE_PX, TILE_PX, 3]; `number` is in [0, TILES_PER_STUFF)."""
        key = (stuff, number)
        if key not in self._tiles:
            rng = np.random.default_rng([zlib.crc32(stuff.encode()), number])
            self._tiles[key] = np.clip(_PAINTERS[stuff](rng, number), 0, 255).astype(np.uint8)
        return self._tiles[key]


def _noise(rng: np.random.Generator, cells_x: int, cells_y: int | None = None, octaves: int = 1) -> Tile:
    """Smooth noise, roughly in [-1, 1], [TILE_PX, TILE_PX]."""
    total = np.zeros((TILE_PX, TILE_PX), np.float32)
    for octave in range(octaves):
        shape = (min(TILE_PX, (cells_y or cells_x) << octave), min(TILE_PX, cells_x << octave))
        grid = rng.uniform(-1, 1, shape).astype(np.float32)
        total += cv2.resize(grid, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    return total


def _grid() -> tuple[Tile, Tile]:
    rows, columns = np.mgrid[0:TILE_PX, 0:TILE_PX].astype(np.float32)
    return rows, columns


def _paint(rgb: tuple[float, float, float], *layers: tuple[Tile, float | tuple[float, float, float]]) -> Tile:
    """A base colour plus layers, each a map [TILE_PX, TILE_PX] times its amplitude, grey or RGB."""
    image = np.broadcast_to(np.array(rgb, np.float32), (TILE_PX, TILE_PX, 3)).copy()
    for values, amplitude in layers:
        image += values[..., None] * np.array(amplitude, np.float32)
    return image


def _choose(number: int, *colors: tuple[float, float, float]) -> tuple[float, float, float]:
    """A colour by the tile's number, so that a category's tiles show all its colours."""
    return colors[number % len(colors)]


def _cells(rng: np.random.Generator, count: int) -> tuple[Tile, Tile]:
    """Voronoi cells: (distance to the border in px, one random level in [-1, 1] a cell)."""
    points = rng.uniform(0, TILE_PX, (count, 2))
    seeds = np.full((TILE_PX, TILE_PX), 255, np.uint8)
    seeds[points[:, 0].astype(int), points[:, 1].astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    inside = np.ones((TILE_PX, TILE_PX), np.uint8)
    inside[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    inside[1:, :] &= labels[1:, :] == labels[:-1, :]
    border = cv2.distanceTransform(inside, cv2.DIST_L2, 5).astype(np.float32)
    levels = rng.uniform(-1, 1, int(labels.max()) + 1).astype(np.float32)
    return border, levels[labels]


def _strokes(
    rng: np.random.Generator, count: int, length: float, angle: tuple[float, float], thickness: int = 1
) -> Tile:
    """Straight strokes, later ones on top, each with one level in [-1, 1]; 0 where there is none."""
    canvas = np.zeros((TILE_PX, TILE_PX), np.float32)
    start = rng.uniform(0, TILE_PX, (count, 2))
    turn = rng.uniform(*angle, count)
    reach = length * rng.uniform(0.5, 1, count)
    end = start + np.stack([np.cos(turn), np.sin(turn)], 1) * reach[:, None]
    for head, tail, level in zip(start.astype(int), end.astype(int), rng.uniform(-1, 1, count), strict=True):
        cv2.line(canvas, head.tolist(), tail.tolist(), float(level), thickness, cv2.LINE_AA)
    return canvas


def _sky(rng: np.random.Generator, number: int) -> Tile:
    rows, _ = _grid()
    base = _choose(number, (95, 160, 230), (120, 180, 240), (70, 120, 200), (225, 150, 120), (150, 165, 185))
    clouds = np.clip(_noise(rng, 3, 6, octaves=4) - 0.1, 0, 1)
    return _paint(base, (rows / TILE_PX, (55, 40, 15)), (clouds, (95, 80, 65)))


def _water(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    base = _choose(number, (35, 95, 150), (40, 120, 150), (25, 75, 120))
    phase = rows * rng.uniform(0.25, 0.5) + 3 * _noise(rng, 5, 14) + columns * rng.uniform(-0.03, 0.03)
    ripples = np.sin(phase)
    return _paint(base, (ripples, (14, 22, 26)), (np.clip(ripples - 0.75, 0, 1), 250), (_noise(rng, 4), 10))


def _grass(rng: np.random.Generator, number: int) -> Tile:
    base = _choose(number, (70, 130, 45), (90, 145, 50), (60, 110, 50))
    blades = _strokes(rng, 9000, 12, (-2.2, -0.9))
    return _paint(base, (blades, (35, 45, 25)), (_noise(rng, 5, octaves=2), (14, 12, 6)))


def _sand(rng: np.random.Generator, number: int) -> Tile:
    rows, _ = _grid()
    base = _choose(number, (220, 195, 145), (205, 175, 125), (230, 210, 170))
    ripples = np.sin(rows * rng.uniform(0.12, 0.2) + 5 * _noise(rng, 3))
    return _paint(base, (ripples, (9, 9, 8)), (rng.standard_normal((TILE_PX, TILE_PX)).astype(np.float32), 9))


def _snow(rng: np.random.Generator, number: int) -> Tile:
    sparkle = (rng.random((TILE_PX, TILE_PX)) > 0.995).astype(np.float32)
    drifts = _noise(rng, 3, 6, octaves=2)
    return _paint((232, 238, 246), (drifts, (16, 11, 6)), (sparkle, 40), (_noise(rng, 80), 4))


def _dirt(rng: np.random.Generator, number: int) -> Tile:
    base = _choose(number, (110, 80, 55), (125, 90, 60), (90, 65, 50))
    clods = _noise(rng, 20, octaves=4)
    return _paint(base, (clods, (24, 20, 16)), (_noise(rng, 4), 12))


def _gravel(rng: np.random.Generator, number: int) -> Tile:
    border, level = _cells(rng, 1800)
    dark = np.clip(1 - border / 2, 0, 1)
    return _paint((150, 147, 142), (level, (38, 36, 34)), (dark, -60))


def _straw(rng: np.random.Generator, number: int) -> Tile:
    stalks = _strokes(rng, 5000, 45, (0, 2 * np.pi), 2)
    return _paint((205, 170, 85), (stalks, (42, 42, 35)), (_noise(rng, 5), 8))


def _leaves(rng: np.random.Generator, number: int) -> Tile:
    image = _paint((95, 60, 35), (_noise(rng, 20), 15))
    palette = [(200, 110, 35), (180, 70, 30), (215, 160, 50), (140, 85, 40), (165, 120, 50)]
    for _ in range(1100):
        x, y, long_axis = (int(v) for v in rng.uniform((0, 0, 8), (TILE_PX, TILE_PX, 15)))
        shade = rng.uniform(0.75, 1.1)
        color = [channel * shade for channel in palette[int(rng.integers(len(palette)))]]
        angle = float(rng.uniform(0, 360))
        cv2.ellipse(image, (x, y), (long_axis, long_axis // 2), angle, 0, 360, color, -1, cv2.LINE_AA)
        cv2.ellipse(image, (x, y), (long_axis, 0), angle, 0, 360, [c * 0.6 for c in color], 1, cv2.LINE_AA)
    return image


def _hedge(rng: np.random.Generator, number: int) -> Tile:
    border, level = _cells(rng, 1000)
    dark = np.clip(1 - border / 4, 0, 1)
    return _paint((50, 105, 45), (level, (20, 30, 15)), (dark, (-40, -60, -35)), (_noise(rng, 6), 10))


def _brick(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    height = float(rng.integers(16, 26))
    width = height * 2.4
    course = np.floor(rows / height)
    along = columns + (course % 2) * width / 2
    mortar = ((rows % height) < 2.5) | ((along % width) < 2.5)
    levels = rng.uniform(-1, 1, (TILE_PX, TILE_PX)).astype(np.float32)
    level = levels[course.astype(int), np.floor(along / width).astype(int)]
    base = _choose(number, (165, 75, 55), (150, 85, 65), (180, 95, 70))
    image = _paint(base, (level, (20, 14, 12)), (_noise(rng, 60, octaves=2), 9))
    image[mortar] = _paint((195, 188, 178), (_noise(rng, 60), 10))[mortar]
    return image


def _wood(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    width = float(rng.integers(34, 60))
    plank = np.floor(rows / width)
    shift = rng.uniform(0, TILE_PX, 40).astype(np.float32)[plank.astype(int)]
    joint = ((columns + shift) % (TILE_PX * 0.8)) < 2
    levels = rng.uniform(-1, 1, 40).astype(np.float32)[plank.astype(int)]
    grain = np.sin(rows * 0.9 + shift + 6 * _noise(rng, 3, 10))
    base = _choose(number, (165, 115, 70), (140, 95, 60), (195, 150, 100))
    gap = (((rows % width) < 2) | joint).astype(np.float32)
    return _paint(base, (levels, (14, 11, 8)), (grain, (11, 9, 7)), (gap, -65), (_noise(rng, 6, 90), 6))


def _stone(rng: np.random.Generator, number: int) -> Tile:
    border, level = _cells(rng, 130)
    dark = np.clip(1 - border / 5, 0, 1)
    return _paint((140, 138, 135), (level, (24, 22, 20)), (dark, -75), (_noise(rng, 40, octaves=2), 10))


def _concrete(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    step = float(rng.integers(120, 180))
    joints = ((rows % step < 2) | (columns % step < 2)).astype(np.float32)
    speckle = rng.standard_normal((TILE_PX, TILE_PX)).astype(np.float32)
    level = float(rng.uniform(140, 185))
    return _paint((level, level, level - 4), (_noise(rng, 4, octaves=4), 13), (speckle, 5), (joints, -45))


def _tiles(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    side = float(rng.integers(30, 52))
    joints = (rows % side < 2.5) | (columns % side < 2.5)
    odd = ((np.floor(rows / side) + np.floor(columns / side)) % 2).astype(np.float32)
    step = _choose(number, (-150, -150, -145), (-110, -70, -30), (-60, -30, -50), (0, 0, 0))
    shine = (rows % side + columns % side) / side
    image = _paint((232, 230, 224), (odd, step), (shine, -10))
    image[joints] = (150, 148, 145)
    return image


def _carpet(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    step = float(rng.integers(26, 40))
    base = _choose(number, (150, 40, 55), (50, 60, 120), (45, 100, 95), (120, 65, 125))
    diamonds = np.abs(rows % step - step / 2) + np.abs(columns % step - step / 2)
    pattern = np.sign(diamonds - step / 3) * (diamonds < step / 2)
    weave = np.sin(rows * 2.1) * np.sin(columns * 2.1)
    return _paint(base, (pattern.astype(np.float32), (34, 30, 20)), (weave, 11), (_noise(rng, 70), 9))


def _marble(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    phase = (rows + columns * rng.uniform(-1, 1)) * 0.05 + 4 * _noise(rng, 3, octaves=4)
    veins = np.clip(1 - np.abs(np.sin(phase)) * 5, 0, 1)
    base = _choose(number, (232, 228, 222), (205, 210, 205), (225, 205, 195))
    return _paint(base, (veins, (-85, -80, -72)), (_noise(rng, 4, octaves=2), 8))


def _metal(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    step = float(rng.integers(70, 110))
    brushed = _noise(rng, 3, TILE_PX)
    near = np.hypot(rows % step - 12, columns % step - 12)
    rivets = np.clip(6 - near, 0, 1) * (1 - near / 6)
    seams = (rows % step < 2).astype(np.float32)
    return _paint((168, 176, 186), (brushed, 14), (rivets, 70), (seams, -70), (_noise(rng, 3), 12))


def _curtain(rng: np.random.Generator, number: int) -> Tile:
    _, columns = _grid()
    folds = np.sin(columns * rng.uniform(0.14, 0.24) + 2.5 * _noise(rng, 4, 2))
    base = _choose(number, (150, 40, 50), (60, 80, 130), (190, 170, 130), (80, 110, 80), (110, 70, 120))
    return _paint(base, (folds, (38, 32, 32)), (_noise(rng, 90), 4))


def _wallpaper(rng: np.random.Generator, number: int) -> Tile:
    rows, columns = _grid()
    step = float(rng.integers(22, 36))
    base = _choose(number, (225, 205, 190), (190, 210, 215), (215, 220, 190), (225, 195, 205))
    stripe = (columns % step < step / 2).astype(np.float32)
    near = np.hypot(columns % step - step * 0.75, rows % step - step / 2)
    dots = np.clip(5 - near, 0, 1)
    return _paint(base, (stripe, (-28, -24, -18)), (dots, (-20, -60, -50)), (_noise(rng, 50), 3))


_PAINTERS: dict[str, Callable[[np.random.Generator, int], Tile]] = {
    "sky": _sky,
    "water": _water,
    "grass": _grass,
    "sand": _sand,
    "snow": _snow,
    "dirt": _dirt,
    "gravel": _gravel,
    "straw": _straw,
    "leaves": _leaves,
    "hedge": _hedge,
    "brick": _brick,
    "wood": _wood,
    "stone": _stone,
    "concrete": _concrete,
    "tiles": _tiles,
    "carpet": _carpet,
    "marble": _marble,
    "metal": _metal,
    "curtain": _curtain,
    "wallpaper": _wallpaper,
}
