"""Boxes and parts of run-length encoded masks, against pycocotools' decoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from stages.boxes import tight_box
from stages.common import Rle
from stages.common.runs import run_lengths
from tests.stages.test_regions import drawn_masks


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
def test_box_and_part_are_those_of_the_decoded_mask(height: int, width: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < share
    runs = Rle.encode(mask).runs()
    assert runs.box_xyxy_px == (tight_box(mask) if mask.any() else (0, 0, 0, 0))
    left, top = int(rng.integers(width)), int(rng.integers(height))
    right, bottom = int(rng.integers(left + 1, width + 1)), int(rng.integers(top + 1, height + 1))
    for box in (runs.box_xyxy_px, (left, top, right, bottom), (0, 0, width, height)):
        part = runs.inside(box)
        assert part.dtype == bool
        assert np.array_equal(part, mask[box[1] : box[3], box[0] : box[2]])


@pytest.mark.parametrize("name", drawn_masks())
def test_drawn_masks(name: str) -> None:
    mask = drawn_masks()[name]
    runs = Rle.encode(mask).runs()
    assert runs.box_xyxy_px == tight_box(mask)
    assert np.array_equal(runs.inside((0, 0, 57, 41)), mask)


@pytest.mark.parametrize(
    "counts", [[0, 5, 100_000, 1, 70_000, 29_994], [200_000], [0, 200_000], [3, 0, 4, 0, 0, 0, 199_993]]
)
def test_lengths_of_many_digits_and_runs_without_a_pixel(counts: list[int]) -> None:
    coded = coco_mask.frPyObjects({"size": [400, 500], "counts": counts}, 400, 500)
    rle = Rle(400, 500, coded["counts"].decode())
    assert run_lengths(rle.counts).tolist() == counts
    mask = rle.decode()
    runs = rle.runs()
    assert runs.box_xyxy_px == (tight_box(mask) if mask.any() else (0, 0, 0, 0))
    assert np.array_equal(runs.inside((0, 0, 500, 400)), mask)


def test_pixels_behind_the_last_run_are_not_set() -> None:
    coded = coco_mask.frPyObjects({"size": [4, 5], "counts": [2, 3]}, 4, 5)
    runs = Rle(4, 5, coded["counts"].decode()).runs()
    assert runs.box_xyxy_px == (0, 0, 2, 4)
    assert runs.inside((0, 0, 5, 4)).sum() == 3


def test_no_counts_are_an_empty_mask() -> None:
    runs = Rle(4, 5, "").runs()
    assert runs.box_xyxy_px == (0, 0, 0, 0)
    assert not runs.inside((0, 0, 5, 4)).any()
