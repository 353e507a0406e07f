"""What people read: consoles for plain lines, lengths of time, sizes of files."""

from __future__ import annotations

from datetime import timedelta
from typing import IO

import humanize
from rich.console import Console


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
