"""The command's first and last moments: whatever it is doing, a signal ends it with one line and the right status.

The handlers stand before anything heavy is imported. A signal first raises an exception, so that the command can tidy
up. Libraries may swallow it, or be in the middle of C code; so after some seconds, or at the second signal, the process
ends without asking anybody.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_GRACE_S = 5.0
_AFTER_A_STOP = {
    "build": "What is done is kept: the same command goes on from here.",
    "train": "The same command goes on from the last checkpoint, or from the start if there is none yet.",
    "evaluate": "With --out, the pictures done are kept: the same command goes on from here.",
    "reproduce": "What is done is kept: the same command goes on from here.",
    "world": "The folder is unfinished: remove it before the next try.",
}
_INTERRUPTED = 128 + signal.SIGINT


class Stop:
    """Takes SIGINT and SIGTERM.

    Attributes:
        number: of the signal that came first; None so far.
        is_ending: whether nothing is left to tidy up, so that a signal ends the process at once.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_ending = False
        self._has_said, self._saying = False, threading.Lock()
        self._pid = os.getpid()

    def install(self) -> None:
        """From here on, signals end the command by exit status 128 + their number."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        threading.Thread(target=self._end_late, args=(reader,), daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            # What runs in the background of a script ignores Ctrl-C, which is for the script's foreground.
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take)
        # Python calls handlers between two steps of its main thread; this tells the other thread at once.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a fork's signals are its own

    def say_farewell(self) -> None:
        """Prints the line that tells of the stop, once, whichever thread comes first."""
        with self._saying:
            if not self._has_said:
                self._has_said = True
                _print(farewell())

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a fork that has inherited the handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        first = self.number is None
        self.number = self.number or number
        if self.is_ending or not first:
            self._end()
        raise KeyboardInterrupt

    def _end_late(self, reader: int) -> None:
        """Ends the process if the exception has not: in its own thread."""
        number = self._next_stop(reader, None)
        self._next_stop(reader, time.monotonic() + _GRACE_S)
        self.number = self.number or number
        self._end()

    def _next_stop(self, reader: int, until: float | None) -> int | None:
        """The next SIGINT or SIGTERM; None if there is none in time. Others, such as a child's end, come here, too."""
        while until is None or (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([reader], [], [], None if until is None else left)
            if ready and (number := os.read(reader, 1)[0]) in (signal.SIGINT, signal.SIGTERM):
                return number
        return None

    def _end(self) -> NoReturn:
        assert self.number is not None
        if sys.__stdout__ and sys.__stdout__.isatty():
            os.write(1, b"\x1b[?25h")  # a live bar hides the cursor
        self.say_farewell()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a library says of the end of its processes is no news
        from pipeline.runners.processes import below, kill_all

        own = os.getpid()
        kill_all(lambda: below(own), wait_s=2.0)
        os._exit(128 + self.number)


def main(command: Callable[[], object] | None = None) -> None:
    """Runs the command `maskmine`, or another one with the same ends.

    A user's mistake is one message and exit status 2; a lost Ray is one and 1; Ctrl-C is 130 and SIGTERM 143.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that is no UTF-8, and a terminal of ASCII, are no errors
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    stop = Stop()
    try:
        try:
            install(stop)
            if command is not None:
                command()
            else:
                from pipeline.cli.app import app

                app(prog_name="maskmine")
        finally:
            stop.is_ending = stop.number is None
    except BaseException as error:
        status = _status(error, stop)
        stop.is_ending = True
        if status is None:
            raise
        raise SystemExit(status) from None


def install(stop: Stop) -> None:
    """Installs the handlers; tests in one process replace this."""
    stop.install()


def _status(error: BaseException, stop: Stop) -> int | str | None:
    """The exit status, after saying why; None if the error is maskmine's own and shows its traceback."""
    typer_s_way = isinstance(error, SystemExit) and error.code == _INTERRUPTED
    if stop.number is not None or typer_s_way or isinstance(error, KeyboardInterrupt):
        # Any error after a signal is its consequence: a library may have turned it into one of its own.
        stop.say_farewell()
        return 128 + (stop.number or signal.SIGINT)
    from stages.common import RayLostError, UserError

    if isinstance(error, UserError):
        _print(f"maskmine: {error}")
        return 2
    if isinstance(error, RayLostError):
        _print(f"maskmine: {error}")
        return 1
    return None


def farewell() -> str:
    """What a stopped command says."""
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    return f"\nmaskmine: stopped. {_AFTER_A_STOP.get(command, '')}".rstrip()


def _print(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
