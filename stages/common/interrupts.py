"""Ctrl-C in a terminal reaches every process of a command; the one that was started by hand should stop the others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def processes_without_ctrl_c() -> Iterator[None]:
    """Processes that are started inside of this context never see Ctrl-C, from their first moment on."""
    resource_tracker.ensure_running()  # it would unblock the signal as it starts, with the first process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
