"""The weights of a run: those that train, their moving average, and those that are kept in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from train.adapt.config import Phase
from train.clip.model import MaskPromptCLIP

_TOWER = "clip.visual."


def optimizer_of(model: MaskPromptCLIP, phase: Phase) -> torch.optim.AdamW:
    """AdamW as CLIP is trained with; the tower's vectors and scalars have no weight decay. Freezes all else.

    Each group has its peak rate under ``peak_lr``.
    """
    parts = model.train_only(phase.train)
    groups = []
    if "prompts" in parts:
        groups.append({"params": parts["prompts"], "lr": phase.prompts_lr, "weight_decay": phase.prompts_weight_decay})
    if "tower" in parts:
        matrices = [parameter for parameter in parts["tower"] if parameter.ndim >= 2]
        vectors = [parameter for parameter in parts["tower"] if parameter.ndim < 2]
        groups.append({"params": matrices, "lr": phase.tower_lr, "weight_decay": phase.tower_weight_decay})
        groups.append({"params": vectors, "lr": phase.tower_lr, "weight_decay": 0.0})
    groups = [{**group, "peak_lr": group["lr"]} for group in groups]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)


def adapted_weights(model: MaskPromptCLIP) -> dict[str, Tensor]:
    """What adaptation may change, by name: prompts, and the image tower with its buffers."""
    state = model.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if name.startswith(("mask_embedding", _TOWER))}


def trained_weights(model: MaskPromptCLIP) -> dict[str, Tensor]:
    """What this phase trains, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


class WeightAverage:
    """From the weights that train to those that are kept.

    Args:
        model: in a phase of training.
        original: of the tower before all training, by name; not used if `wise_ft_alpha` is 1.
        ema_decay: of the moving average; None for none.
        wise_ft_alpha: share of the tuned tower beside the original one.

    Attributes:
        average: the moving average by name; empty without one.
    """

    def __init__(
        self, model: MaskPromptCLIP, original: dict[str, Tensor], ema_decay: float | None, wise_ft_alpha: float
    ) -> None:
        self._model, self._original = model, original
        self._wise_ft_alpha = wise_ft_alpha
        self.average: dict[str, Tensor] = {}
        self._take_in: Callable[[list[Tensor], list[Tensor], None], None] | None = None
        if ema_decay is not None:
            self._take_in = get_ema_multi_avg_fn(ema_decay)  # type: ignore[no-untyped-call]
            self.average = {name: value.detach().clone() for name, value in trained_weights(model).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes a step's weights into the average."""
        if self._take_in is not None:
            trained = trained_weights(self._model)
            self._take_in([self.average[name] for name in trained], list(trained.values()), None)

    @torch.no_grad()
    def apply(self) -> None:
        """Makes the model's weights those that are kept."""
        for name, value in trained_weights(self._model).items():
            kept = self.average.get(name, value)
            if self._wise_ft_alpha < 1 and name.startswith(_TOWER):
                kept = self._original[name].lerp(kept, self._wise_ft_alpha)
            value.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the weights that are kept, for a while."""
        training = {name: value.detach().clone() for name, value in trained_weights(self._model).items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in trained_weights(self._model).items():
                    value.copy_(training[name])
