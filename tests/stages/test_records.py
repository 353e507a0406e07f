"""Masks as run lengths: every form of COCO's is read, and tells area and box as the pixels do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common import Rle, SampleError


def masks() -> list[NDArray[np.bool_]]:
    generator = np.random.default_rng(0)
    drawn = [
        generator.random((height, width)) < share for height, width, share in ((1, 1, 1), (7, 5, 0.3), (40, 33, 0.02))
    ]
    empty, full, corner, columns = (np.zeros((6, 9), bool) for _ in range(4))
    full[:] = True
    corner[5, 8] = True
    columns[5, 2] = columns[0, 3] = True  # one run of column-major order, over two columns
    return [*drawn, empty, full, corner, columns]


@pytest.mark.parametrize("mask", masks())
def test_masks_come_back_as_they_were(mask: NDArray[np.bool_]) -> None:
    rle = Rle.encode(mask)
    decoded = rle.decode()
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, mask)
    assert (rle.height, rle.width) == mask.shape
    assert Rle.from_coco(rle.to_coco(), *mask.shape) == rle


@pytest.mark.parametrize("mask", masks())
def test_area_and_box_are_those_of_the_pixels(mask: NDArray[np.bool_]) -> None:
    rle = Rle.encode(mask)
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if rows.size else (0, 0, 0, 0)
    assert rle.area_px == mask.sum()
    assert rle.box_xyxy_px == tuple(map(int, box))


def test_integers_and_memory_order_make_no_difference() -> None:
    mask = np.random.default_rng(1).random((8, 11)) < 0.5
    assert Rle.encode(mask.astype(np.uint8)) == Rle.encode(np.asfortranarray(mask)) == Rle.encode(mask)


def test_only_two_dimensions_make_a_mask() -> None:
    with pytest.raises(ValueError, match=r"\[1, 4, 4\]"):
        Rle.encode(np.zeros((1, 4, 4), bool))


def test_uncompressed_runs_go_down_the_columns() -> None:
    rle = Rle.from_coco({"size": [3, 2], "counts": [1, 2, 2, 1]}, 3, 2)
    assert rle.decode().astype(int).tolist() == [[0, 0], [1, 0], [1, 1]]


def test_compressed_counts_may_be_bytes() -> None:
    rle = Rle.encode(np.eye(5, dtype=bool))
    assert Rle.from_coco({"size": [5, 5], "counts": rle.counts.encode()}, 5, 5) == rle


def test_polygons_are_filled_and_united() -> None:
    squares = [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0], [6.0, 0.0, 8.0, 0.0, 8.0, 5.0, 6.0, 5.0]]
    expected = np.zeros((5, 9), bool)
    expected[1:3, 1:4] = True
    expected[0:5, 6:8] = True
    np.testing.assert_array_equal(Rle.from_coco(squares, 5, 9).decode(), expected)


def test_a_line_beside_a_polygon_is_ignored_and_alone_refused() -> None:
    square = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]
    assert Rle.from_coco([[0.0, 0.0, 4.0, 4.0], square], 5, 9) == Rle.from_coco([square], 5, 9)
    with pytest.raises(ValueError, match="three points"):
        Rle.from_coco([[0.0, 0.0, 4.0, 4.0]], 5, 9)


def test_another_size_than_the_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match=r"\[5, 6\].*\[6, 5\]"):
        Rle.from_coco(Rle.encode(np.ones((5, 6), bool)).to_coco(), 6, 5)


def test_a_sample_error_carries_its_reason() -> None:
    error = SampleError("undecodable_image", "found a web page")
    assert (error.reason, error.message, str(error)) == (
        "undecodable_image",
        "found a web page",
        "undecodable_image: found a web page",
    )
