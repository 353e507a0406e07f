"""What a grid generator's cells are asked for: which of them speak for a region, and how well their masks fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from stages.proposals.grid import MASK_STRIDE, STUFF_STRIDE, THING_STRIDE, Cells, GridOutput, pooled_queries
from train.generator.samples import MaskBatch, MaskSample
from train.generator.words import WordObjective
from train.loop import Processes

_CENTER = 0.15
"""Cells of a thing are within this share of its box's sides from the middle of its pixels (SOLOv2, section 3.1)."""
_COVERED = 0.5
"""Cells of stuff are those that it covers to this share."""
_BCE_WEIGHT = 2.0
_CELLS_OF_NONE = 4
_SMOOTH = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """This process's share of the loss, as sums over its pictures, and what they are to be divided by.

    Attributes:
        dice, bce: over the masks that were shown.
        score: over all cells.
        iou: of the shown masks with their regions, without gradient.
        masks: how many were shown.
    """

    dice: Tensor
    bce: Tensor
    score: Tensor
    iou: Tensor
    masks: Tensor

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.dice + other.dice,
            self.bce + other.bce,
            self.score + other.score,
            self.iou + other.iou,
            self.masks + other.masks,
        )


class GridObjective:
    """Dice and cross-entropy of masks, and a focal loss of scores whose target is the mask's IoU.

    The scores' loss is that of GFL (arXiv 2006.04388, equation 4): a cell's score then tells how good its mask is, and
    the best of several cells is kept. Padding and crowds are neither objects nor background.

    Args:
        masks_per_region: so many of a region's cells, drawn at random, show their mask; the others are left out.
        processes: that train together: the loss is that of the batch of all of them.
        words: what the head for words learns, if there is one: of the cells that show their mask, and of a few others.
    """

    def __init__(self, masks_per_region: int, processes: Processes, words: WordObjective | None = None) -> None:
        self._most, self._processes, self._words = masks_per_region, processes, words

    def loss(self, network: nn.Module, batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch.

        Args:
            network: a GridGenerator, or the same in DistributedDataParallel, which averages over processes.
            batch: this process's pictures.

        Returns:
            This process's share, to be averaged over all processes, with gradient; and, without, the parts of the whole
            loss, the same in all processes: ``dice``, ``bce``, ``score``, and ``iou`` of the masks; and ``words``.
        """
        if self._words is not None and self._words.config.only:
            network.eval()  # no new statistics of what stays as it is
        device = self._processes.device
        output: GridOutput = network(batch.pixels.to(device, non_blocking=True).float())
        with torch.autocast(device.partition(":")[0], enabled=False):  # targets do not depend on the precision
            return self._loss(network, output, batch)

    def _loss(self, network: nn.Module, output: GridOutput, batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        # Taken apart at once: the gradient of each picture's part by itself would be as large as the batch's.
        pictures = zip(
            output.mask_features.flatten(2).unbind(), *(_pictures(cells) for cells in output.grids), strict=True
        )
        parts, asked = None, []
        for (features, *grids), sample in zip(pictures, batch.samples, strict=True):
            mine, cells = self._picture(features, grids, sample)
            parts = mine if parts is None else parts + mine
            asked.append(cells)
        assert parts is not None
        count = self._processes.sum(parts.masks).clamp(min=1)
        total = (parts.dice + _BCE_WEIGHT * parts.bce + parts.score) / count
        names = {"dice": parts.dice, "bce": parts.bce, "score": parts.score, "iou": parts.iou}
        told = {name: self._processes.sum(value) / count for name, value in names.items()}
        loss = total * self._processes.world_size
        if self._words is None:
            return loss, told
        of_words = self._loss_of_words(network, output, batch.samples, asked)
        told["words"] = self._processes.sum(of_words) / self._processes.world_size
        weighed = self._words.config.weight * of_words
        return weighed if self._words.config.only else loss + weighed, told

    def _loss_of_words(
        self, network: nn.Module, output: GridOutput, samples: list[MaskSample], asked: list[list[Tensor]]
    ) -> Tensor:
        """Of the cells that are asked, see `_picture`; what their masks cover is taken as it is, without gradient."""
        assert self._words is not None
        head: Any = network.module.words if isinstance(network, DistributedDataParallel) else network.words
        queries, names = [], []
        for number, (sample, cells_of) in enumerate(zip(samples, asked, strict=True)):
            features = output.mask_features[number].detach()
            for cells, (region, row, column) in zip(output.grids, (each.unbind(1) for each in cells_of), strict=True):
                masks = torch.einsum("kn,khw->nhw", cells.kernels[number, :, row, column].detach(), features)
                queries.append(pooled_queries((output.pyramid[0][number], output.pyramid[1][number]), masks))
                known = torch.cat([sample.names, torch.tensor([-1])])  # the last is that of no region, -1
                names.append(known[region].to(features.device))
        return self._words.loss(head(torch.cat(queries)), head.no_object, torch.cat(names))

    def _picture(self, features: Tensor, grids: list[Cells], sample: MaskSample) -> tuple[Parts, list[Tensor]]:
        """Sums over a picture; and the cells that are asked for words, int64 [k, 3] of each grid: region, row, column.

        The region is -1 for cells of none.
        """
        masks = sample.masks.to(features.device)
        draws = torch.Generator().manual_seed(sample.seed)
        owners = (_thing_cells(sample), _stuff_cells(sample))
        ignored = (_share(sample.ignored[None], THING_STRIDE), _share(sample.ignored[None], STUFF_STRIDE))
        fine = _share(masks, MASK_STRIDE).flatten(1)
        parts, asked = None, []
        for cells, owner, crowd in zip(grids, owners, ignored, strict=True):
            shown, counts = _draw_cells(owner, self._most, draws)
            counts &= (crowd[0] < _COVERED) & sample.on_picture(owner.shape)
            mine = _grid_parts(cells, shown.to(features.device), counts.to(features.device), features, fine)
            parts = mine if parts is None else parts + mine
            asked.append(shown if self._words is None else torch.cat([shown, _of_none(owner, counts, draws)]))
        assert parts is not None
        return parts, asked


def _of_none(owner: Tensor, counts: Tensor, draws: torch.Generator) -> Tensor:
    """A few cells that speak for nothing, int64 [k, 3]: -1, row, column."""
    places = ((owner < 0) & counts).nonzero()
    chosen = places[torch.randperm(len(places), generator=draws)[:_CELLS_OF_NONE]]
    return torch.cat([torch.full_like(chosen[:, :1], -1), chosen], dim=1)


def _pictures(cells: Cells) -> list[Cells]:
    """Cells of each picture by itself: scores [h, w] and kernels [K, h, w]."""
    return [Cells(*one) for one in zip(cells.scores.unbind(), cells.kernels.unbind(), strict=True)]


def _grid_parts(cells: Cells, shown: Tensor, counts: Tensor, features: Tensor, fine: Tensor) -> Parts:
    """Sums over one grid of one picture.

    Args:
        cells: of the picture: scores [h, w], kernels [K, h, w].
        shown: int64 [k, 3]: region, row, column of the cells that show their mask.
        counts: bool [h, w]: cells whose score counts.
        features: float32 [K, pixels] of the picture.
        fine: float32 [n, pixels] in [0, 1]: how much of each pixel of the features its regions cover.
    """
    region, row, column = shown.unbind(1)
    logits = cells.kernels[:, row, column].T @ features
    wanted = fine[region]
    probs = logits.sigmoid()
    both = (probs * wanted).sum(1)
    dice = 1 - (2 * both + _SMOOTH) / ((probs**2).sum(1) + (wanted**2).sum(1) + _SMOOTH)
    bce = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    with torch.no_grad():
        inside, covered = logits > 0, wanted > 0.5
        iou = (inside & covered).sum(1) / (inside | covered).sum(1).clamp(min=1)
    score = cells.scores
    target = torch.zeros_like(score)
    target[row, column] = iou.to(target)
    focal = (score.sigmoid() - target).abs() ** 2
    cross = functional.binary_cross_entropy_with_logits(score, target, reduction="none")
    count = torch.tensor(float(len(shown))).to(score)
    return Parts(dice.sum(), bce.sum(), (focal * cross * counts).sum(), iou.sum(), count)


def _draw_cells(owner: Tensor, most: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which cells show their mask, int64 [k, 3] (region, row, column), and which count for scores, bool [h, w].

    Cells of a region that do not show their mask have no target, and do not count.
    """
    rows, columns = (owner >= 0).nonzero(as_tuple=True)
    order = torch.randperm(len(rows), generator=draws)
    rows, columns = rows[order], columns[order]
    region = owner[rows, columns]
    place = torch.zeros_like(region)  # of a cell among those of its region, in the order drawn
    for number in set(region.tolist()):
        mine = region == number
        place[mine] = torch.arange(int(mine.sum()))
    taken = place < most
    counts = owner < 0
    counts[rows[taken], columns[taken]] = True
    return torch.stack([region[taken], rows[taken], columns[taken]], dim=1), counts


def _thing_cells(sample: MaskSample) -> Tensor:
    """Number of the thing that each cell of the fine grid speaks for, int64 [h, w]; -1 for none.

    Of two things the smaller one has the cell.
    """
    side = sample.masks.shape[-1]
    owner = torch.full((side // THING_STRIDE, side // THING_STRIDE), -1)
    places = torch.arange(side).float() + 0.5
    centers = (torch.arange(len(owner)).float() + 0.5) * THING_STRIDE
    things = sample.is_thing.nonzero().flatten()
    area = sample.masks.sum((1, 2)).float()
    for number in sorted(things.tolist(), key=lambda each: -float(area[each])):
        mask = sample.masks[number]
        near = []
        for count in (mask.sum(1).float(), mask.sum(0).float()):  # rows, columns
            filled = count.nonzero().flatten()
            middle = float((count @ places) / area[number])
            reach = _CENTER * float(filled[-1] - filled[0] + 1)
            within = (centers - middle).abs() <= reach
            within[min(int(middle / THING_STRIDE), len(owner) - 1)] = True
            near.append(within)
        owner[near[0][:, None] & near[1][None]] = number
    return owner


def _stuff_cells(sample: MaskSample) -> Tensor:
    """Number of the stuff that covers most of each cell of the coarse grid, int64 [h, w]; -1 for none.

    Stuff that covers most of no cell has the one that it covers best.
    """
    stuff = (~sample.is_thing).nonzero().flatten()
    side = sample.masks.shape[-1] // STUFF_STRIDE
    if not len(stuff):
        return torch.full((side, side), -1)
    share = _share(sample.masks[stuff], STUFF_STRIDE)
    best, which = share.max(dim=0)
    owner = torch.where(best >= _COVERED, stuff[which], -1)
    for number, mine in zip(stuff.tolist(), share, strict=True):
        if not (owner == number).any():
            owner.view(-1)[mine.argmax()] = number
    return owner


def _share(masks: Tensor, stride: int) -> Tensor:
    """How much of each cell of a grid masks [n, S, S] cover, float32 [n, S / stride, S / stride]."""
    return functional.avg_pool2d(masks.float()[:, None], stride)[:, 0]
