"""The steps of `maskmine reproduce`: mining, adapting, scoring; each goes on where it was stopped."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.options import write_json
from pipeline.terminal import Activity, AdaptProgress, duration, file_size
from stages.common import UserError

if TYPE_CHECKING:
    from pipeline.manifest import BuildManifest
    from train.adapt import AdaptManifest
    from train.evaluate.semantic import SemanticManifest

_MEASURED, _SCORES = "measured.json", "scores.json"
_KIB = 1024


@dataclass
class Measured:
    """What an evaluation has cost so far, in all runs of its command.

    Attributes:
        seconds: of the wall clock, with loading.
        pictures: that were scored in them.
        peak_bytes: resident memory of the largest process.
        peak_gpu_bytes: that torch had on the GPU; None without one, and with several processes.
    """

    seconds: float = 0.0
    pictures: int = 0
    peak_bytes: int = 0
    peak_gpu_bytes: int | None = None

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Those of earlier runs; zeros where there are none."""
        file = folder / _MEASURED
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else cls()

    def add(self, seconds: float, pictures: int, workers: int) -> None:
        """Adds a run that ends now."""
        import torch

        whose = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
        self.seconds += seconds
        self.pictures += pictures
        self.peak_bytes = max(self.peak_bytes, resource.getrusage(whose).ru_maxrss * _KIB)
        if workers == 1 and torch.cuda.is_available():
            self.peak_gpu_bytes = max(self.peak_gpu_bytes or 0, torch.cuda.max_memory_allocated())


@dataclass(frozen=True)
class Row:
    """A measured number beside a published one.

    Attributes:
        system: what was scored.
        benchmark: on which set.
        published: mIoU in percent.
        scores: see train.evaluate.semantic.evaluate_semantic.
        measured: what it cost.
    """

    system: str
    benchmark: str
    published: float
    scores: dict[str, Any]
    measured: Measured

    def to_json(self) -> dict[str, Any]:
        """For --json; both denominators of mIoU, in percent."""
        figures = {key: self.scores[key] for key in ("miou_gt", "miou_gt_or_predicted", "images", "expected_images")}
        names = {"system": self.system, "benchmark": self.benchmark, "published": self.published}
        return {**names, **figures, **asdict(self.measured)}


def score(manifest: SemanticManifest, folder: Path, workers: int, console: Console) -> tuple[dict[str, Any], Measured]:
    """Scores a benchmark; pictures that are done are not done again.

    Raises:
        UserError: as evaluate_semantic.
    """
    import torch

    from train.evaluate.semantic import evaluate_semantic

    measured, computed, begun = Measured.read(folder), 0, time.monotonic()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with Activity(console) as activity:
        activity("loading the set and the models")

        def progress(done: int, total: int) -> None:
            nonlocal measured, computed
            if done == 1:  # from the start, whatever was measured before
                measured = Measured()
            computed += 1
            activity("segmenting photos", done, total)

        try:
            scores = evaluate_semantic(manifest, folder, workers, progress)
        finally:
            if computed:
                measured.add(time.monotonic() - begun, computed, workers)
                write_json(folder / _MEASURED, asdict(measured))
    write_json(folder / _SCORES, scores)
    return scores, measured


def mine(manifest: BuildManifest, folder: Path, console: Console) -> None:
    """Mines the pairs.

    Raises:
        UserError: units failed.
    """
    from pipeline.build import build

    outcome = build(manifest, str(folder), console)
    if outcome.lock is None:
        listed = "".join(f"\n  unit {unit}: {reason}" for unit, reason in sorted(outcome.failures.items()))
        raise UserError(f"{folder}: not finished; the same command tries the failed units again:{listed}")
    console.print(f"{folder}: {outcome.lock.counts.pairs:,} pairs of {outcome.lock.counts.images:,} images")


def adapt_here(recipe: AdaptManifest, folder: Path, console: Console) -> None:
    """Adapts the CLIP in this process."""
    from train.adapt import adapt

    with AdaptProgress(console) as progress:
        adapt(recipe, folder, progress.line, progress)


def adapt_by_torchrun(manifest: Path, settings: Sequence[str], folder: Path, processes: int) -> None:
    """Adapts the CLIP in several processes, one on each GPU.

    Raises:
        UserError: they failed; they have said why.
    """
    begin = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--no-python"]
    command = ["-c", "from pipeline.cli.entry import main; main()", "train", str(manifest), "--out", str(folder)]
    options = [part for setting in settings for part in ("--set", setting)]
    ended = subprocess.run([sys.executable, *begin, sys.executable, *command, *options], check=False)
    if ended.returncode:
        raise UserError(f"{folder}: the training ended with status {ended.returncode}; its message stands above")


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Measured beside published, and what it cost."""
    for row in rows:
        console.print(f"{row.system} on {row.benchmark}: {_cost(row.measured)}")
    table = Table(box=None, pad_edge=False)
    columns = ("gt", "gt or predicted", "published")
    for name in ("mIoU %", "", *columns):
        table.add_column(name, justify="right" if name in columns else "left")
    for row in rows:
        measured = (_percent(row.scores[key]) for key in ("miou_gt", "miou_gt_or_predicted"))
        table.add_row(row.system, row.benchmark, *measured, f"{row.published:.1f}")
    console.print(table, soft_wrap=False)


def _cost(measured: Measured) -> str:
    per_picture = measured.seconds / max(1, measured.pictures)
    gpu = f", {file_size(measured.peak_gpu_bytes)} on the GPU" if measured.peak_gpu_bytes is not None else ""
    return (
        f"{measured.pictures:,} pictures in {duration(measured.seconds)} ({per_picture:.2f} s each), at most "
        f"{file_size(measured.peak_bytes)} of memory in a process{gpu}"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
