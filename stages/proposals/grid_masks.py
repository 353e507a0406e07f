"""A grid generator asked photo by photo: which of its cells' masks are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stages.common import Precision, SampleError, autocast, one_of
from stages.proposals.grid import (
    LARGEST_STRIDE,
    STUFF_STRIDE,
    THING_STRIDE,
    GridGenerator,
    GridOutput,
    load_grid,
    pooled_queries,
)
from stages.proposals.local_model import LocalModel
from stages.proposals.models import GridProposals
from stages.proposals.query_masks import QueryMasks, Window

_CANDIDATES = 80
"""At least so many cells of a grid have their masks looked at, the best ones."""


class GridModel:
    """A grid generator that is asked photo by photo.

    Args:
        network: in evaluation mode; its device is where it runs.
        config: which of the masks are kept.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.

    Attributes:
        class_names: none: its regions are regions, things and stuff alike.
        words: its head for words, if it has one.
    """

    class_names: tuple[str, ...] = ()

    def __init__(self, network: GridGenerator, config: GridProposals, precision: Precision = "fp32") -> None:
        self._network, self._config, self._precision = network, config, precision
        self.words = network.words
        self._device = str(network.mean.device)

    def queries(self, image: NDArray[np.uint8]) -> QueryMasks:
        """Runs the network on one photo, [H, W, 3] RGB uint8.

        Returns:
            The masks that are kept, best first; ``class_probs`` [Q, 2]: an object, and none.
        """
        return one_of(self.queries_of([image]))

    @torch.inference_mode()
    def queries_of(self, images: Sequence[NDArray[np.uint8]]) -> list[QueryMasks | SampleError]:
        """`queries` of each photo, in one forward pass."""
        inputs = [self._input(image) for image in images]
        with autocast(self._device, self._precision):
            output = self._network(torch.cat([pixels for pixels, _ in inputs]))
        return [self._kept(output.of(number), window) for number, (_, window) in enumerate(inputs)]

    def _kept(self, output: GridOutput, window: Window) -> QueryMasks:
        """The masks that are kept of one photo's output."""
        scores, kernels = _candidates(output, window.valid_hw_px, self._config)
        logits = kernels @ output.mask_features[0].flatten(1)  # [n, h * w]
        inside = logits > 0
        area = inside.sum(1)
        # How sure a mask is of its pixels tells how good it is (SOLO, arXiv 1912.04488).
        scores = scores * (logits.sigmoid() * inside).sum(1) / area.clamp(min=1)
        kept = _without_duplicates(scores, inside.float(), self._config.nms_iou, self._config.max_proposals)
        masks = logits[kept].view(-1, *output.mask_features.shape[2:])
        words = None
        if self.words is not None:
            words = self.words.embeddings(pooled_queries((output.pyramid[0][0], output.pyramid[1][0]), masks))
        return QueryMasks(masks, torch.stack([scores[kept], 1 - scores[kept]], dim=1), (window,), words)

    def _input(self, image: NDArray[np.uint8]) -> tuple[Tensor, Window]:
        """The photo resized and padded at the right and bottom, [1, 3, H, W] float32, and where it lies."""
        height, width = image.shape[:2]
        scale = self._network.config.side_px / max(height, width)
        new_h, new_w = max(1, round(height * scale)), max(1, round(width * scale))
        if (new_h, new_w) != (height, width):
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            image = cv2.resize(image, (new_w, new_h), interpolation=how).astype(np.uint8, copy=False)
        side = -(-self._network.config.side_px // LARGEST_STRIDE) * LARGEST_STRIDE
        input_hw = (side, side)  # a square with black padding, as in training
        pixels = self._network.mean.new_zeros(3, side, side)
        pixels[:, :new_h, :new_w] = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).to(pixels)
        return pixels[None], Window(input_hw, (new_h, new_w), (new_h, new_w))


def _candidates(output: GridOutput, valid_hw_px: tuple[int, int], config: GridProposals) -> tuple[Tensor, Tensor]:
    """Scores [n] and kernels [n, K] of the cells to look at, of both grids: on the photo; of things, peaks alone."""
    scores, kernels = [], []
    for cells, stride in ((output.things, THING_STRIDE), (output.stuff, STUFF_STRIDE)):
        score = cells.scores[0].sigmoid()
        if cells is output.things:
            highest = functional.max_pool2d(score[None], 3, stride=1, padding=1)[0]
            score = torch.where(score == highest, score, 0.0)
        rows, columns = (math.ceil(side / stride) for side in valid_hw_px)
        score[rows:], score[:, columns:] = 0.0, 0.0
        best = score.flatten().topk(min(max(_CANDIDATES, config.max_proposals), score.numel()))
        chosen = best.indices[best.values > config.min_score]
        scores.append(score.flatten()[chosen])
        kernels.append(cells.kernels[0].flatten(1).T[chosen])
    return torch.cat(scores), torch.cat(kernels)


def _without_duplicates(scores: Tensor, masks: Tensor, max_iou: float, limit: int) -> Tensor:
    """Numbers of the masks [n, pixels] of 0 and 1 that are kept, best first: none is empty, none like a better one."""
    order = scores.argsort(descending=True, stable=True)
    area = masks.sum(1)
    both = masks @ masks.T
    alike = (both > max_iou * (area[:, None] + area - both)).cpu().numpy()
    kept: list[int] = []
    for number in order.tolist():
        if area[number] > 0 and not alike[number, kept].any():
            kept.append(number)
        if len(kept) == limit:
            break
    return torch.tensor(kept, dtype=torch.long, device=scores.device)


def load_grid_model(config: GridProposals, device: str, precision: Precision = "fp32") -> GridModel:
    """Loads the model that is configured.

    Raises:
        UserError: the model cannot be found or loaded, or is of another kind.
    """
    local = LocalModel.find(config)
    return GridModel(load_grid(local.folder, local.name, device), config, precision)
