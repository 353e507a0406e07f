"""Processes of this machine as /proc shows them: who is below whom, and how to end them all."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A line of the process table; `is_dead` while its parent has not taken note of its end."""

    pid: int
    parent: int
    session: int
    name: str
    is_dead: bool


def processes() -> list[Process]:
    """All processes; none on a system without /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        # The name stands in brackets and may hold brackets and spaces itself.
        name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        found.append(Process(int(folder.name), int(rest[1]), int(rest[3]), name, rest[0] in "ZX"))
    return found


def in_session(session: int) -> list[Process]:
    """The processes of a session, which those stay in whose parent has died."""
    return [process for process in processes() if process.session == session]


def below(pid: int) -> list[Process]:
    """The processes that a process has started, and those that these have started, and so on."""
    table = processes()
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in table if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def kill_all(those: Callable[[], list[Process]], wait_s: float = 5.0) -> None:
    """Kills processes until none is left of them, as they may start others meanwhile.

    Args:
        those: lists them; is called again and again.
        wait_s: how long to try. A process that waits for a broken disk cannot be killed.
    """
    until = time.monotonic() + wait_s
    own = os.getpid()
    while victims := [process.pid for process in those() if not process.is_dead and process.pid != own]:
        for pid in victims:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            return
        time.sleep(0.02)
