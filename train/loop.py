"""What the loops of all trainings share: rates, kernels, seeds, speed, processes, and the folder of a run."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.common import AskedPrecision, Precision, UserError, resolve_device, resolve_precision

Report = Callable[[dict[str, Any]], None]
_STATE = "state.pt"
_LOG = "log.jsonl"


def warmup_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """Share of the peak learning rate at a step: a linear warm-up, then a cosine that reaches zero at `steps`.

    Args:
        step: from 0.
        warmup_steps: the last of them has the full rate.
        steps: of the whole course, warm-up included.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def set_rates(optimizers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Sets every group's learning rate to a share of its ``peak_lr``."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share


def attention_kernel(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """The kernel to run attention with, in both passes: the flash kernel is slower in bfloat16 on a CPU."""
    is_slow = precision != "fp32" and device.startswith("cpu")
    return sdpa_kernel(SDPBackend.MATH) if is_slow else nullcontext()


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """A seed for what is drawn in a step of a process, so that a resumed run draws the same."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def first_line(step: int, precision: str, device: str, warning: str | None) -> dict[str, Any]:
    """The log's line that a run begins with: ``step``, ``precision``, ``device`` and, if there is one, ``warning``."""
    line = {"step": step, "precision": precision, "device": device}
    return line if warning is None else {**line, "warning": warning}


def unscaled_precision(asked: AskedPrecision, device: str) -> Precision:
    """What `auto` stands for on a device, in a training that does not scale its loss, as fp16 would need."""
    precision = resolve_precision(asked, device)
    return "fp32" if precision == "fp16" else precision


class Clock:
    """Seconds per step since the last time it was asked."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()

    def seconds_per_step(self, step: int) -> float:
        now = time.monotonic()
        seconds = (now - self._time) / max(1, step - self._step)
        self._step, self._time = step, now
        return max(seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number.
        world_size: how many there are.
        device: torch device of this one.
    """

    rank: int
    world_size: int
    device: str

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        value = value.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def from_first(self, value: str) -> str:
        """The first process's value, in all of them."""
        values = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in order of rank, without gradient; each process has as many."""
        rows = rows.detach().contiguous()
        if self.world_size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world_size)]
        dist.all_gather(parts, rows)
        return torch.cat(parts)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun began, as its environment says: nccl on GPUs, gloo on CPUs.

    Args:
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: a GPU is asked for, and there is none; torchrun's variables are incomplete.
    """
    cuda = resolve_device(device) != "cpu"
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Processes(0, 1, "cuda" if cuda else "cpu")
        return
    if lacking := [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UserError(
            f"WORLD_SIZE is {world_size}, but {lacking[0]} is not set; start several processes by torchrun, "
            "or unset WORLD_SIZE for one"
        )
    local = int(os.environ["LOCAL_RANK"])
    if cuda:
        torch.cuda.set_device(local)
    # The others wait while the first lists shards or scores validation regions.
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=6))
    try:
        yield Processes(dist.get_rank(), world_size, f"cuda:{local}" if cuda else "cpu")
    finally:
        dist.destroy_process_group()


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Writes the state whole or not at all; nothing but tensors and plain values can be read again."""
    partial = folder / f"{_STATE}.partial"
    torch.save(state, partial)
    partial.replace(folder / _STATE)


def load_state(folder: Path, recipe: str, precision: str | None = None) -> dict[str, Any] | None:
    """The state of an earlier run, on the CPU; None if there is none.

    Args:
        folder: of the run.
        recipe: digest that the state must have under ``recipe``.
        precision: of this run; the state's, under ``precision``, may be what differs.

    Raises:
        UserError: it is of another recipe, or damaged.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        state: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # damaged files raise errors of many kinds
        told = str(error).partition(". ")[0] or type(error).__name__
        raise UserError(f"{path}: cannot be read ({told}); remove it to begin again") from error
    if not isinstance(state, dict) or "recipe" not in state:
        raise UserError(f"{path}: is no state of a training; choose another folder, or remove it to begin again")
    if state["recipe"] != recipe:
        began = state.get("precision")
        if precision is not None and began not in (None, precision):
            raise UserError(
                f"{folder}: holds a run that computes in {began}, and this one would in {precision}; "
                f"set precision: {began}, choose another folder, or remove it"
            )
        raise UserError(f"{folder}: holds a run of another recipe; choose another folder, or remove it")
    return dict(state)


def open_log(folder: Path, step: int) -> TextIO:
    """log.jsonl for more lines, without those of steps after `step`."""
    path = folder / _LOG
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # cut off by a crash
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))
    partial.replace(path)
    return path.open("a")


def write_line(log: TextIO, line: dict[str, Any]) -> None:
    """Adds a line, at once."""
    log.write(json.dumps(line) + "\n")
    log.flush()


class RunLog:
    """Lines of a run: in log.jsonl, in TensorBoard where that is wanted, and told to whoever follows.

    Args:
        folder: of the run.
        step: that the run goes on from; lines of later steps go.
        tensorboard: whether FOLDER/tensorboard is written, too.
        report: called with each line.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool, report: Report) -> None:
        self._file, self._report = open_log(folder, step), report
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def line(self, line: dict[str, Any]) -> None:
        """Logs a line; numbers go to TensorBoard, too."""
        write_line(self._file, line)
        for name, value in line.items() if self._board else ():
            if name != "step" and isinstance(value, int | float):
                self._board.add_scalar(name, value, line["step"])
        self._report(line)

    def close(self) -> None:
        self._file.close()
        if self._board:
            self._board.close()
