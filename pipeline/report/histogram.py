"""Histograms whose memory does not grow with the number of values, and their drawing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.report.text import compact

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 346, 22, 150
"""Of the drawing, and the plot within it, in the units of the SVG."""
_MOST_TICKS = 6


class Histogram:
    """Counts on a fine, fixed grid; drawn in coarser bars.

    Args:
        low: lower end of the grid, a whole multiple of `cell`; smaller values count as this.
        high: upper end; larger values count as this.
        cell: width of a cell.
    """

    def __init__(self, low: float, high: float, cell: float) -> None:
        self.cell = cell
        self._first = round(low / cell)  # cell k begins at k * cell
        self.counts = np.zeros(round(high / cell) - self._first, np.int64)

    def add(self, values: NDArray[np.float64]) -> None:
        """Counts values [N]; none of them NaN."""
        # A hair is added, so that 0.3 / 0.1 = 2.999... falls into cell 3.
        cells = np.floor(values / self.cell + 1e-6).astype(np.int64) - self._first
        self.counts += np.bincount(cells.clip(0, len(self.counts) - 1), minlength=len(self.counts))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Middle of the cell in which a share in [0, 1] of the values is reached; there must be values."""
        reached = int(np.searchsorted(np.cumsum(self.counts), max(share * self.total, 1)))
        return (self._first + reached + 0.5) * self.cell

    def shares_up_to(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which share of all values is at most as high as each of some, up to a cell: [N] in [0, 1]; 1 for NaN."""
        cells = np.floor(np.nan_to_num(values, nan=np.inf) / self.cell + 1e-6).clip(-1e9, 1e9).astype(np.int64)
        reached = np.cumsum(self.counts) / max(self.total, 1)
        return np.where(np.isnan(values), 1.0, reached[(cells - self._first).clip(0, len(reached) - 1)])

    def bars(self, most: int = 30) -> list[tuple[float, float, int]]:
        """Left end, right end and count of equal bars with round ends, over the range that has values."""
        filled = np.flatnonzero(self.counts)
        if not len(filled):
            return []
        first, last = int(filled[0]) + self._first, int(filled[-1]) + self._first
        width = next(width for width in _round_numbers() if last // width - first // width < most)
        found = []
        for number in range(first // width, last // width + 1):
            start, end = (max(edge * width - self._first, 0) for edge in (number, number + 1))
            count = int(self.counts[start:end].sum())
            found.append((number * width * self.cell, (number + 1) * width * self.cell, count))
        return found


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn histogram, in the units of an SVG of WIDTH x HEIGHT.

    Attributes:
        title: what is counted.
        axis: unit of the x axis.
        summary: median and range in words.
        bars: x, y, width, height, and the bar's range and count in words.
        x_ticks, y_ticks: position and label.
    """

    title: str
    axis: str
    summary: str
    bars: list[tuple[float, float, float, float, str]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def draw(
    title: str, axis: str, histogram: Histogram, label: Callable[[float], str], whole_ticks: bool = False
) -> Chart | None:
    """Draws a histogram; None if it has no values.

    Args:
        title: what is counted.
        axis: unit of the x axis.
        histogram: the counts.
        label: writes a value of the x axis.
        whole_ticks: the x axis is labelled at whole numbers only (decades).
    """
    bars = histogram.bars()
    if not bars:
        return None
    low, high, most = bars[0][0], bars[-1][1], max(count for _, _, count in bars)

    def x_of(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (RIGHT - LEFT), 1)

    def y_of(count: float) -> float:
        return round(BOTTOM - count / most * (BOTTOM - TOP), 1)

    shapes = []
    for start, end, count in bars:
        words = f"{label(start)} to {label(end)}: {count:,}"
        x, y = x_of(start), min(y_of(count), BOTTOM - 1.0) if count else BOTTOM
        shapes.append((x, y, round(max(x_of(end) - x - 0.6, 0.6), 1), round(BOTTOM - y, 1), words))
    quantiles = [label(round(histogram.quantile(share), 3)) for share in (0.5, 0.05, 0.95)]
    ticks = _ticks(low, high, 1.0 if whole_ticks else 0.0)
    return Chart(
        title=title,
        axis=axis,
        summary="Median {}; nine in ten from {} to {}.".format(*quantiles),
        bars=shapes,
        x_ticks=[(x_of(value), label(value)) for value in ticks],
        y_ticks=[(y_of(value), compact(value)) for value in _ticks(0, most, 1.0)[:8]],
    )


def _ticks(low: float, high: float, least: float) -> list[float]:
    """Round values from low to high, at most _MOST_TICKS, at least `least` apart."""
    unit = 1e-6
    span = high - low
    step = next(n * unit for n in _round_numbers() if n * unit >= least and span / (n * unit) < _MOST_TICKS - 0.5)
    first, last = -(-(low - step * 1e-6) // step), (high + step * 1e-6) // step
    return [number * step for number in range(int(first), int(last) + 1)]


def _round_numbers() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ..."""
    return (step * 10**power for power in itertools.count() for step in (1, 2, 5))
