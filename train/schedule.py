"""Learning rates over a run."""

from __future__ import annotations

import math


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
