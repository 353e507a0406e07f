"""What people see: consoles for plain lines, times and sizes, and signs of life.

A live bar on a terminal; in a log a line, whenever four seconds were silent.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import IO, Any, Self

import humanize
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.records import Counts, Receipt


def terminal(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """A console for lines as they are: nothing in them is markup; none is cut or folded, so that it can be copied."""
    return Console(stderr=stderr, file=file, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A length of time: '3 seconds', '1 minute and 30 seconds', '2 hours and 5 minutes'."""
    unit = "seconds" if seconds < 600 else "minutes"
    return humanize.precisedelta(timedelta(seconds=seconds), unit, format="%.0f")


def file_size(count: float) -> str:
    """Bytes as kB, MB or GB (powers of ten)."""
    return humanize.naturalsize(count)


SILENCE_S = 4.0
"""Nobody should wait for five: the tick and a busy machine take the rest."""
_TICK_S = 0.25
_last_line = time.monotonic()
"""When this process printed its last line: one activity may follow another, and silence is silence."""


class Activity:
    """Shows what is being done, how far it is and how long it will take; calling it is a `Progress`.

    Args:
        console: where to; a live bar if it is a terminal.
        show: whether to show anything; of several processes the first one does.
        silence_s: the longest silence in a log, in seconds.
    """

    def __init__(self, console: Console, show: bool = True, silence_s: float = SILENCE_S) -> None:
        self._console, self._show, self._silence_s = console, show, silence_s
        self._what, self._note = "loading libraries", ""
        self._done = self._at_start = 0
        self._total: int | None = None
        self._begun = time.monotonic()
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._bar: Progress | None = None
        if console.is_terminal and show:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(12),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(self._what, total=None, note="")

    def __call__(self, what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        """Takes note of what is being done; see stages.common.progress.Progress.

        Args:
            what: is being done.
            done: how much of it.
            total: of how much.
            note: more about it, such as a rate.
        """
        with self._lock:
            if what != self._what or done < self._done:
                self._what, self._begun, self._at_start = what, time.monotonic(), done
            self._done, self._total, self._note = done, total, note
            if self._bar:
                said = ", ".join(filter(None, (note, self._left())))
                description = f"{what} {self._far()}".rstrip()
                self._bar.update(self._task, description=description, note=said, completed=done, total=total)

    def say(self, line: str) -> None:
        """Prints a line; above the bar, where there is one."""
        global _last_line
        if self._show:
            with self._lock:
                _last_line = time.monotonic()
                self._console.print(line)

    def say_what_it_computes_in(self, line: dict[str, Any]) -> None:
        """Prints the first line of a training's log."""
        self.say(f"computing in {line['precision']} on {line['device']}")
        if "warning" in line:
            self.say(line["warning"])

    def rate(self, done: int) -> float:
        """How much is done per second, since this part of the work began."""
        spent = time.monotonic() - self._begun
        return (done - self._at_start) / spent if spent > 0 else 0.0

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        elif self._show:
            self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        if self._bar:
            self._bar.stop()
        elif self._show:
            self._ticker.join()

    def _tick(self) -> None:
        while not self._end.wait(_TICK_S):
            with self._lock:
                if time.monotonic() - _last_line >= self._silence_s:
                    try:
                        self.say(self._status())
                    except (OSError, ValueError):  # nobody reads any more; the work itself will find out
                        return

    def _status(self) -> str:
        what = f"{self._what}: {self._far()}" if self._far() else self._what
        so_far = f"{duration(time.monotonic() - self._begun)} so far"
        return ", ".join(filter(None, (what, self._note, self._left() or so_far)))

    def _far(self) -> str:
        if self._total is not None:
            return f"{self._done:,}/{self._total:,}"
        return f"{self._done:,}" if self._done else ""

    def _left(self) -> str:
        rate = self.rate(self._done)
        return f"{duration((self._total - self._done) / rate)} left" if self._total is not None and rate else ""


class BuildProgress(Activity):
    """Counts images done, and says how fast, how long still, how many quarantined."""

    def begin(self, total: int, counts: Counts) -> None:
        """Mining begins.

        Args:
            total: images of the whole build.
            counts: of the units done by earlier runs.
        """
        self._counts, self._images = counts, total
        self._devices: set[str] = set()
        self("mining images", counts.images, total)

    def unit_done(self, receipt: Receipt) -> None:
        """Takes a unit's receipt into account."""
        if new := sorted(set(receipt.devices.values()) - self._devices):
            self._devices |= set(new)
            self.say(f"computed on {', '.join(new)}")
        self._counts = counts = Counts.total((self._counts, receipt.counts))
        quarantined = counts.images_quarantined + counts.captions_quarantined
        pairs = f"{counts.pairs} pairs, {quarantined} quarantined, {self.rate(counts.images):.1f} images/s"
        self("mining images", counts.images, self._images, pairs)
        if not self._bar and counts.images == self._images:
            self.say(self._status())


class AdaptProgress(Activity):
    """Follows an adaptation: what it is doing, steps done, loss, how fast, how long still.

    Args:
        console: where to.
        show: as in Activity.
        title: stands before each line, where several runs follow each other.
    """

    def __init__(self, console: Console, show: bool = True, title: str = "") -> None:
        super().__init__(console, show)
        self._title, self._loss = f"{title}: " if title else "", ""

    def __call__(self, what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        super().__call__(f"{self._title}{what}", done, total, note or (self._loss if what == "training" else ""))

    def line(self, line: dict[str, Any]) -> None:
        """Takes a line of the log: see train.adapt."""
        if "validation" in line:
            self.say(f"{self._title}step {line['step']:,}: validation score {line['validation']:.2f}")
        elif "precision" in line:
            self.say_what_it_computes_in(line)
        else:
            left = duration((line["steps"] - line["step"]) * line["seconds_per_step"])
            self._loss = self._note = f"loss {line['loss']:.3f}"
            phase = f"phase {line['phase'] + 1}/{line['phases']}, " if line["phases"] > 1 else ""
            rate = f"{self._loss}, {line['pairs_per_s']:,.0f} pairs/s, {left} left"
            self.say(f"{self._title}{phase}step {line['step']:,}/{line['steps']:,}: {rate}")


class PretrainProgress(Activity):
    """Follows a CLIP that is trained from scratch."""

    def line(self, line: dict[str, Any]) -> None:
        """Takes a line of the log: see train.pretrain."""
        if "precision" in line:
            self.say_what_it_computes_in(line)
            return
        shown = ", ".join(f"{name} {value:.3f}" for name, value in line.items() if name.endswith("loss"))
        rate = ", ".join(filter(None, (f"{line['images_per_s']:.0f} images/s", self._left())))
        self.say(f"step {line['step']:,}: {shown}; {rate}")


class GeneratorProgress(Activity):
    """Follows the training of a mask generator."""

    def line(self, line: dict[str, Any]) -> None:
        """Takes a line of the log: see train.generator."""
        if "precision" in line:
            self.say_what_it_computes_in(line)
            left_out = f", {line['without_masks']:,} without masks left out" if line["without_masks"] else ""
            self.say(f"{line['pictures']:,} pictures to train on, {line['held_out_pictures']:,} held out{left_out}")
            for sentence in line.get("unusable", ()):
                self.say(sentence)
        elif "held_out" in line:
            parts = ", ".join(
                f"{name} {value:.3f}" for name, value in line.items() if "/recall_50@" in name or "/ar@" in name
            )
            self.say(f"step {line['step']:,}: held out: {parts}")
        else:
            shown = ", ".join(f"{name} {line[name]:.3f}" for name in ("loss", "iou") if name in line)
            left = duration((line["steps"] - line["step"]) * line["seconds_per_step"])
            rate = f"{shown}, {line['images_per_s']:,.1f} images/s, {left} left"
            self.say(f"step {line['step']:,}/{line['steps']:,}: {rate}")
