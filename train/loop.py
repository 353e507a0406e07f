"""What the loops of all trainings share: rates over a run, kernels, seeds of steps, speed, and the first line."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.common import Precision


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


class Clock:
    """Seconds per step since the last time it was asked."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()

    def seconds_a_step(self, step: int) -> float:
        now = time.monotonic()
        seconds = (now - self._time) / max(1, step - self._step)
        self._step, self._time = step, now
        return max(seconds, 1e-9)
