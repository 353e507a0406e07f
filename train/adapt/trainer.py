"""Adapts a CLIP: setup, one loop per phase, cleanup. A stopped run goes on from its last checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.clip import ClipInput
from stages.common import Progress, UserError, digest, identity, silent, slowness_warning
from train.adapt.config import AdaptManifest, Phase
from train.adapt.objective import Objective, check_finite
from train.adapt.output import (
    Output,
    WeightAverage,
    adapted_weights,
    check_validation,
    optimizer_of,
)
from train.clip.model import MaskPromptCLIP
from train.clip.source import resolve
from train.data.loader import PairLoader
from train.data.pair_index import describe_data, index_pairs
from train.loop import (
    Clock,
    Processes,
    Report,
    first_line,
    join_processes,
    load_state,
    save_state,
    set_rates,
    step_seed,
    warmup_cosine,
)


def adapt(manifest: AdaptManifest, out: Path, report: Report, progress: Progress = silent) -> Path:
    """Trains until the last step.

    Args:
        manifest: the recipe.
        out: folder of the run; holds log.jsonl, state.pt, last and, with validation regions, best.
        report: called in the first process with each line of the log: ``step``, ``steps``, ``phase``, ``phases``,
            ``loss``, ``grad_norm``, ``lr``, ``pairs_per_s``, ``seconds_per_step``; or ``step`` and ``validation``; or,
            as it starts, ``step``, ``precision``, ``device`` and, where that precision is slow there, ``warning``.
        progress: called in the first process with what is being done, and after each step.

    Returns:
        The folder of the weights at the end, `out`/last: see train.clip.checkpoint.folder.

    Raises:
        UserError: model, shards or ground truth cannot be read, `out` holds a run of another recipe, or the loss is
            no longer a number.
    """
    out.mkdir(parents=True, exist_ok=True)
    with join_processes(manifest.device) as processes:
        warning = slowness_warning(manifest.precision, processes.device)
        resolved = manifest.resolved(processes.device)
        resolved = resolved.model_copy(update={"precision": processes.from_first(resolved.precision)})
        run = _Run(resolved, out, processes, report, progress if processes.is_first else silent)
        run.start(warning)
        try:
            run.train()
        finally:
            run.close()
    return out / "last"


class _Run:
    """Model, data and progress of a run."""

    def __init__(
        self, manifest: AdaptManifest, out: Path, processes: Processes, report: Report, progress: Progress
    ) -> None:
        self.manifest, self.out, self.processes, self.progress = manifest, out, processes, progress
        progress("loading the CLIP")
        clip = resolve(manifest.init)
        self.model, tokenize = clip.load(processes.device)
        self._check_depth()
        progress("reading shards")
        pair_index = index_pairs(manifest.data.sets, manifest.data.on_bad)
        progress("encoding nouns")
        self.objective = Objective(manifest, self.model.clip, tokenize, pair_index, processes)
        self.loader = PairLoader(
            pair_index,
            manifest.data,
            ClipInput.of(self.model.clip),
            manifest.batch_size,
            manifest.seed,
            processes.rank,
            processes.world_size,
            None if processes.device == "cpu" or manifest.data.region.resize == "torch" else processes.device,
        )
        progress("hashing weights")
        data = describe_data(manifest.data, pair_index)
        init = clip.digests()
        self.recipe = digest([identity(manifest), init, data["pairs_sha256"]])
        check_validation(manifest.validation)
        self.original: dict[str, Tensor] = {}
        if manifest.wise_ft_alpha < 1:
            self.original = {name: value.detach().clone() for name, value in adapted_weights(self.model).items()}
        self.ends = np.cumsum([self._steps(phase) for phase in manifest.phases]).tolist()
        self.scaler = torch.amp.GradScaler(processes.device.partition(":")[0], enabled=manifest.precision == "fp16")
        self.state = load_state(out, self.recipe, manifest.precision) or {"step": 0, "phase": 0, "best": {}}
        self.step: int = self.state["step"]
        self.output: Output | None = None
        if processes.is_first:
            provenance = {"manifest": manifest.model_dump(mode="json"), "init_sha256": init, "data": data}
            provenance["steps"] = self.ends[-1]
            self.output = Output(out, manifest, clip, provenance, self.step, processes.device, report)
            self.output.best = self.state["best"]

    def start(self, warning: str | None) -> None:
        """Logs what this run computes in, and on what."""
        if self.output is not None and self.step < self.ends[-1]:
            self.output.line(first_line(self.step, self.manifest.precision, self.processes.device, warning))

    def train(self) -> None:
        for number, phase in enumerate(self.manifest.phases):
            if number >= self.state["phase"]:
                self._train_phase(number, phase)
        if self.output is not None:
            self.output.keep(self.model, self.step)

    def close(self) -> None:
        if self.output is not None:
            self.output.close()

    def _train_phase(self, number: int, phase: Phase) -> None:
        manifest, first, end = self.manifest, self.ends[number] - self._steps(phase), self.ends[number]
        self._grow_prompts(number)
        optimizer = optimizer_of(self.model, phase)
        kept = WeightAverage(self.model, self.original, manifest.ema_decay, manifest.wise_ft_alpha)
        self._resume(number, optimizer, kept)
        self.model.train()
        self.model.set_grad_checkpointing(manifest.gradient_checkpointing)
        model = self.model if self.processes.world_size == 1 else DistributedDataParallel(self.model)
        clock = Clock(self.step)
        self.progress("training", self.step, self.ends[-1])
        for batch in self.loader.batches(self.step, end):
            # Dropout and the like, where a tower has them, depend on the step alone: a resumed run draws the same.
            torch.manual_seed(step_seed(manifest.seed, self.step, self.processes.rank))
            set_rates([optimizer], warmup_cosine(self.step - first, phase.warmup_steps, end - first))
            loss = self.objective.backward(model, batch, self.scaler.scale)
            norm = self._update(optimizer)
            kept.update()
            self.step += 1
            is_end = self.step == end
            self.progress("training", self.step, self.ends[-1])
            if is_end or self.step % manifest.log_every == 0:
                self._log(number, loss, norm, optimizer, clock)
            if manifest.validation and (self.step == self.ends[-1] or self.step % manifest.validation.every == 0):
                self._score(kept)
            if is_end or self.step % manifest.checkpoint_every == 0:
                check_finite(float(self.processes.sum(loss)), self.step)
                self._save(number, optimizer, kept)
        kept.apply()

    def _grow_prompts(self, number: int) -> None:
        """Adds prompts where this phase or an earlier one trains them and the model has none."""
        trains = any(phase.train != "tower" for phase in self.manifest.phases[: number + 1])
        if trains and self.model.depth == 0:
            torch.manual_seed(self.manifest.seed)
            self.model = MaskPromptCLIP(self.model.clip, self.manifest.prompt_depth)

    def _update(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """Takes a step; gives the gradient's norm, before it is shortened."""
        limit = self.manifest.max_grad_norm or float("inf")
        self.scaler.unscale_(optimizer)
        values = [value for group in optimizer.param_groups for value in group["params"]]
        norm = nn.utils.clip_grad_norm_(values, limit)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def _score(self, kept: WeightAverage) -> None:
        if self.output is not None and self.manifest.validation is not None:
            with kept.applied():
                self.output.score(self.model, self.step, self.manifest.validation, self.progress)
        self.processes.barrier()

    def _log(self, number: int, loss: Tensor, norm: Tensor, optimizer: torch.optim.Optimizer, clock: Clock) -> None:
        value = float(self.processes.sum(loss))
        check_finite(value, self.step)
        if self.output is None:
            return
        seconds = clock.seconds_per_step(self.step)
        line = {
            "step": self.step,
            "steps": self.ends[-1],
            "phase": number,
            "phases": len(self.ends),
            "loss": round(value, 6),
        }
        line["grad_norm"] = round(float(norm), 6)
        line["lr"] = optimizer.param_groups[-1]["lr"]
        line["pairs_per_s"] = round(self.manifest.batch_size / seconds, 1)
        self.output.line({**line, "seconds_per_step": round(seconds, 4)})

    def _save(self, number: int, optimizer: torch.optim.Optimizer, kept: WeightAverage) -> None:
        if self.output is not None:
            values = {
                "recipe": self.recipe,
                "precision": self.manifest.precision,
                "step": self.step,
                "phase": number,
                "best": self.output.best,
            }
            weights = {name: value.detach() for name, value in adapted_weights(self.model).items()}
            training = {"optimizer": optimizer.state_dict(), "scaler": self.scaler.state_dict()}
            save_state(self.out, {**values, **training, "weights": weights, "average": kept.average})
        self.processes.barrier()

    def _resume(self, number: int, optimizer: torch.optim.Optimizer, kept: WeightAverage) -> None:
        if number != self.state["phase"] or "weights" not in self.state:
            return
        with torch.no_grad():
            for name, value in adapted_weights(self.model).items():
                value.copy_(self.state["weights"][name])
        for name, value in self.state["average"].items():
            kept.average[name].copy_(value)
        optimizer.load_state_dict(self.state["optimizer"])
        self.scaler.load_state_dict(self.state["scaler"])

    def _steps(self, phase: Phase) -> int:
        return phase.steps or max(1, round((phase.epochs or 1) * self.loader.steps_per_epoch))

    def _check_depth(self) -> None:
        """That prompts of the weights to begin with are as deep as those asked for."""
        asked, depth, blocks = self.manifest.prompt_depth, self.model.depth, self.model.tower.num_blocks
        if asked > blocks and any(phase.train != "tower" for phase in self.manifest.phases):
            raise UserError(f"prompt_depth: got {asked}; expected at most {blocks}, the tower's number of blocks")
        if depth not in (0, asked) and any(phase.train != "tower" for phase in self.manifest.phases):
            raise UserError(f"prompt_depth: got {asked}, but {self.manifest.init.weights} has prompts of depth {depth}")
