"""From masks with probabilities to one label per pixel; memory does not grow with classes times pixels.

The score of a class at a pixel is the sum over the masks of p(class) * mask, as published (MaskFormer's semantic
inference, arXiv 2107.06278, section 3.4); the class with the highest score has the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common import Rle
from train.segmenter.masks import Masks

NOTHING = -1
_BLOCK_VALUES = 1 << 24
"""Floats of the largest arrays: 64 MiB."""
_TILE_PX = 64
_ROUNDING = 1e-4


@torch.inference_mode()
def assemble(masks: Masks, scores: Tensor, height: int, width: int, threshold: float = 0.0) -> NDArray[np.int32]:
    """The label map.

    Args:
        masks: N masks; binary ones have the map's size.
        scores: float [N, C], p(class) of each mask.
        height: of the map, in pixels.
        width: of the map, in pixels.
        threshold: pixels whose best score is not above it are `NOTHING`; with binary masks and 0, those that no mask
            covers.

    Returns:
        int32 [height, width]: number of the class, or -1. Of equal scores the class that comes first wins.

    Raises:
        ValueError: shapes disagree.
    """
    if len(scores) != len(masks):
        raise ValueError(f"scores: got {len(scores)} rows for {len(masks)} masks")
    if masks.queries is None and (masks.height, masks.width) != (height, width):
        raise ValueError(f"binary masks of {masks.height} x {masks.width} px cannot give {height} x {width} px")
    if len(masks) == 0:
        return np.full((height, width), NOTHING, dtype=np.int32)
    if masks.queries is None:
        cells, members = cells_of(masks.rles, height, width)
        return _labels_of_cells(members, scores.cpu(), threshold)[cells]
    return _soft(masks, scores, height, width, threshold)


def cells_of(rles: tuple[Rle, ...], height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Parts the photo into cells: pixels that the same masks cover.

    Returns:
        Number of each pixel's cell, int32 [H, W], and which masks cover a cell, bool [cells, N]; cell 0 is that of no
        mask.
    """
    cells = np.zeros((height, width), dtype=np.int32)
    parents = [np.zeros(1, dtype=np.int64)]
    count = 1
    for rle in rles:
        runs = rle.runs()
        left, top, right, bottom = box = runs.box_xyxy_px
        part = cells[top:bottom, left:right]
        inside = runs.inside(box)
        found = part[inside]
        met = np.flatnonzero(np.bincount(found, minlength=count))
        renumbered = np.zeros(count, dtype=np.int32)
        renumbered[met] = np.arange(count, count + len(met))
        part[inside] = renumbered[found]
        parents.append(met)
        count += len(met)
    members = np.zeros((count, len(rles)), dtype=bool)
    first = 1
    for number, met in enumerate(parents[1:]):
        last = first + len(met)
        members[first:last] = members[met]
        members[first:last, number] = True
        first = last
    return cells, members


def _labels_of_cells(members: NDArray[np.bool_], scores: Tensor, threshold: float) -> NDArray[np.int32]:
    """Labels int32 [cells] of cells with members bool [cells, N], for scores [N, C]."""
    rows = max(1, _BLOCK_VALUES // max(scores.shape))
    labels = []
    for part in torch.split(torch.from_numpy(members), rows):
        best, label = _highest(part.float() @ scores.float())
        labels.append(torch.where(best > threshold, label, NOTHING).to(torch.int32).numpy())
    return np.concatenate(labels)


def _highest(sums: Tensor) -> tuple[Tensor, Tensor]:
    """The highest value of each row [n, C], and its column; on the CPU by numpy, in a fifth of torch's time."""
    if sums.device.type != "cpu":
        best, label = sums.max(dim=-1)
        return best, label
    label = torch.from_numpy(sums.numpy().argmax(axis=-1))
    return sums.gather(1, label[:, None])[:, 0], label


def _soft(masks: Masks, scores: Tensor, height: int, width: int, threshold: float) -> NDArray[np.int32]:
    assert masks.queries is not None
    weights = scores.to(masks.queries.mask_logits.device).float()
    labels = np.empty((height, width), dtype=np.int32)
    for top, soft in _soft_rows(masks, height, width):
        bottom = top + soft.shape[1]
        tiles = torch.split(soft, _TILE_PX, dim=2)
        keep = _may_win(tiles, weights)  # [tiles, C]
        for number, tile in enumerate(tiles):
            classes = keep[number].nonzero().flatten()
            pixels = tile.flatten(1).T.contiguous()  # a product with rows of pixels is twice as quick
            best, label = _highest(pixels @ weights[:, classes])  # [rows * columns, some of C]
            found = torch.where(best > threshold, classes[label], NOTHING).view(tile.shape[1:])
            left = number * _TILE_PX
            labels[top:bottom, left : left + tile.shape[2]] = found.to(torch.int32).cpu().numpy()
    return labels


@torch.inference_mode()
def score_maps(masks: Masks, scores: Tensor, height: int, width: int) -> Tensor:
    """The scores themselves, float32 [C, height, width], of soft masks; for scores [N, C]. See `assemble`."""
    maps = torch.zeros(scores.shape[1], height, width)
    if not len(masks):
        return maps
    for top, soft in _soft_rows(masks, height, width):
        maps[:, top : top + soft.shape[1]] = torch.einsum("nc,nhw->chw", scores.to(soft), soft).cpu()
    return maps


def _soft_rows(masks: Masks, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """Number of the first row, and some rows of all soft masks, [N, rows, W] in [0, 1]: from top to bottom."""
    assert masks.queries is not None
    rows = max(1, min(_TILE_PX, _BLOCK_VALUES // (width * len(masks))))
    for top in range(0, height, rows):
        yield top, masks.queries.soft_rows_on_photo(masks.chosen, top, min(top + rows, height), height, width)


def _may_win(tiles: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """Which classes can have the highest score anywhere in a tile, bool [tiles, C]: most cannot.

    A class has at most the sum of p * (the mask's maximum in the tile), and the winner at least the greatest sum of
    p * (the mask's minimum).
    """
    highest = torch.stack([tile.amax((1, 2)) for tile in tiles])  # [tiles, N]
    lowest = torch.stack([tile.amin((1, 2)) for tile in tiles])
    return highest @ weights >= (lowest @ weights).amax(dim=1, keepdim=True) * (1.0 - _ROUNDING)
