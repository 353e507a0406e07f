"""The loss of transformers' models with one mask a query: their own, over the batch of all processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.generator.samples import MaskBatch
from train.loop import Processes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a batch of N pictures of side S asks for.

    Attributes:
        pixels: float32 [N, 3, S, S], as the model's image processor gives them; padding is 0.
        pixel_mask: int64 [N, S, S], 0 on padding.
        masks: N of float32 [n, S, S].
        classes: N of int64 [n].
        names: N of int64 [n], numbers in `MaskIndex.names`.
    """

    pixels: Tensor
    pixel_mask: Tensor
    masks: list[Tensor]
    classes: list[Tensor]
    names: list[Tensor]


class QueryInput:
    """From batches to what a model takes.

    Args:
        processor: the model's image processor.
        by_name: whether a mask's class is its name; else there is one class.
        device: where it goes.
    """

    def __init__(self, processor: Any, by_name: bool, device: str) -> None:  # noqa: ANN401 - transformers'
        self._by_name, self._device = by_name, device
        mean = processor.image_mean if processor.do_normalize else (0.0, 0.0, 0.0)
        std = processor.image_std if processor.do_normalize else (1.0, 1.0, 1.0)
        self._factor = processor.rescale_factor if processor.do_rescale else 1.0
        self._mean, self._std = (torch.tensor(tuple(each), device=device)[:, None, None] for each in (mean, std))

    def of(self, batch: MaskBatch) -> Wanted:
        """What the model takes, on its device."""
        device = self._device
        pixel_mask = torch.stack([sample.on_picture(sample.ignored.shape).long() for sample in batch.samples]).to(
            device
        )
        pixels = batch.pixels.to(device, non_blocking=True).float() * self._factor
        names = [sample.names.to(device) for sample in batch.samples]
        return Wanted(
            pixels=(pixels - self._mean) / self._std * pixel_mask[:, None],
            pixel_mask=pixel_mask,
            masks=[sample.masks.to(device).float() for sample in batch.samples],
            classes=names if self._by_name else [torch.zeros_like(each) for each in names],
            names=names,
        )


class SharedLoss(nn.Module):
    """Stands for a model's criterion in a step: its losses as means over the pictures of all processes, in float32.

    Masks' losses are divided by the number of masks, and that of the classes by the sum of the queries' weights (1 for
    one with a mask, `no_object_weight` for others); transformers counts those of one process.

    Args:
        criterion: the model's.
        queries: of the model, per picture.
        classes: of the step's masks.
        processes: that train together.

    Attributes:
        matched: per picture, numbers of queries and of the masks that they were matched to, int64 [m] each, by the
            model's last layer.
        last: losses of the last layer, over all processes, without their weights.
    """

    def __init__(self, criterion: Any, queries: int, classes: list[Tensor], processes: Processes) -> None:  # noqa: ANN401
        super().__init__()
        self.criterion, self._processes = criterion, processes
        self.matched: list[tuple[Tensor, Tensor]] = []
        self.last: dict[str, Tensor] = {}
        counts = [len(each) for each in classes]
        matched = sum(min(count, queries) for count in counts)
        weight = matched + criterion.eos_coef * (len(counts) * queries - matched)
        mine = torch.tensor([max(1.0, sum(counts)), weight], device=processes.device)
        exact = torch.tensor([float(sum(counts)), weight], device=processes.device)
        of_all = processes.sum(exact).clamp(min=1.0)
        self._mask_share, self._class_share = (processes.world_size * mine / of_all).unbind()

    def forward(self, *given: Any, **named: Any) -> dict[str, Tensor]:  # noqa: ANN401 - the models call it differently
        found: list[list[tuple[Tensor, Tensor]]] = []
        hook = self.criterion.matcher.register_forward_hook(lambda module, given, matched: found.append(matched))
        try:
            # The costs go to scipy, which knows no bfloat16; and the sums are over many pixels.
            with torch.autocast(self._processes.device.partition(":")[0], enabled=False):
                losses = self.criterion(*_floats(given), **_floats(named))
        finally:
            hook.remove()
        self.matched = found[0]
        shared = {}
        for name, value in losses.items():
            shared[name] = value * (self._class_share if "cross_entropy" in name else self._mask_share)
        names = {"loss_cross_entropy": "class", "loss_mask": "mask", "loss_dice": "dice"}
        for name, short in names.items():
            self.last[short] = self._processes.sum(shared[name]) / self._processes.world_size
        return shared


def _floats(value: Any) -> Any:  # noqa: ANN401
    """The same with all of its floats in float32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: _floats(each) for name, each in value.items()}
    return type(value)(_floats(each) for each in value) if isinstance(value, list | tuple) else value


@contextmanager
def shared_loss(model: Any, classes: list[Tensor], processes: Processes) -> Iterator[SharedLoss]:  # noqa: ANN401
    """Puts a `SharedLoss` in the place of a model's criterion, and lets every layer of its decoder have a loss.

    Outside of it a MaskFormer has no auxiliary loss: with one, transformers' can only be run in training.
    """
    config, criterion = model.config, model.criterion
    is_maskformer = config.model_type == "maskformer"
    queries = config.decoder_config.num_queries if is_maskformer else config.num_queries
    model.criterion = SharedLoss(criterion, queries, classes, processes)
    config.use_auxiliary_loss = True
    try:
        yield model.criterion
    finally:
        model.criterion = criterion
        config.use_auxiliary_loss = not is_maskformer
