"""One scene: objects on a background, lit, with the visible mask of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.world.art import Art, Sprite
from pipeline.world.layout import Background, paint_background
from pipeline.world.textures import Textures
from pipeline.world.vocabulary import Stuff, Thing, Vocabulary, WorldConfig

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Placed:
    """An object in a scene.

    Attributes:
        thing: its category.
        color: the colour word for its look, or None.
        mask: visible pixels, bool [S, S]; no two objects of a scene share a pixel.
        center_xy: of the drawn object, as shares of the side.
        side: its longer side as a share of the picture's.
        bottom: index into the scene's stuff of what lies under its lower end.
        depth: 0 is nearest; an object hides those with a greater depth.
    """

    thing: Thing
    color: str | None
    mask: NDArray[np.bool_]
    center_xy: tuple[float, float]
    side: float
    bottom: int
    depth: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A rendered scene.

    Attributes:
        image: RGB uint8 [S, S, 3].
        placed: objects, nearest first.
        stuff: categories of the background, those without a visible pixel too.
        stuff_masks: visible pixels of each, bool [S, S].
        horizon: see `Background`.
        has_sky: see `Background`.
        jpeg_quality: for the encoder.
    """

    image: NDArray[np.uint8]
    placed: tuple[Placed, ...]
    stuff: tuple[Stuff, ...]
    stuff_masks: tuple[NDArray[np.bool_], ...]
    horizon: float
    has_sky: bool
    jpeg_quality: int


@dataclass(frozen=True, slots=True)
class _Wish:
    """An object that is to be placed: what, how big, and where its lower end should be."""

    thing: Thing
    sprite: Sprite
    side: float
    angle_deg: float
    flip: bool
    center_y: float
    half_height: float

    @property
    def bottom_y(self) -> float:
        """Where its lower end is, as a share of the side; rotation is left out of account."""
        return self.center_y + self.half_height


@dataclass(frozen=True, slots=True)
class _Layer:
    """A drawn object: RGBA premultiplied uint8 [S, S, 4], and where its centre and lower end are."""

    rgba: NDArray[np.uint8]
    center_xy: tuple[float, float]
    bottom_y: float


class Renderer:
    """Renders scenes; holds the art, so that one renderer should draw many."""

    def __init__(self, config: WorldConfig, vocabulary: Vocabulary) -> None:
        self.config = config
        self._vocabulary = vocabulary
        names = config.names if config.names is not None else tuple(vocabulary.thing_by_name)
        self._things = tuple(vocabulary.thing_by_name[name] for name in names)
        self._art = Art(max(128, config.size_px))
        self._textures = Textures()

    def render(self, rng: np.random.Generator) -> Scene:
        """Draws a scene from the generator's numbers alone."""
        size = self.config.size_px
        background = paint_background(rng, size, self._vocabulary, self._textures)
        # The nearest come first: each new object must still be seen behind those that are placed already.
        wishes = sorted(self._wishes(rng, background), key=lambda wish: -wish.bottom_y)
        covered = np.zeros((size, size), bool)
        layers: list[_Layer] = []
        placed: list[Placed] = []
        for wish in wishes:
            fit = self._place(rng, wish, covered, is_first=not placed)
            if fit is None:
                continue
            layer, mask = fit
            covered |= mask
            layers.append(layer)
            below = min(size - 1, max(0, int(layer.bottom_y * size) - 1))
            column = min(size - 1, max(0, int(layer.center_xy[0] * size)))
            bottom = int(background.regions[below, column])
            placed.append(
                Placed(wish.thing, wish.sprite.color, mask, layer.center_xy, wish.side, bottom, depth=len(placed))
            )
        image = _compose(rng, background.image.astype(np.float32), layers)
        masks = tuple((background.regions == number) & ~covered for number in range(len(background.stuff)))
        low, high = self.config.jpeg_quality
        quality = int(rng.integers(low, high + 1))
        return Scene(image, tuple(placed), background.stuff, masks, background.horizon, background.has_sky, quality)

    def _wishes(self, rng: np.random.Generator, background: Background) -> list[_Wish]:
        config = self.config
        single = bool(rng.random() < config.single_object)
        count = 1 if single else int(rng.integers(config.objects[0], config.objects[1] + 1))
        low, high = config.single_object_side if single else config.object_side
        # Many objects need room: the largest side shrinks as their number grows.
        high = max(low, high if count <= 2 else high * (1.0 - 0.09 * (count - 2)))
        wishes: list[_Wish] = []
        thing = self._things[0]
        for number in range(count):
            # Plurals need company of one's own kind.
            if number == 0 or rng.random() > 0.3:
                thing = self._things[int(rng.integers(len(self._things)))]
            side = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            wishes.append(self._wish(rng, thing, side, background))
        return wishes

    def _wish(self, rng: np.random.Generator, thing: Thing, side: float, background: Background) -> _Wish:
        sprite = self._art.sprite(thing.codepoints[int(rng.integers(len(thing.codepoints)))])
        limit = self.config.max_rotation_deg
        angle = float(np.clip(rng.normal(0, limit / 2), -limit, limit))
        flip = bool(rng.random() < 0.5)
        half_height = side * sprite.levels[0].shape[0] / sprite.side_px / 2
        free = bool(rng.random() < 0.15)
        if background.has_sky and thing.in_sky and not free and background.horizon > 0:
            center = float(rng.uniform(half_height * 0.8, max(half_height, background.horizon)))
        elif background.horizon > 0 and not free:
            bottom = rng.uniform(background.horizon + 0.04, 1.02)
            center = float(max(bottom - half_height, half_height * 0.9))
        else:
            margin = min(0.5, half_height * 0.9)
            center = float(rng.uniform(margin, 1 - margin))
        return _Wish(thing, sprite, side, angle, flip, center, half_height)

    def _place(
        self, rng: np.random.Generator, wish: _Wish, covered: NDArray[np.bool_], is_first: bool
    ) -> tuple[_Layer, NDArray[np.bool_]] | None:
        """Looks for a place where enough of the object is seen; the first object of a scene always gets one."""
        size = self.config.size_px
        scale = wish.side * size / wish.sprite.side_px
        full_area_px = wish.sprite.area_px * scale**2
        smallest_px = max(12.0, (size / 24) ** 2)
        half_width = wish.side * wish.sprite.levels[0].shape[1] / wish.sprite.side_px / 2
        for attempt in range(_TRIES):
            margin = min(0.5, half_width * 0.8)
            x = float(rng.uniform(margin, 1 - margin))
            last_resort = is_first and attempt == _TRIES - 1
            layer = _draw(replace(wish, center_y=0.5), 0.5, size) if last_resort else _draw(wish, x, size)
            mask = (layer.rgba[..., 3] >= 128) & ~covered
            visible_px = int(mask.sum())
            if last_resort or visible_px >= max(smallest_px, self.config.min_visible * full_area_px):
                return layer, mask
        return None


def _draw(wish: _Wish, center_x: float, size_px: int) -> _Layer:
    """Scales, turns and shifts the sprite into the picture."""
    scale = wish.side * size_px / wish.sprite.side_px
    level = 0
    # Bilinear sampling aliases below half size, so it starts from the smallest level that is large enough.
    while scale < 0.75 and level + 1 < len(wish.sprite.levels):
        level, scale = level + 1, scale * 2
    raster = wish.sprite.levels[level]
    height, width = raster.shape[:2]
    turn = np.deg2rad(wish.angle_deg)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    mirror = -1.0 if wish.flip else 1.0
    matrix = np.array([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0]])
    middle = matrix[:, :2] @ np.array([(width - 1) / 2, (height - 1) / 2])
    matrix[:, 2] = np.array([center_x, wish.center_y]) * size_px - middle
    warped = cv2.warpAffine(raster, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR)
    return _Layer(warped.astype(np.uint8, copy=False), (center_x, wish.center_y), wish.bottom_y)


def _compose(rng: np.random.Generator, image: NDArray[np.float32], layers: list[_Layer]) -> NDArray[np.uint8]:
    """Paints the layers (nearest first) from back to front with soft shadows, then light, blur and sensor noise.

    Args:
        rng: gives light and noise.
        image: RGB float32 [S, S, 3]; overwritten.
        layers: as `_draw` gives them.
    """
    size = image.shape[0]
    reach = size // 24 | 1
    shift_x, shift_y = float(rng.uniform(-2, 2)) * size / 48, size / 48
    shift = np.array([[1, 0, shift_x], [0, 1, shift_y]], np.float32)
    strength = np.float32(rng.uniform(0.0, 0.5) / 255)
    for layer in reversed(layers):
        left, top, width, height = cv2.boundingRect(layer.rgba[..., 3])
        margin = reach + 2 * size // 48 + 2
        window = np.s_[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
        part, rgba = image[window], layer.rgba[window]
        shadow = cv2.warpAffine(cv2.blur(rgba[..., 3], (reach, reach)), shift, rgba.shape[1::-1])
        opacity = rgba[..., 3].astype(np.float32) * np.float32(1 / 255)
        part *= ((1 - opacity) * (1 - shadow.astype(np.float32) * strength))[..., None]
        part += rgba[..., :3].astype(np.float32) * np.float32(rng.uniform(0.82, 1.05))
    return _photograph(rng, image)


def _photograph(rng: np.random.Generator, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Brightness, colour cast, a gradient of light across the scene, blur, noise."""
    size = image.shape[0]
    gain = np.float32(rng.uniform(0.7, 1.12)) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    light = 1 + slope_x * ramp[None, :] + slope_y * ramp[:, None]
    image *= light[..., None] * gain
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 0.9)) * size / 192).astype(np.float32)
    # Uniform noise is drawn much faster than normal noise, and looks the same at this strength.
    reach = np.float32(abs(rng.normal(0, 9)))
    image += (rng.random(image.shape, dtype=np.float32) - np.float32(0.5)) * (2 * reach)
    return np.clip(image, 0, 255).astype(np.uint8)
