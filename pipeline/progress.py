"""Progress of a build and of training: a live bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

_LOG_EVERY_S = 30.0


class _Bar:
    """A live bar while the work lasts; none where `_bar` is None."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()


class BuildProgress(_Bar):
    """Counts images done, and says how fast, how long still, how many quarantined.

    Args:
        console: where to; a live bar only if it is a terminal.
        total: images of the whole build.
        done: images done by earlier runs.
        counts: counts of the units done by earlier runs.
    """

    def __init__(self, console: Console, total: int, done: int, counts: dict[str, int]) -> None:
        self._console, self._total, self._done, self._at_start = console, total, done, done
        self._counts = Counter(counts)
        self._start = self._last = time.monotonic()
        if console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("mining"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("mining", total=total, completed=done, note=self._note())

    def unit_done(self, receipt: dict[str, Any]) -> None:
        """Takes a unit's receipt into account."""
        self._counts.update(receipt["counts"])
        self._done += receipt["counts"]["images"]
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=self._done, note=self._note())
        elif now - self._last >= _LOG_EVERY_S or self._done == self._total:
            self._last = now
            left = (self._total - self._done) / self._rate() if self._rate() else 0.0
            self._console.print(
                f"{self._done}/{self._total} images, {self._note()}, {left:.0f} s left",
                highlight=False,
                soft_wrap=True,
            )

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _rate(self) -> float:
        spent = time.monotonic() - self._start
        return (self._done - self._at_start) / spent if spent > 0 else 0.0

    def _note(self) -> str:
        quarantined = self._counts["images_quarantined"] + self._counts["captions_quarantined"]
        return f"{self._counts['pairs']} pairs, {quarantined} quarantined, {self._rate():.1f} images/s"


class AdaptProgress(_Bar):
    """Follows the lines of an adaptation's log: steps done, loss, how fast, how long still.

    Args:
        console: where to; a live bar only if it is a terminal.
        phases: number of phases of the recipe.
        show: whether to show anything; of several processes the first one does.
    """

    def __init__(self, console: Console, phases: int, show: bool) -> None:
        self._console, self._phases = console, phases
        if console.is_terminal and show:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(12),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("reading model and shards", total=None, note="")

    def line(self, line: dict[str, Any]) -> None:
        """Takes a line of the log: see train.adapt."""
        if "held_out" in line:
            self._print(f"step {line['step']:,}: held-out score {line['held_out']:.2f}")
            return
        left = duration((line["steps"] - line["step"]) * line["seconds_a_step"])
        note = f"loss {line['loss']:.3f}, {line['pairs_per_s']:,.0f} pairs/s, {left} left"
        phase = f"phase {line['phase'] + 1}/{self._phases}, " if self._phases > 1 else ""
        at = f"{phase}step {line['step']:,}/{line['steps']:,}"
        if self._bar:
            done = {"completed": line["step"], "total": line["steps"]}
            self._bar.update(self._task, description=at, note=note, **done)
        else:
            self._print(f"{at}: {note}")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A length of time, in the unit that a person would take."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
