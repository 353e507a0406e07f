"""Scores on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %"}


def print_scores(scores: dict[str, Any], console: Console) -> None:
    """Prints what train.evaluate.classify.classify gives: a row for all regions, and for the seen and unseen ones."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "regions", *_COLUMNS.values()):
        table.add_column(name, justify="right" if name else "left")
    for title, part in (
        ("all", scores),
        *((name, scores[name]) for name in ("seen", "unseen", "harmonic") if name in scores),
    ):
        values = [f"{part[key]:.1f}" if part[key] is not None else "-" for key in _COLUMNS]
        table.add_row(title, f"{part['regions']:,}" if "regions" in part else "", *values)
    console.print(table, soft_wrap=False)
    for note in scores["notes"]:
        console.print(note)
    left_out = {reason: count for reason, count in scores["left_out"].items() if count}
    for reason, count in left_out.items():
        console.print(f"left out: {count:,} ({reason})")
