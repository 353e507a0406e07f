"""Scores on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from train.evaluate.semantic.tuning import SETTINGS, Tried

_COLUMNS = {
    "miou_gt": "mIoU gt %",
    "miou_gt_or_predicted": "mIoU gt or predicted %",
    "fwiou": "fwIoU %",
    "macc": "mAcc %",
    "pacc": "pAcc %",
}


def print_semantic(scores: dict[str, Any], console: Console) -> None:
    """Prints what train.evaluate.semantic.evaluate_semantic gives."""
    for note in scores["notes"]:
        console.print(f"Note: {note}")
    table = Table(box=None, pad_edge=False)
    for name in ("", "classes", *_COLUMNS.values()):
        table.add_column(name, justify="right" if name else "left")
    parts = [("all", scores), *((name, scores[name]) for name in ("seen", "unseen", "harmonic") if name in scores)]
    if "open_miou_gt" in scores:
        parts.append(("open (WordNet)", {key: scores[f"open_{key}"] for key in _COLUMNS}))
    for title, part in parts:
        classes = f"{part['classes_with_gt']:,}" if "classes_with_gt" in part else ""
        table.add_row(title, classes, *(_percent(part.get(key, "")) for key in _COLUMNS))
    console.print(table, soft_wrap=False)
    if known := scores.get("known_to_generator"):
        console.print(f"The mask generator was trained on {len(known)} of {len(scores['iou'])} classes.")
    if lacking := scores.get("not_in_wordnet"):
        console.print(f"Not in WordNet: {', '.join(lacking)}")
    shown = f"{scores['set']}: {scores['images']:,} pictures, {scores['pixels']:,} pixels with ground truth"
    console.print(f"{shown}; {scores['pixels_without_class']:,} of them without a class")


def _percent(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None else f"{value:.1f}"


def print_tuning(tried: Tried, metric: str, console: Console, at_most: int = 10) -> None:
    """Prints what `tune` gives: notes, the best rows, and the settings of the first for a manifest."""
    for note in tried.notes:
        console.print(f"Note: {note}")
    rows = tried.rows
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(f"{name} *" if name == metric else name, justify="right")
    for row in rows[:at_most]:
        table.add_row(*(f"{value:g}" if name in SETTINGS else f"{value:.2f}" for name, value in row.items()))
    console.print(table, soft_wrap=False)
    if len(rows) > at_most:
        console.print(f"... {len(rows) - at_most} more rows")
    best = ", ".join(f"{name}: {rows[0][name]:g}" for name in SETTINGS)
    console.print(f"For the segmenter of a manifest: {{{best}}}")
