"""Overlays: colours, sizes, names, the same bytes each time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from train.segmenter.overlay import LONGEST_PX, SHORTEST_PX, draw_overlay, palette


def quarters(height: int, width: int) -> NDArray[np.int32]:
    labels = np.full((height, width), -1, dtype=np.int32)
    labels[: height // 2, : width // 2] = 0
    labels[height // 2 :, : width // 2] = 1
    labels[height // 2 :, width // 2 :] = 2
    return labels


def grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_847_colours_are_told_apart_and_smaller_palettes_begin_larger_ones() -> None:
    colours = palette(847)
    lab = cv2.cvtColor((colours[None] / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e6 * np.eye(847)
    assert distance.min() > 5  # 2.3 is a just noticeable difference
    assert distance[:20, :20].min() > 35
    np.testing.assert_array_equal(palette(20), colours[:20])


@pytest.mark.parametrize(("height", "width"), [(64, 96), (480, 640), (3000, 4000), (1, 1), (4, 900)])
def test_photos_of_any_size_are_drawn_at_a_readable_one(height: int, width: int) -> None:
    picture = draw_overlay(grey(height, width), quarters(height, width), ["sea", "boat", "person"])
    side = min(max(height, width, SHORTEST_PX), LONGEST_PX)
    assert picture.height >= max(1, round(side * height / max(height, width)) - 1)
    assert side * width / max(height, width) < picture.width < 2 * side + 700


def test_colours_on_the_photo_are_those_of_the_legend_and_the_picture_is_the_same_each_time() -> None:
    labels = quarters(480, 640)
    first = draw_overlay(grey(480, 640), labels, ["sea", "boat", "person"])
    again = draw_overlay(grey(480, 640), labels, ["sea", "boat", "person"])
    assert first.tobytes() == again.tobytes()
    pixels = np.array(first)
    for number, (row, column) in enumerate([(20, 20), (460, 20), (460, 620)]):
        colour = palette(3)[number].astype(float)
        expected = 0.45 * 128 + 0.55 * colour
        np.testing.assert_allclose(pixels[row, column], expected, atol=1)
        assert (pixels[:, 640:] == palette(3)[number]).all(axis=2).any()  # the swatch


def test_names_are_written_in_their_regions() -> None:
    labels = quarters(480, 640)
    named = np.array(draw_overlay(grey(480, 640), labels, ["sea", "boat", "person"]))[:, :640]
    bare = np.array(draw_overlay(grey(480, 640), labels, [" ", " ", " "]))[:, :640]
    changed = (named != bare).any(axis=2)
    for part in (changed[:240, :320], changed[240:, :320], changed[240:, 320:]):
        assert part.sum() > 100
    assert not changed[:240, 320:].any()


def test_a_legend_of_847_classes_and_a_very_long_name_fit() -> None:
    labels = np.arange(847, dtype=np.int32).repeat(600)[: 847 * 576].reshape(847, 576)
    names = [f"class {number} " + "with a very long name " * 9 for number in range(847)]
    picture = draw_overlay(grey(847, 576), labels, names)
    assert picture.width < 20_000


def test_a_map_of_nothing_is_drawn() -> None:
    labels = np.full((50, 60), -1, dtype=np.int32)
    assert draw_overlay(grey(50, 60), labels, ["sea"]).width > 640


def test_of_many_classes_those_in_the_picture_have_the_first_colours() -> None:
    labels = quarters(480, 640)
    labels[labels >= 0] = np.array([7, 400, 846])[labels[labels >= 0]]
    many = draw_overlay(grey(480, 640), labels, [f"class {number}" for number in range(847)])
    few = draw_overlay(grey(480, 640), quarters(480, 640), ["class 7", "class 400", "class 846"])
    assert many.tobytes() == few.tobytes()
    assert draw_overlay(grey(480, 640), np.full((480, 640), -1, np.int32), ["a"] * 50).width > 640
