"""A picture of a segmentation that a person can read: colours, borders, names on the regions, a legend beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import find_objects

SHORTEST_PX, LONGEST_PX = 640, 2048
"""Photos are drawn with a longer side between these, so that names can be read on thumbnails and on large photos."""
FIXED_COLOURS = 40
_OPACITY = 0.55
_PAPER, _INK, _NOTHING = (255, 255, 255), (25, 25, 25), (205, 205, 205)
_MAX_NAMES = 60
_MAX_LETTERS = 28
_STEPS = 20
_FIRST_RGB = (230, 25, 75)
_Font = ImageFont.FreeTypeFont


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the legend."""

    colour: tuple[int, int, int]
    text: str


def draw_overlay(image: NDArray[np.uint8], labels: NDArray[np.int32], classes: Sequence[str]) -> Image.Image:
    """Draws a segmentation over its photo.

    The picture depends on the arguments alone. Colours belong to class numbers; of more than `FIXED_COLOURS` classes,
    whose colours would be too much alike, those in the picture share out the first colours. The legend lists the
    classes that are in the label map with their share of the photo, the largest first.

    Args:
        image: [H, W, 3] RGB, uint8.
        labels: int32 [H, W], number of the class, -1 = nothing.
        classes: names.

    Returns:
        RGB; the photo's longer side is between `SHORTEST_PX` and `LONGEST_PX`, with the legend on the right of it.
    """
    photo, small = _sized(image, labels)
    colours = _colours(labels, len(classes))
    font = ImageFont.load_default(max(15, max(photo.shape[:2]) // 40))
    assert isinstance(font, _Font)  # which Pillow gives for a size
    painted = Image.fromarray(_painted(photo, small, colours))
    _write_names(painted, small, classes, font)
    return _beside(painted, _legend(_entries(labels, classes, colours), font, painted.height))


def _sized(image: NDArray[np.uint8], labels: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    height, width = image.shape[:2]
    scale = float(np.clip(max(height, width), SHORTEST_PX, LONGEST_PX)) / max(height, width)
    if scale == 1.0:
        return image, labels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(photo, dtype=np.uint8), np.asarray(small, dtype=np.int32)


def _colours(labels: NDArray[np.int32], count: int) -> NDArray[np.uint8]:
    """A colour for each of `count` classes, uint8 [max(count, 1), 3]; see draw_overlay."""
    if count <= FIXED_COLOURS:
        return palette(max(1, count))
    present = np.flatnonzero(np.bincount(labels.ravel() + 1, minlength=count + 1)[1:])
    colours = np.zeros((count, 3), dtype=np.uint8)
    colours[present] = palette(len(present))
    return colours


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


def _painted(photo: NDArray[np.uint8], labels: NDArray[np.int32], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours of the classes over the photo in grey, and a white line between them; 'nothing' is the pale photo."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    mixed = (1 - _OPACITY) * grey + (_OPACITY * colours.astype(np.float32))[np.maximum(labels, 0)]
    painted = np.where((labels < 0)[..., None], 0.5 * grey + 110, mixed).round().astype(np.uint8)
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    painted[border] = 255
    return painted


def _write_names(painted: Image.Image, labels: NDArray[np.int32], classes: Sequence[str], font: _Font) -> None:
    """Writes names into connected regions, the largest first, where a name fits and covers no other one."""
    draw = ImageDraw.Draw(painted)
    taken = np.zeros(labels.shape, dtype=bool)
    written = 0
    for _, number, (left, top, _, _), part in _parts(labels, min_area_px=labels.size // 800):
        inside = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        row, column = np.unravel_index(int(inside.argmax()), inside.shape)
        name = _shortened(classes[number])
        half_w, half_h = draw.textlength(name, font=font) / 2 + 3, font.size / 2 + 3
        x = float(np.clip(left + column, half_w, max(half_w, painted.width - half_w)))
        y = float(np.clip(top + row, half_h, max(half_h, painted.height - half_h)))
        spot = (slice(max(0, int(y - half_h)), int(y + half_h)), slice(max(0, int(x - half_w)), int(x + half_w)))
        if taken[spot].any():
            continue
        taken[spot] = True
        draw.text((x, y), name, font=font, anchor="mm", fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
        written += 1
        if written == _MAX_NAMES:
            return


def _parts(
    labels: NDArray[np.int32], min_area_px: int
) -> list[tuple[int, int, tuple[int, int, int, int], NDArray[np.bool_]]]:
    """Connected parts, largest first: (area, class, box as left, top, width, height, mask inside the box)."""
    parts = []
    for number, place in enumerate(find_objects(labels + 1)):  # a box per class, from one pass over the map
        if place is None:
            continue
        count, components, stats, _ = cv2.connectedComponentsWithStats((labels[place] == number).astype(np.uint8))
        for one in range(1, count):
            left, top, width, height, area_px = (int(value) for value in stats[one])
            if area_px >= min_area_px:
                mask = components[top : top + height, left : left + width] == one
                parts.append((area_px, number, (place[1].start + left, place[0].start + top, width, height), mask))
    return sorted(parts, key=lambda part: (-part[0], part[1], part[2]))


def _entries(labels: NDArray[np.int32], classes: Sequence[str], colours: NDArray[np.uint8]) -> list[_Entry]:
    counts = np.bincount(labels.ravel() + 1, minlength=len(classes) + 1)
    order = [number for number in np.argsort(-counts[1:], kind="stable") if counts[number + 1]]
    entries = []
    for number in order:
        red, green, blue = (int(value) for value in colours[number])
        entries.append(
            _Entry((red, green, blue), f"{_shortened(classes[number])}  {_share(counts[number + 1], labels)}")
        )
    if counts[0]:
        entries.append(_Entry(_NOTHING, f"(nothing)  {_share(counts[0], labels)}"))
    return entries


def _share(count: int, labels: NDArray[np.int32]) -> str:
    percent = 100 * count / labels.size
    return f"{percent:.0f} %" if percent >= 1 else "< 1 %"


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else name[: _MAX_LETTERS - 1] + "…"


def _legend(entries: Sequence[_Entry], font: _Font, height: int) -> Image.Image:
    """Swatches and names, in as many columns as the height asks for."""
    line = round(font.size * 1.6)
    rows = max(1, (height - line) // line)
    columns = [entries[start : start + rows] for start in range(0, len(entries), rows)]
    widths = [max(int(font.getlength(entry.text)) for entry in column) + 3 * line for column in columns]
    legend = Image.new("RGB", (sum(widths) + line // 2, height), _PAPER)
    draw = ImageDraw.Draw(legend)
    x = line // 2
    for column, width in zip(columns, widths, strict=True):
        for row, entry in enumerate(column):
            y = line // 2 + row * line
            draw.rectangle((x, y, x + line, y + font.size), fill=entry.colour, outline=_INK)
            draw.text((x + line * 1.4, y + font.size / 2), entry.text, font=font, anchor="lm", fill=_INK)
        x += width
    return legend


def _beside(painted: Image.Image, legend: Image.Image) -> Image.Image:
    joined = Image.new("RGB", (painted.width + legend.width, max(painted.height, legend.height)), _PAPER)
    joined.paste(painted, (0, 0))
    joined.paste(legend, (painted.width, 0))
    return joined
