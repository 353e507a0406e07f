"""Trains a mask generator: setup, one loop, cleanup. A stopped run goes on from its last checkpoint, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.common import (
    ImageRecord,
    Progress,
    SampleError,
    UserError,
    autocast,
    digest,
    identity,
    silent,
    slowness_warning,
)
from train.evaluate.proposals import RecallCounter
from train.generator.config import GeneratorManifest
from train.generator.mask_index import MaskIndex, index_masks, spread
from train.generator.networks import Trainable, trainable
from train.generator.samples import MaskBatch, MaskLoader
from train.generator.shared_norm import share_norms
from train.loop import (
    Clock,
    Processes,
    Report,
    RunLog,
    first_line,
    join_processes,
    load_state,
    save_state,
    set_rates,
    step_seed,
    unscaled_precision,
    warmup_cosine,
)

DESCRIPTION = "generator.json"


def train_generator(manifest: GeneratorManifest, out: Path, report: Report, progress: Progress = silent) -> Path:
    """Trains until the last step.

    Args:
        manifest: the recipe.
        out: folder of the run; holds log.jsonl, state.pt, last and, with scores of what is held out, best.
        report: called in the first process with each line of the log: ``step``, ``steps``, ``loss`` and its parts,
            ``grad_norm``, ``lr``, ``images_per_s``, ``seconds_per_step``; or ``step`` and ``held_out``; or, as it
            starts, ``step``, ``precision``, ``device``, and what else is to be known.
        progress: called in the first process with what is being done, and after each step.

    Returns:
        The folder of the weights at the end, `out`/last, as a proposer's `model`.

    Raises:
        UserError: weights or masks cannot be read, `out` holds a run of another recipe, or the loss is no longer a
            number.
    """
    out.mkdir(parents=True, exist_ok=True)
    with join_processes(manifest.device) as processes:
        run = _Run(manifest, out, processes, report, progress if processes.is_first else silent)
        try:
            run.train()
        finally:
            run.close()
    return out / "last"


class _Run:
    """Network, data and progress of a run."""

    def __init__(
        self, manifest: GeneratorManifest, out: Path, processes: Processes, report: Report, progress: Progress
    ) -> None:
        self.manifest, self.out, self.processes, self.progress = manifest, out, processes, progress
        self.precision: Any = processes.from_first(unscaled_precision(manifest.precision, processes.device))
        self.index: MaskIndex = index_masks(manifest.data, progress)
        if manifest.scores is not None and not self.index.held_out:
            raise UserError("scores: no picture is held out; raise data.held_out, or leave 'scores' out")
        progress("loading the network")
        self.trained: Trainable = trainable(manifest, self.index.names, processes)
        self.module = self.trained.module
        self.average: nn.Module = self.module
        if manifest.ema_decay is not None:
            self.average = AveragedModel(self.module, multi_avg_fn=_moving(manifest.ema_decay), use_buffers=True)
        self.loader = MaskLoader(
            self.index,
            manifest.data,
            manifest.batch_size,
            manifest.seed,
            manifest.steps,
            processes.rank,
            processes.world_size,
            pin_memory=processes.device != "cpu",
        )
        self.optimizer = _optimizer(self.trained, manifest)
        progress("hashing masks")
        self.recipe = digest([identity(manifest), self.trained.digests, self.index.fingerprint(), self.precision])
        self.step, self.best = 0, dict[str, Any]()
        self._resume()
        self.log = RunLog(out, self.step, manifest.tensorboard, report) if processes.is_first else None

    def train(self) -> None:
        manifest = self.manifest
        self._say_what_it_does()
        module: nn.Module = self.module
        if self.processes.world_size > 1:
            share_norms(self.module)
            idle = self.trained.has_idle_parameters
            module = DistributedDataParallel(self.module, find_unused_parameters=idle)
        self.module.train()
        clock = Clock(self.step)
        self.progress("training", self.step, manifest.steps)
        for batch in self.loader.batches(self.step, manifest.steps):
            torch.manual_seed(step_seed(manifest.seed, self.step, self.processes.rank))
            set_rates([self.optimizer], warmup_cosine(self.step, manifest.warmup_steps, manifest.steps))
            parts, norm = self._update(module, batch)
            self.step += 1
            is_end = self.step == manifest.steps
            self.progress("training", self.step, manifest.steps)
            if is_end or self.step % manifest.log_every == 0:
                self._log(parts, norm, clock)
            if manifest.scores and (is_end or self.step % manifest.scores.every == 0):
                self._score()
            if is_end or self.step % manifest.checkpoint_every == 0:
                self._save()
        if self.processes.is_first:
            self._write("last", {})

    def close(self) -> None:
        if self.log is not None:
            self.log.close()

    def _update(self, module: nn.Module, batch: MaskBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Takes a step; gives the parts of the loss, and the gradient's norm before it is shortened."""
        with autocast(self.processes.device, self.precision):
            loss, parts = self.trained.loss(module, batch)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.manifest.max_grad_norm or float("inf"))
        parts["loss"] = self.processes.sum(loss) / self.processes.world_size
        if not bool(parts["loss"].isfinite()):
            found = float(parts["loss"])
            raise UserError(f"step {self.step + 1}: the loss is {found}; lower lr, or set max_grad_norm: 1")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if isinstance(self.average, AveragedModel):
            self.average.update_parameters(self.module)
        return parts, norm

    @property
    def kept(self) -> nn.Module:
        """The module with the weights that are kept."""
        average: Any = self.average
        kept: nn.Module = average.module if isinstance(self.average, AveragedModel) else average
        return kept

    def _score(self) -> None:
        scores = self.manifest.scores
        if self.processes.is_first and scores is not None:
            module = self.kept.eval()
            proposer = self.trained.proposer(module, self.precision)
            counter = RecallCounter((scores.max_proposals,), self.manifest.data.names)
            pictures = spread(self.index.held_out, scores.limit)
            for number, picture in enumerate(pictures):
                self.progress("scoring what is held out", number, len(pictures))
                pixels, regions = self.index.read(picture)
                try:
                    proposals = proposer.propose(ImageRecord(picture.image.image_id, "", ()), pixels)
                except SampleError:  # a sliver that the network cannot take: nothing is found there
                    proposals = []
                counter.add(proposals, regions)
            self.module.train()
            self._take_in({name: value for name, value in counter.scores().items() if value is not None})
        self.processes.barrier()

    def _take_in(self, found: dict[str, float]) -> None:
        """Logs scores, and writes DIR/best if they are."""
        assert self.manifest.scores is not None
        assert self.log is not None
        of_all = found[f"all/{self.manifest.scores.metric}@{self.manifest.scores.max_proposals}"]
        rounded = {name: round(value, 4) for name, value in found.items() if "masks" not in name}
        self.log.line({"step": self.step, "held_out": round(of_all, 4), **rounded})
        if not self.best or of_all > self.best["score"]:
            self.best = {"score": of_all, "step": self.step}
            self._write("best", rounded)

    def _write(self, name: str, scores: dict[str, float]) -> None:
        """Writes a folder that a proposer loads, and beside it how it came about."""
        folder = self.out / name
        self.trained.save(self.kept, folder)
        about: dict[str, Any] = {"manifest": identity(self.manifest), "init_sha256": self.trained.digests}
        about |= {"step": self.step, "pictures": len(self.index.training), "held_out": scores}
        (folder / DESCRIPTION).write_text(json.dumps(about, indent=1) + "\n")

    def _say_what_it_does(self) -> None:
        if self.log is None or self.step == self.manifest.steps:
            return
        warning = slowness_warning(self.manifest.precision, self.processes.device)
        line = first_line(self.step, self.precision, self.processes.device, warning)
        counts = {"pictures": len(self.index.training), "held_out_pictures": len(self.index.held_out)}
        told = {"unusable": self.index.unusable} if self.index.unusable else {}
        self.log.line({**line, **counts, "without_masks": self.index.without_masks, **told})

    def _log(self, parts: dict[str, Tensor], norm: Tensor, clock: Clock) -> None:
        if self.log is None:
            return
        seconds = clock.seconds_per_step(self.step)
        line: dict[str, Any] = {"step": self.step, "steps": self.manifest.steps}
        line |= {name: round(float(value), 5) for name, value in parts.items()}
        line |= {"grad_norm": round(float(norm), 4), "lr": self.optimizer.param_groups[0]["lr"]}
        line["images_per_s"] = round(self.manifest.batch_size / seconds, 2)
        self.log.line({**line, "seconds_per_step": round(seconds, 4)})

    def _save(self) -> None:
        if self.processes.is_first:
            values = {"recipe": self.recipe, "precision": self.precision, "step": self.step, "best": self.best}
            weights = {"module": self.module.state_dict(), "average": self.average.state_dict()}
            save_state(self.out, {**values, **weights, "optimizer": self.optimizer.state_dict()})
        self.processes.barrier()

    def _resume(self) -> None:
        state = load_state(self.out, self.recipe, self.precision)
        if state is None:
            return
        self.step, self.best = state["step"], state["best"]
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def _moving(decay: float) -> Callable[..., None]:
    """The moving average of lists of tensors; whole numbers, such as indices, are taken as they are.

    It forgets faster in the beginning, so that it is of use before 1 / (1 - decay) steps.
    """

    def take_in(kept: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        if not kept[0].is_floating_point():
            torch._foreach_copy_(kept, current)
            return
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(share)(kept, current, count)  # type: ignore[no-untyped-call]

    return take_in


def _optimizer(trained: Trainable, manifest: GeneratorManifest) -> torch.optim.AdamW:
    """AdamW; vectors and scalars have no weight decay. Each group has its peak rate under ``peak_lr``."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, value in trained.module.named_parameters():
        if value.requires_grad:
            groups.setdefault((trained.lr_share(name), value.ndim >= 2), []).append(value)
    rated = [
        {"params": params, "weight_decay": manifest.weight_decay if decays else 0.0, "peak_lr": manifest.lr * share}
        for (share, decays), params in groups.items()
        if params
    ]
    return torch.optim.AdamW(rated, lr=manifest.lr)
