"""Superpixels, their neighbourhood graph, and hierarchies of merges over it: the regions of `classical` proposals.

Superpixels are those of Felzenszwalb and Huttenlocher (IJCV 2004). Hierarchies follow the greedy grouping of selective
search (Uijlings et al., IJCV 2013), with similarities of its kinds (colour, size, fill) and the mean contrast along
the common border (as in Arbelaez et al., PAMI 2011, with a plain colour gradient in place of learnt contours).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SUPERPIXELS = 2000  # time and memory of all that follows grow with the square of this
COLOUR_BINS = 16  # a channel
MAX_CONTRAST = 60  # CIELAB units; more is as good as this
CONTRAST_STEPS = 16  # a unit: contrasts are integers, so that their sums do not depend on the order of adding


@dataclass(frozen=True)
class RegionGraph:
    """Superpixels of one photo (n of them), and the pairs that touch (m of them).

    Attributes:
        labels: [h, w], int64: the superpixel of each pixel, 0 ... n - 1.
        area_px: [n], float64.
        box_xyxy_px: [n, 4], float64; right and bottom exclusive.
        colours: [n, 3 * COLOUR_BINS], float64: histograms of L, a and b, in pixels.
        mean_lab: [n, 3], float64: mean colour in CIELAB.
        pair: [m, 2], int64: superpixels that touch (4-neighbours), the smaller first.
        border_px: [m], float64: length of the common border.
        contrast: [m], float64: sum of the colour contrast along it, in CIELAB units times CONTRAST_STEPS.
    """

    labels: NDArray[np.int64]
    area_px: NDArray[np.float64]
    box_xyxy_px: NDArray[np.float64]
    colours: NDArray[np.float64]
    mean_lab: NDArray[np.float64]
    pair: NDArray[np.int64]
    border_px: NDArray[np.float64]
    contrast: NDArray[np.float64]


def region_graph(image: NDArray[np.uint8], scale: float, min_area_px: int) -> RegionGraph:
    """Cuts an image into superpixels.

    Args:
        image: [h, w, 3] RGB, uint8.
        scale: Felzenszwalb and Huttenlocher's k for CIELAB in units of 100; greater means larger superpixels.
        min_area_px: smaller superpixels are merged into a neighbour.
    """
    lab = np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)
    # L 0 ... 100, a and b about -100 ... 100
    labels = _superpixels(lab, scale, min_area_px)
    count = int(labels.max()) + 1
    flat = labels.ravel()
    rows, columns = (index.ravel() for index in np.indices(labels.shape))
    box = np.tile([np.inf, np.inf, 0, 0], (count, 1))
    for side, value in enumerate((columns, rows)):
        np.minimum.at(box[:, side], flat, value)
        np.maximum.at(box[:, side + 2], flat, value + 1)
    area_px = np.bincount(flat, minlength=count).astype(np.float64)
    sums = [np.bincount(flat, weights=channel.ravel(), minlength=count) for channel in np.moveaxis(lab, -1, 0)]
    mean_lab = np.stack(sums, axis=1) / area_px[:, None]
    return RegionGraph(labels, area_px, box, _colours(lab, flat, count), mean_lab, *_pairs(labels, lab))


def _superpixels(lab: NDArray[np.float32], scale: float, min_area_px: int) -> NDArray[np.int64]:
    """[h, w]; larger superpixels where there would be more than MAX_SUPERPIXELS, as in a photo of pure noise."""
    from skimage.segmentation import felzenszwalb

    while True:
        labels: NDArray[np.int64] = felzenszwalb(lab / 100, scale=scale, sigma=0.8, min_size=min_area_px).astype(
            np.int64
        )
        if labels.max() < MAX_SUPERPIXELS:
            return labels
        min_area_px *= 2


def _colours(lab: NDArray[np.float32], flat: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """[n, 3 * COLOUR_BINS]: how many pixels of each superpixel fall into each bin of L, a and b."""
    unit = (lab + np.array([0, 80, 80])) / np.array([100, 160, 160])
    bins = np.clip((unit * COLOUR_BINS).astype(np.int64), 0, COLOUR_BINS - 1).reshape(-1, 3)
    size = count * COLOUR_BINS
    channels = [np.bincount(flat * COLOUR_BINS + bins[:, channel], minlength=size) for channel in range(3)]
    return np.concatenate([channel.reshape(count, COLOUR_BINS) for channel in channels], axis=1).astype(np.float64)


def _pairs(
    labels: NDArray[np.int64], lab: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The touching pairs with length of, and summed contrast along, their borders."""
    count = int(labels.max()) + 1
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    keys, contrasts = [], []
    for axis in (0, 1):
        length = labels.shape[axis]
        at = np.arange(length - 1)
        first, second = labels.take(at, axis), labels.take(at + 1, axis)
        # One pixel further out on either side: borders in photos are about three pixels wide.
        before, after = smooth.take(np.maximum(at - 1, 0), axis), smooth.take(np.minimum(at + 2, length - 1), axis)
        border = first != second
        difference = np.sqrt(np.square(before[border] - after[border]).sum(axis=-1))
        contrasts.append(np.rint(np.minimum(difference, MAX_CONTRAST) * CONTRAST_STEPS))
        first, second = first[border], second[border]
        keys.append(np.minimum(first, second) * count + np.maximum(first, second))
    key, which = np.unique(np.concatenate(keys), return_inverse=True)
    pair = np.stack([key // count, key % count], axis=1)
    border_px = np.bincount(which, minlength=len(key)).astype(np.float64)
    contrast = np.bincount(which, weights=np.concatenate(contrasts), minlength=len(key)).astype(np.float64)
    return pair, border_px, contrast


@dataclass(frozen=True)
class Grouping:
    """How alike two neighbours are: weights of the terms, each of which lies in [0, 1].

    Attributes:
        colour: intersection of colour histograms.
        border: one minus the mean contrast along the common border.
        size: one minus the share of the image that both cover: small regions merge first.
        fill: one minus the share of the image in the gaps of their common box.
    """

    colour: float = 0
    border: float = 0
    size: float = 0
    fill: float = 0


class MergeTree:
    """Merges the most alike neighbours until one region is left; nodes 0 ... n - 1 are the superpixels.

    Attributes:
        children: [n - 1, 2], int64: which two nodes made node n, n + 1, ...
    """

    def __init__(self, graph: RegionGraph, grouping: Grouping) -> None:
        self._grouping = grouping
        leaves = len(graph.area_px)
        extra = ((0, leaves - 1), (0, 0))
        self._image_px = graph.labels.size
        self._area_px = np.pad(graph.area_px, extra[0])
        self._box = np.pad(graph.box_xyxy_px, extra)
        self._colours = np.pad(graph.colours, extra)
        self._share = self._colours / (3 * np.maximum(self._area_px, 1))[:, None]
        self._neighbours: list[dict[int, tuple[float, float]]] = [{} for _ in range(leaves)]
        for (first, second), border_px, contrast in zip(
            graph.pair.tolist(), graph.border_px.tolist(), graph.contrast.tolist(), strict=True
        ):
            self._neighbours[first][second] = self._neighbours[second][first] = (border_px, contrast)
        self.children = self._merge_all(leaves)

    def _merge_all(self, leaves: int) -> NDArray[np.int64]:
        heap: list[tuple[float, int, int]] = []
        for node in range(leaves):
            heap += self._candidates(node, [other for other in self._neighbours[node] if other < node])
        heapq.heapify(heap)
        merged: set[int] = set()
        children: list[tuple[int, int]] = []
        while heap:
            _, first, second = heapq.heappop(heap)
            if first in merged or second in merged:
                continue
            merged |= {first, second}
            node = leaves + len(children)
            children.append((first, second))
            self._merge(first, second, node)
            for candidate in self._candidates(node, list(self._neighbours[node])):
                heapq.heappush(heap, candidate)
        return np.array(children, dtype=np.int64).reshape(-1, 2)

    def _merge(self, first: int, second: int, node: int) -> None:
        joined, other = self._neighbours[first], self._neighbours[second]
        del joined[second], other[first]
        for neighbour, (border_px, contrast) in other.items():
            known = joined.get(neighbour, (0.0, 0.0))
            joined[neighbour] = (known[0] + border_px, known[1] + contrast)
        for neighbour, value in joined.items():
            around = self._neighbours[neighbour]
            around.pop(first, None)
            around.pop(second, None)
            around[node] = value
        self._neighbours.append(joined)
        self._area_px[node] = self._area_px[first] + self._area_px[second]
        self._colours[node] = self._colours[first] + self._colours[second]
        self._share[node] = self._colours[node] / (3 * self._area_px[node])
        self._box[node, :2] = np.minimum(self._box[first, :2], self._box[second, :2])
        self._box[node, 2:] = np.maximum(self._box[first, 2:], self._box[second, 2:])

    def _candidates(self, node: int, others: list[int]) -> list[tuple[float, int, int]]:
        """Heap entries (minus similarity, other, node): equal similarities go by number."""
        if not others:
            return []
        rule, total = self._grouping, np.zeros(len(others))
        if rule.colour:
            total += rule.colour * np.minimum(self._share[node], self._share[others]).sum(axis=1)
        if rule.border:
            border = np.array([self._neighbours[node][other] for other in others])
            total += rule.border * (1 - border[:, 1] / border[:, 0] / (MAX_CONTRAST * CONTRAST_STEPS))
        area_px = self._area_px[node] + self._area_px[others]
        if rule.size:
            total += rule.size * (1 - area_px / self._image_px)
        if rule.fill:
            low = np.minimum(self._box[node, :2], self._box[others, :2])
            high = np.maximum(self._box[node, 2:], self._box[others, 2:])
            total += rule.fill * (1 - ((high - low).prod(axis=1) - area_px) / self._image_px)
        return [(-value, other, node) for value, other in zip(total.tolist(), others, strict=True)]

    def members(self) -> NDArray[np.bool_]:
        """[2n - 1, n]: which superpixels each node consists of."""
        leaves = len(self.children) + 1
        members = np.zeros((leaves + len(self.children), leaves), dtype=bool)
        members[np.arange(leaves), np.arange(leaves)] = True
        for node, (first, second) in enumerate(self.children.tolist(), start=leaves):
            members[node] = members[first] | members[second]
        return members
