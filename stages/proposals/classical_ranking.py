"""Which regions of the merge trees are worth proposing, and in what order: no learnt weights.

The cues are those of the object-proposal literature (Alexe et al., PAMI 2012; Arbelaez et al., CVPR 2014): contrast
with the surroundings against contrast inside, compactness, size, contact with the image's border. Their weights are a
handful of round numbers set by hand; docs/proposals-classical.md tells on which photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.proposals.classical_grouping import CONTRAST_STEPS, MAX_CONTRAST, MergeTree, RegionGraph

CUTS = (256, 128, 64, 32, 16, 8, 4)  # numbers of regions at which neighbours of a tree are paired
CHUNK = 1000  # candidates whose borders are looked at at once, which bounds memory
LONG_LIST = 1500  # candidates among which overlaps are computed
LARGE_FRACTION = 0.18  # of the image; beyond it a larger region is not a better one
DISTINCT_LAB = 8  # difference in CIELAB units from which neighbours look like different things


def candidates(graph: RegionGraph, trees: Sequence[MergeTree], min_area_fraction: float) -> NDArray[np.bool_]:
    """Collects regions: the nodes of all trees, and pairs of neighbours in cuts through each tree.

    A pair joins what no merge joined, e.g. a shirt and trousers that each resemble something else more; single merges
    lose such objects (Arbelaez et al., CVPR 2014, join up to four regions).

    Returns:
        [k, n], bool: which superpixels each region consists of; no two rows are equal, in a deterministic order.
    """
    min_area_px = min_area_fraction * graph.labels.size
    distinct: dict[bytes, NDArray[np.bool_]] = {}
    for tree in trees:
        members = tree.members()
        pairs = _neighbours_in_cuts(graph, tree, members)
        for regions in (members, members[pairs[:, 0]] | members[pairs[:, 1]]):
            large = regions[regions @ graph.area_px >= min_area_px]
            for key, region in zip(np.packbits(large, axis=1), large, strict=True):
                distinct.setdefault(key.tobytes(), region)
    return np.array(list(distinct.values()), dtype=bool).reshape(-1, len(graph.area_px))


def _neighbours_in_cuts(graph: RegionGraph, tree: MergeTree, members: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[p, 2]: nodes that touch each other while the tree has as many regions as one of CUTS says, each pair once."""
    leaves = len(graph.area_px)
    owner = np.arange(leaves)
    found = [np.empty((0, 2), dtype=np.int64)]
    for node in range(leaves, leaves + len(tree.children)):
        owner[members[node]] = node
        if 2 * leaves - 1 - node in CUTS:
            touching = np.sort(owner[graph.pair], axis=1)
            found.append(touching[touching[:, 0] != touching[:, 1]])
    return np.unique(np.concatenate(found), axis=0)


def objectness(graph: RegionGraph, regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much each region looks like a whole thing.

    Args:
        graph: n superpixels.
        regions: [k, n], bool.

    Returns:
        [k], float64, in (0, 1): comparable within and across photos, but not a probability.
    """
    parts = [regions[start : start + CHUNK] for start in range(0, len(regions), CHUNK)]
    return np.concatenate([_logit(graph, part) for part in parts])


def _logit(graph: RegionGraph, regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    area_px, box_px, spread_lab = _insides(graph, regions)
    frame_px, frame_sides = _frames(graph, regions)
    border_px, step_lab, distinct, inner_lab = _borders(graph, regions)
    compactness = np.sqrt(4 * np.pi * area_px) / (border_px + frame_px)  # 0.89 for a square; jagged or thin: near 0
    area_fraction = area_px / graph.labels.size
    total: NDArray[np.float64] = (
        2.0 * compactness
        + 1.0 * area_px / box_px
        + 0.15 * np.log2(np.minimum(area_fraction, LARGE_FRACTION))
        + 0.5 * step_lab / 20
        + 0.5 * distinct
        - 0.25 * inner_lab / 10
        + 0.25 * spread_lab / 20  # what is quite uniform is sky, wall or floor rather than a thing
        - 0.2 * frame_sides
    )
    return 1 / (1 + np.exp(1.5 - total))


def _insides(
    graph: RegionGraph, regions: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per region: area, area of its box (pixels), standard deviation of its superpixels' colours (CIELAB units)."""
    # Whole numbers add up to the same sum in any order, whatever the number of threads of the matrix product.
    lab = np.rint(graph.mean_lab * 16)
    weight = graph.area_px[:, None]
    sums = regions @ np.hstack([weight, weight * lab, weight * lab**2])  # [k, 7]
    area_px = sums[:, 0]
    mean, square = sums[:, 1:4] / area_px[:, None], sums[:, 4:] / area_px[:, None]
    spread_lab = np.sqrt(np.maximum(square - mean**2, 0).sum(axis=1)) / 16
    low = [np.where(regions, graph.box_xyxy_px[:, side], np.inf).min(axis=1) for side in (0, 1)]
    high = [np.where(regions, graph.box_xyxy_px[:, side], 0).max(axis=1) for side in (2, 3)]
    return area_px, (high[0] - low[0]) * (high[1] - low[1]), spread_lab


def _frames(graph: RegionGraph, regions: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per region: length of its contact with the image's border in pixels, and how many of the 4 sides it touches."""
    labels, count = graph.labels, len(graph.area_px)
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    contact = regions @ np.stack([np.bincount(side, minlength=count) for side in sides], axis=1).astype(np.float64)
    return contact.sum(axis=1), (contact > 0).sum(axis=1).astype(np.float64)


def _borders(
    graph: RegionGraph, regions: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per region: length of its border in pixels; along it, the mean difference of the superpixels' colours (CIELAB
    units) and the share where they are distinct; the mean contrast of the borders inside it (CIELAB units).
    """
    first, second = graph.pair.T
    step = np.linalg.norm(graph.mean_lab[first] - graph.mean_lab[second], axis=1)
    step = np.rint(np.minimum(step, MAX_CONTRAST) * CONTRAST_STEPS)  # whole numbers, as above
    columns = np.stack(
        [
            graph.border_px,
            graph.border_px * step,
            graph.border_px * (step > DISTINCT_LAB * CONTRAST_STEPS),
            graph.contrast,
        ],
        axis=1,
    )
    has_first, has_second = regions[:, first], regions[:, second]  # [k, m]
    outer = (has_first ^ has_second) @ columns
    inner = (has_first & has_second) @ columns
    outer_px, inner_px = np.maximum(outer[:, 0], 1), np.maximum(inner[:, 0], 1)
    return (
        outer[:, 0],
        outer[:, 1] / outer_px / CONTRAST_STEPS,
        outer[:, 2] / outer_px,
        inner[:, 3] / inner_px / CONTRAST_STEPS,
    )


def select(
    graph: RegionGraph, regions: NDArray[np.bool_], score: NDArray[np.float64], max_iou: float, limit: int
) -> list[int]:
    """Takes the best regions, each of which overlaps every better one taken by an IoU of `max_iou` at most.

    Many regions differ in a superpixel or two; without this, a hundred proposals would show a dozen things.

    Returns:
        Indices of at most `limit` regions, best score first; ties: the region that came first.
    """
    best = np.argsort(-score, kind="stable")[:LONG_LIST]
    members = regions[best].astype(np.float32)
    area_px = graph.area_px.astype(np.float32)
    intersection_px = (members * area_px) @ members.T  # whole numbers below 2**24: exact in float32
    area_px = np.diagonal(intersection_px)
    iou = intersection_px / (area_px[:, None] + area_px - intersection_px)
    free = np.ones(len(best), dtype=bool)
    taken: list[int] = []
    for rank, index in enumerate(best.tolist()):
        if free[rank]:
            taken.append(index)
            free &= iou[rank] <= max_iou
        if len(taken) == limit:
            break
    return taken
