"""How long work says what it is doing: a callback, given by whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called when something begins, and with what of it is done.

    Args:
        what: is being done, such as ``reading shards``; another text begins another part of the work.
        done: how much of it.
        total: of how much; None if that is not known.
    """

    def __call__(self, what: str, done: int = 0, total: int | None = None) -> None: ...


def silent(what: str, done: int = 0, total: int | None = None) -> None:
    """Shows nothing."""
