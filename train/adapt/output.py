"""What an adaptation trains and leaves: optimisers, the moving average, folders of weights, scores, lines of a log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stages.common import Progress, UserError
from train.adapt.config import AdaptManifest, Phase, Validation
from train.clip.checkpoint.folder import save_adapted
from train.clip.model import MaskPromptCLIP
from train.clip.source import AnyClip
from train.evaluate.classify import GroundTruth, classify
from train.loop import Report, RunLog


def check_validation(validation: Validation | None) -> None:
    """Opens the regions that the run will be scored on, so that a mistake is told now and not after hours.

    Raises:
        UserError: a file of theirs is missing or wrong.
    """
    if validation is not None:
        GroundTruth(validation.regions)


class Output:
    """The folder of a run, written by its first process.

    Args:
        out: the folder.
        manifest: of the run.
        clip: what it began with.
        provenance: what is known before the first step.
        step: that the run goes on from.
        device: for scores.
        report: called with each line of the log.

    Attributes:
        best: the best score so far and its step; empty before the first.
    """

    def __init__(
        self,
        out: Path,
        manifest: AdaptManifest,
        clip: AnyClip,
        provenance: dict[str, Any],
        step: int,
        device: str,
        report: Report,
    ) -> None:
        self._out, self._device = out, device
        self._clip, self._base, self._provenance = clip, clip.base, provenance
        self.best: dict[str, Any] = {}
        self._log = RunLog(out, step, manifest.tensorboard, report)

    def line(self, line: dict[str, Any]) -> None:
        """Logs a line."""
        self._log.line(line)

    def keep(self, model: MaskPromptCLIP, step: int) -> None:
        """Writes DIR/last."""
        self._save("last", model, {**self._provenance, "step": step})

    def score(self, model: MaskPromptCLIP, step: int, validation: Validation, progress: Progress) -> None:
        """Writes DIR/last, scores it, and writes DIR/best if it is."""
        self.keep(model, step)
        asked = validation.manifest(str(self._out / "last"), self._device)
        scores = classify(asked, lambda done: progress("scoring validation regions", done))
        value = scores["harmonic"]["top1"] if validation.metric == "harmonic" else scores[validation.metric]
        if value is None:
            raise UserError("validation: the metric has no value; are there regions of seen and of unseen names?")
        self.line({"step": step, "validation": round(value, 4)})
        if not self.best or value > self.best["score"]:
            self.best = {"score": value, "step": step}
            provenance = {**self._provenance, "step": step, "validation": json.loads(json.dumps(scores))}
            self._save("best", model, provenance)

    def _save(self, name: str, model: MaskPromptCLIP, provenance: dict[str, Any]) -> None:
        save_adapted(self._out / name, model, self._base, provenance, files_of=self._clip.files_of)

    def close(self) -> None:
        self._log.close()


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
