"""What a person sees while work goes on: a live bar on a terminal; elsewhere a line whenever 5 seconds were silent."""

from __future__ import annotations

import io
import time
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from pipeline.records import Receipt
from pipeline.terminal import SILENCE_S, Activity, AdaptProgress, BuildProgress, PretrainProgress
from tests.pipeline.conftest import make_receipt


@pytest.fixture(autouse=True)
def just_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.terminal._last_line", time.monotonic())


def console_of(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None, soft_wrap=True)


def text_of(console: Console) -> str:
    file: Any = console.file
    return str(file.getvalue())


def wait_for(console: Console, said: str) -> list[str]:
    """Lines, once one of them has the text."""
    until = time.monotonic() + 10
    while said not in text_of(console):
        assert time.monotonic() < until, text_of(console)
        time.sleep(0.01)
    return text_of(console).splitlines()


def test_silence_in_a_log_is_never_longer_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SILENCE_S < 5.0
    console, at = console_of(), [time.monotonic()]
    monkeypatch.setattr(console, "print", lambda *_, **__: at.append(time.monotonic()))
    with Activity(console, silence_s=0.3) as activity:
        activity("one long call")
        time.sleep(4)
    assert len(at) >= 3
    assert max(later - earlier for earlier, later in pairwise(at)) < 3


def test_a_log_hears_of_work_without_a_number() -> None:
    console = console_of()
    with Activity(console, silence_s=0.0) as activity:
        activity("reading shards")
        assert wait_for(console, "reading shards")[-1] == "reading shards, 0 seconds so far"


def test_a_log_hears_how_far_it_is_and_how_long_it_takes() -> None:
    console = console_of()
    with Activity(console, silence_s=0.0) as activity:
        activity("naming", 0, 2000)
        time.sleep(0.05)
        activity("naming", 1000, 2000, "half of it")
        wait_for(console, "1,000")
    assert "naming: 1,000/2,000, half of it, 0 seconds left" in text_of(console).splitlines()


def test_the_next_part_of_the_work_begins_its_own_clock() -> None:
    activity = Activity(console_of())
    activity("one", 0, 10)
    time.sleep(0.02)
    activity("one", 5, 10)
    assert activity.rate(5) > 0
    activity("two", 5, 10)
    assert activity.rate(5) == 0


def test_what_is_quick_prints_nothing() -> None:
    console = console_of()
    with Activity(console) as activity:
        activity("reading shards")
    assert text_of(console) == ""


def test_other_processes_than_the_first_print_nothing() -> None:
    console = console_of()
    with Activity(console, show=False, silence_s=0.0) as activity:
        activity("reading shards")
        activity.say("a line")
        time.sleep(0.6)
    assert text_of(console) == ""


def test_a_line_postpones_the_next_sign_of_life() -> None:
    console = console_of()
    with Activity(console, silence_s=0.5) as activity:
        for _ in range(12):
            activity.say("x")
            time.sleep(0.1)
    assert set(text_of(console).splitlines()) == {"x"}


def test_a_log_that_nobody_reads_stops_no_work() -> None:
    console = console_of()
    with Activity(console, silence_s=0.0) as activity:
        console.file.close()
        time.sleep(0.6)
        activity("still at work")


def test_silence_counts_from_before_the_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.terminal._last_line", time.monotonic() - SILENCE_S)
    console = console_of()
    with Activity(console) as activity:
        activity("loading")
        wait_for(console, "loading")


def test_an_error_ends_the_signs_of_life() -> None:
    console = console_of()
    with pytest.raises(ValueError, match="broken"), Activity(console, silence_s=0.0):
        raise ValueError("broken")
    before = text_of(console)
    time.sleep(0.6)
    assert text_of(console) == before


def receipt(images: int, pairs: int) -> Receipt:
    return make_receipt(images=images, pairs=pairs, images_quarantined=1, captions_quarantined=2)


@pytest.mark.parametrize("terminal", [False, True])
def test_mining_counts_images_of_this_run_and_of_earlier_ones(terminal: bool) -> None:
    console = console_of(terminal)
    with BuildProgress(console) as progress:
        progress.begin(30, receipt(10, 5).counts)
        progress.unit_done(receipt(10, 3))
        progress.unit_done(receipt(10, 4))
    assert "mining" in text_of(console)
    assert "30/30" in text_of(console)
    assert "12 pairs, 9 quarantined" in text_of(console)
    assert text_of(console).count("computed on cpu AVX2 fp32") == 1


def line(step: int, phase: int = 0, phases: int = 2) -> dict[str, Any]:
    """A line of an adaptation's log."""
    numbers = {"loss": 1.2345, "grad_norm": 1.0, "lr": 1e-4, "pairs_per_s": 1234.5, "seconds_per_step": 0.5}
    return {"step": step, "steps": 1000, "phase": phase, "phases": phases, **numbers}


def shown(terminal: bool, phases: int = 2, show: bool = True, title: str = "") -> str:
    console = console_of(terminal)
    with AdaptProgress(console, show, title) as progress:
        progress("reading shards")
        progress("training", 19, 1000)
        for told in (line(20, 0, phases), {"step": 20, "validation": 45.678}, line(1000, 1, phases)):
            progress.line(told)
        progress("training", 1000, 1000)
    return text_of(console)


def test_a_log_has_a_line_each_with_loss_rate_and_time_left() -> None:
    assert shown(terminal=False).splitlines() == [
        "phase 1/2, step 20/1,000: loss 1.234, 1,234 pairs/s, 8 minutes and 10 seconds left",
        "step 20: validation score 45.68",
        "phase 2/2, step 1,000/1,000: loss 1.234, 1,234 pairs/s, 0 seconds left",
    ]


def test_a_recipe_of_one_phase_does_not_count_phases() -> None:
    assert shown(terminal=False, phases=1).startswith("step 20/1,000: loss ")


def test_runs_that_follow_each_other_have_titles() -> None:
    assert all(one.startswith("FT only: ") for one in shown(terminal=False, title="FT only").splitlines())


def test_other_processes_than_the_first_show_no_training() -> None:
    assert shown(terminal=False, show=False) == ""


def test_a_terminal_has_one_live_line_of_80_columns_and_keeps_the_lines() -> None:
    text = shown(terminal=True)
    assert "training 1,000/1,000" in text
    assert "loss 1.234" in text
    assert "…" not in text
    assert "step 20: validation score 45.68" in text


@pytest.mark.parametrize("kind", [AdaptProgress, PretrainProgress])
def test_the_first_line_says_what_is_computed_in_and_warns(kind: type[AdaptProgress | PretrainProgress]) -> None:
    console = console_of()
    with kind(console) as progress:
        progress.line({"step": 0, "precision": "bf16", "device": "cpu", "warning": "Warning: slow"})
    assert text_of(console).splitlines() == ["computing in bf16 on cpu", "Warning: slow"]
