"""The folder of a training run: a state to go on from, and a log without the lines of steps that are done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import torch

from stages.common import UserError

_STATE = "state.pt"
_LOG = "log.jsonl"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Writes the state whole or not at all; nothing but tensors and plain values can be read again."""
    partial = folder / f"{_STATE}.partial"
    torch.save(state, partial)
    partial.replace(folder / _STATE)


def load_state(folder: Path, recipe: str, precision: str | None = None) -> dict[str, Any] | None:
    """The state of an earlier run, on the CPU; None if there is none.

    Args:
        folder: of the run.
        recipe: digest that the state must have under ``recipe``.
        precision: of this run; the state's, under ``precision``, may be what differs.

    Raises:
        UserError: it is of another recipe, or damaged.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # damaged files raise errors of many kinds
        raise UserError(f"{path}: cannot be read ({error}); remove it to begin again") from error
    if state["recipe"] != recipe:
        began = state.get("precision")
        if precision is not None and began not in (None, precision):
            raise UserError(
                f"{folder}: holds a run that computes in {began}, and this one would in {precision}; "
                f"set precision: {began}, choose another folder, or remove it"
            )
        raise UserError(f"{folder}: holds a run of another recipe; choose another folder, or remove it")
    return state


def open_log(folder: Path, step: int) -> TextIO:
    """log.jsonl for more lines, without those of steps after `step`."""
    path = folder / _LOG
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # cut off by a crash
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))
    partial.replace(path)
    return path.open("a")


def write_line(log: TextIO, line: dict[str, Any]) -> None:
    """Adds a line, at once."""
    log.write(json.dumps(line) + "\n")
    log.flush()
