"""Scores on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {
    "ar": "AR",
    "ar_small": "small",
    "ar_medium": "medium",
    "ar_large": "large",
    "recall_50": "recall 0.5",
    "recall_75": "recall 0.75",
}


def print_proposals(scores: dict[str, Any], console: Console) -> None:
    """Prints what evaluate_proposals gives: a row for each part, and number of proposals that are looked at first."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "masks", "first", *_COLUMNS.values()):
        table.add_column(name, justify="right" if name else "left")
    limits = [key.partition("@")[2] for key in scores if key.startswith("all/ar@")]
    for part in (key.removesuffix("/masks") for key in scores if key.endswith("/masks") and scores[key]):
        for number, limit in enumerate(limits):
            values = [scores[f"{part}/{name}@{limit}"] for name in _COLUMNS]
            title, masks = (_title(part), f"{scores[f'{part}/masks']:,}") if number == 0 else ("", "")
            table.add_row(title, masks, limit, *("-" if value is None else f"{value:.3f}" for value in values))
    console.print(table, soft_wrap=False)
    speed = f"{scores['photos_per_second']:.2f} photos a second"
    console.print(f"{scores['photos']:,} photos, {scores['proposals_per_photo']:.1f} proposals a photo; {speed}")
    for note in scores["notes"]:
        console.print(note)
    if without := scores["photos_without_truth"]:
        console.print(f"without a true mask: {without:,} photos; they count for nothing")


def _title(part: str) -> str:
    """That of things_seen stands indented below that of things."""
    _, is_split, split = part.partition("_")
    return f"  {split}" if is_split else part
