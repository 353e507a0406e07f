"""Runs of a run-length encoded mask: its box, and the mask inside a box, without decoding it at the photo's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_DIGIT_BITS, _GOES_ON, _SIGN = 5, 0x20, 0x10


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Where a mask is set, counted column by column (COCO's order: from the top down, then to the right).

    Attributes:
        height: of the image, in pixels.
        starts, stops: int64 [R], places of each run's first pixel and of the pixel after its last, in rising order.
    """

    height: int
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(cls, counts: str, height: int) -> Self:
        """Those of COCO's compressed counts; what they leave out at the end is not set."""
        edges = np.cumsum(run_lengths(counts))
        starts, stops = edges[0 : 2 * (edges.size // 2) : 2], edges[1::2]
        some = stops > starts  # a run may have no pixel
        return cls(height, starts[some], stops[some])

    @property
    def box_xyxy_px(self) -> tuple[int, int, int, int]:
        """Tight box (left, top, right, bottom), right and bottom exclusive; all 0 for an empty mask."""
        if self.starts.size == 0:
            return 0, 0, 0, 0
        (columns, rows), (last_columns, last_rows) = (
            np.divmod(places, self.height) for places in (self.starts, self.stops - 1)
        )
        left, right = int(columns[0]), int(last_columns[-1]) + 1
        if np.any(columns != last_columns):  # from the bottom of one column to the top of the next
            return left, 0, right, self.height
        return left, int(rows.min()), right, int(last_rows.max()) + 1

    def inside(self, box_xyxy_px: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        """The mask inside a box of the image, bool [h, w], in rows."""
        left, top, right, bottom = box_xyxy_px
        first, last = left * self.height, right * self.height
        edges = np.empty(2 * self.starts.size + 2, np.int64)
        edges[0], edges[1:-1:2], edges[2:-1:2], edges[-1] = first, self.starts, self.stops, last
        lengths = np.diff(edges.clip(first, last))
        columns = np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(right - left, self.height)
        return np.ascontiguousarray(columns[:, top:bottom].T)


def run_lengths(counts: str) -> NDArray[np.int64]:
    """Lengths of the runs of COCO's compressed counts, the first of them outside the mask.

    A number is written in digits of five bits, the lowest first, in two's complement; from the fourth on it is the
    difference from the length two before (pycocotools, maskApi.c, rleFrString).
    """
    if not counts:
        return np.empty(0, np.int64)
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes & _GOES_ON == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    digits = last - first + 1
    shift = _DIGIT_BITS * (np.arange(codes.size) - np.repeat(first, digits))
    lengths = np.add.reduceat((codes & (_GOES_ON - 1)) << shift, first)
    lengths -= np.where(codes[last] & _SIGN, 1 << (_DIGIT_BITS * digits), 0)
    lengths[1::2], lengths[2::2] = np.cumsum(lengths[1::2]), np.cumsum(lengths[2::2])
    return lengths
