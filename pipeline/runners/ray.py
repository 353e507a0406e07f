"""A build on Ray, as the command sees it: another process drives Ray, and this one is well whatever happens there.

Nothing of Ray is imported here. Ray's code may abort its process, and its processes may die; the command then still
says what is lost in one sentence, and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

from pipeline.records import Receipt
from pipeline.runners.processes import in_session, kill_all
from pipeline.runners.ray_driver import RAY_PROCESSES, Order
from pipeline.unit import BuildSpec, Failures
from stages.common import LockError, RayLostError, UserError

_START_S = 120.0
_SILENCE_S = 25.0
_LEAVE_S = 10.0
_AFTER_DEATH_S = 0.5
_LOG_BYTES = 2**20
_PROGRAM = (
    "import sys; from multiprocessing.connection import Connection; connection = Connection(int(sys.argv[1])); "
    "sys.path[:] = connection.recv(); from pipeline.runners.ray_driver import main; main(connection)"
)


def run_ray(
    spec: BuildSpec,
    units: Sequence[int],
    poison_images: frozenset[str],
    on_receipt: Callable[[Receipt], None],
    say: Callable[[str], None],
    address: str | None = None,
    on_poison_image: Callable[[str], None] = lambda image_id: None,
) -> Failures:
    """Does the units on a Ray cluster.

    Args:
        spec: the build.
        units: numbers of the units to do.
        poison_images: ids of images to quarantine at once.
        on_receipt: called with every unit's receipt.
        say: called with a line for the user.
        address: of a running cluster; None takes the one that this process is connected to, or starts Ray.
        on_poison_image: called with the id of every image that is found to kill its process.

    Returns:
        Units that failed `max_attempts` times.

    Raises:
        UserError, LockError: the build cannot go on.
        RayLostError: Ray died, or does not answer or start.
    """
    if address:
        _check_reachable(address)
    takers: dict[str, Callable[[Any], None]] = {"receipt": on_receipt, "say": say, "poison_image": on_poison_image}
    with contextlib.closing(
        _Driver(Order(spec, units, poison_images, address or _cluster_of_this_process()))
    ) as driver:
        for kind, *values in driver.messages():
            if kind in takers:
                takers[kind](values[0])
            elif kind == "done":
                driver.let_leave()
                failures: Failures = values[0]
                return failures
            elif kind == "stop":
                raise (LockError if values[0] == "LockError" else UserError)(values[1])
            elif kind == "lost":
                raise RayLostError(f"{values[0]}{driver.log_note()}")
            elif kind == "crashed":
                driver.check()
                raise RuntimeError(f"in the process that drives Ray:\n{values[0]}")
    raise AssertionError("messages() ends by an error")


class _Driver:
    """The process that drives Ray, in a session of its own: a terminal's Ctrl-C reaches this process alone."""

    def __init__(self, order: Order) -> None:
        self._connection, theirs = Pipe()
        descriptor, name = tempfile.mkstemp(prefix="maskmine-ray-", suffix=".log")
        os.close(descriptor)
        self._log = open(name, "a+b")  # noqa: SIM115 - close() does
        self._keeps_log = False
        self._watched: dict[int, str] = {}
        self._started_here = True
        self._begun = self._heard = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:  # a signal, too: a process that was started ends with the connection
            Path(name).unlink()
            self._connection.close()
            raise
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # if it is dead already, messages() finds out
            self._connection.send(sys.path)
            self._connection.send(order)

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What the process tells, until the caller has heard enough.

        Raises:
            RayLostError: it, or a process of Ray, is gone or gives no sign of life.
        """
        is_connected = False
        while True:
            ready = wait([self._connection, *self._watched], timeout=1.0 if is_connected else 0.1)
            now = time.monotonic()
            if self._connection in ready:
                try:
                    message = self._connection.recv()
                except (EOFError, OSError):
                    raise RayLostError(self._end_of_driver()) from None
                self._heard = now
                if message[0] == "connected":
                    is_connected, self._started_here = True, message[1]
                    self._watch()
                elif message[0] != "beat":
                    yield message
                continue
            if not is_connected:
                self._watch()
                if now - self._begun > _START_S:
                    raise RayLostError(f"Ray did not start within {_START_S:.0f} s{self.log_note()}")
            elif now - self._heard > _SILENCE_S:
                raise RayLostError(f"Ray's driver gave no sign of life for {_SILENCE_S:.0f} s{self.log_note()}")
            self.check()
            self._shorten_log()

    def check(self) -> None:
        """Looks after Ray's processes on this machine.

        Raises:
            RayLostError: one has died.
        """
        if dead := [name for descriptor, name in self._watched.items() if wait([descriptor], timeout=0)]:
            # They die with the process that drives Ray, and are seen to be dead before it is.
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process.wait(_AFTER_DEATH_S) == -signal.SIGKILL:
                    raise RayLostError(self._end_of_driver())
            raise RayLostError(f"Ray's {' and '.join(sorted(dead))} on this machine died{self.log_note()}")

    def let_leave(self) -> None:
        """Lets the process take leave of a cluster that goes on; what was started for this build just ends."""
        if not self._started_here:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LEAVE_S)

    def close(self) -> None:
        """Ends the process and all that it has started."""
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        kill_all(lambda: in_session(self._process.pid))
        self._process.wait()
        for descriptor in self._watched:
            os.close(descriptor)
        if not self._keeps_log:
            Path(self._log.name).unlink(missing_ok=True)
        self._log.close()

    def _watch(self) -> None:
        """Takes note of Ray's processes as they appear.

        Raises:
            RayLostError: one has died before.
        """
        for process in in_session(self._process.pid):
            name = RAY_PROCESSES.get(process.name)
            if name is None or name in self._watched.values():
                continue
            try:
                descriptor = os.pidfd_open(process.pid)
            except ProcessLookupError:
                raise RayLostError(f"Ray's {name} on this machine died{self.log_note()}") from None
            except (OSError, AttributeError):  # no such call on an old kernel: the signs of life have to do
                continue
            self._watched[descriptor] = name

    def _end_of_driver(self) -> str:
        """Why nothing more will come: Ray's code ends its process when the raylet or the GCS is gone."""
        try:
            status = self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            return f"the process that drives Ray fell silent{self.log_note()}"
        # Ray's processes die with it. If but one of them is dead, or it was not killed, they may have been the cause.
        dead = wait(list(self._watched), timeout=0)
        if status != -signal.SIGKILL and len(dead) == 1:
            self.check()
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"the process that drives Ray {how}{self.log_note()}"

    def log_note(self) -> str:
        """Where Ray's last words are, if there are any; they are kept then."""
        self._keeps_log = os.fstat(self._log.fileno()).st_size > 0
        return f" (log: {self._log.name})" if self._keeps_log else ""

    def _shorten_log(self) -> None:
        if os.fstat(self._log.fileno()).st_size > _LOG_BYTES:
            self._log.truncate(0)


def _cluster_of_this_process() -> str | None:
    """The cluster that a program has connected to before it called this library."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    return str(ray.get_runtime_context().gcs_address)


def _check_reachable(address: str) -> None:
    """Fails at once where Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"{address}: nothing answers there ({error}); check `ray status`") from error
