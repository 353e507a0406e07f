"""What a person sees while a CLIP is adapted."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pipeline.progress import AdaptProgress, duration


def line(step: int, phase: int = 0) -> dict[str, Any]:
    """A line of the log."""
    numbers = {"loss": 1.2345, "grad_norm": 1.0, "lr": 1e-4, "pairs_per_s": 1234.5, "seconds_a_step": 0.5}
    return {"step": step, "steps": 1000, "phase": phase, **numbers}


def shown(terminal: bool, phases: int = 2, show: bool = True) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with AdaptProgress(console, phases, show) as progress:
        for told in (line(20), {"step": 20, "held_out": 45.678}, line(1000, phase=1)):
            progress.line(told)
    file: Any = console.file
    return str(file.getvalue())


def test_a_log_has_a_line_each_with_loss_rate_and_time_left() -> None:
    assert shown(terminal=False).splitlines() == [
        "phase 1/2, step 20/1,000: loss 1.234, 1,234 pairs/s, 8 min left",
        "step 20: held-out score 45.68",
        "phase 2/2, step 1,000/1,000: loss 1.234, 1,234 pairs/s, 0 s left",
    ]


def test_a_recipe_of_one_phase_does_not_count_phases() -> None:
    assert shown(terminal=False, phases=1).startswith("step 20/1,000: loss ")


def test_a_terminal_has_one_live_line_of_80_columns_and_keeps_the_scores() -> None:
    text = shown(terminal=True)
    assert "reading model and shards" in text
    assert "phase 2/2, step 1,000/1,000" in text
    assert "1,234 pairs/s, 0 s left" in text
    assert "…" not in text
    assert "step 20: held-out score 45.68" in text


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h")]
)
def test_durations_have_the_unit_of_their_size(seconds: float, said: str) -> None:
    assert duration(seconds) == said
