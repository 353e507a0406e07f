"""The process that drives Ray for a build, and its watch over Ray; runners.ray starts it and takes its messages.

Ray's own code may end the process that it runs in, by abort or exit, when the raylet or the GCS is gone. That is why it
is not the command's process. All that is worth telling goes to the command as small messages; the last one says how it
ended. When the command is gone, however it ended, this process ends itself and all that it has started.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from pipeline.runners.processes import in_session, kill_all
from pipeline.runners.ray_pools import check_resources, pools_of
from pipeline.runners.ray_scheduler import Scheduler
from pipeline.unit import BuildSpec
from stages.common import LockError, RayLostError, UserError

RAY_PROCESSES = {"raylet": "raylet", "gcs_server": "GCS (gcs_server)"}
"""The two processes without which nothing goes on: name in the process table -> name for a person."""

_OBJECT_STORE_BYTES = 512 * 1024 * 1024
_ASK_EVERY_S = 2.0
_NO_ANSWER_S = 20.0
_DEAD_MAN_S = 60.0
_SETTLE_S = 0.5
_SETTLE_BEFORE_BLAME_S = 3.0


@dataclass(frozen=True, slots=True)
class Order:
    """What the command wants done; see runners.ray.run_ray."""

    spec: BuildSpec
    units: Sequence[int]
    poison_images: frozenset[str]
    address: str | None


class Messages:
    """The way back to the command; several threads may use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, kind: str, *values: object) -> None:
        with self._lock:
            self._connection.send((kind, *values))


def main(connection: Connection) -> None:
    """Does what the first message orders, and tells the end of it."""
    os.set_inheritable(connection.fileno(), False)  # or Ray's processes would hold the pipe open
    order: Order = connection.recv()
    threading.Thread(target=_end_with_the_command, args=(connection,), daemon=True).start()
    messages = Messages(connection)
    try:
        _drive(order, messages)
    except (UserError, LockError) as error:
        messages.send("stop", type(error).__name__, str(error))
    except RayLostError as error:
        messages.send("lost", error.what)
    except Exception as error:
        kind = "lost" if type(error).__module__.partition(".")[0] == "ray" else "crashed"
        text = f"Ray failed ({_first_line(error)})" if kind == "lost" else traceback.format_exc()
        messages.send(kind, text)


def _end_with_the_command(connection: Connection) -> None:
    """Waits for the end of the command, and ends with it."""
    while True:
        # Should Ray's code ever stop all threads of this process, this still ends it.
        faulthandler.dump_traceback_later(_DEAD_MAN_S, exit=True, file=2)
        try:
            if connection.poll(_DEAD_MAN_S / 6):
                connection.recv()
        except (EOFError, OSError):
            kill_all(lambda: in_session(os.getsid(0)))
            os.kill(os.getpid(), signal.SIGKILL)


def _drive(order: Order, messages: Messages) -> None:
    import ray

    _connect(order)
    try:
        started_here = any(process.name in RAY_PROCESSES for process in in_session(os.getsid(0)))
        watch = Watch(messages, ray.get_runtime_context().gcs_address, started_here)
        messages.send("connected", started_here)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        pools = pools_of(order.spec.manifest.run, nodes)
        check_resources(pools, nodes)
        scheduler = Scheduler(
            order.spec,
            pools,
            order.poison_images,
            lambda receipt: messages.send("receipt", receipt),
            lambda line: messages.send("say", line),
            lambda image_id: messages.send("poison_image", image_id),
            watch.check,
        )
        try:
            failures = scheduler.run(order.units)
            messages.send("done", failures)
        finally:
            if not started_here:  # otherwise they end with Ray
                scheduler.close()
    finally:
        if not started_here:
            ray.shutdown()


def _connect(order: Order) -> None:
    """Connects to the cluster at the order's address, or starts Ray here.

    Raises:
        UserError: the cluster cannot be reached.
        RayLostError: Ray does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    run, address = order.spec.manifest.run, order.address
    if address:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            hint = "If the cluster was started by `ray start`, which asks for a token, set RAY_AUTH_MODE=token."
            raise UserError(f"{address}: cannot connect to Ray: {error}\n{hint}") from error
        return
    wanted = sum(pool.actors * pool.cpus for pool in run.pools) or (run.workers or 0)
    try:
        ray.init(
            address="local",  # or it would join a cluster that somebody else has started on this machine
            num_cpus=max(os.cpu_count() or 1, math.ceil(wanted)),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:
        raise RayLostError(f"Ray did not start ({_first_line(error)})") from error


class Watch:
    """Asks the GCS again and again, and tells the command that all is well, or what is lost.

    Args:
        messages: the way to the command.
        gcs_address: host and port.
        started_here: whether Ray's processes are this session's.
    """

    def __init__(self, messages: Messages, gcs_address: str, started_here: bool) -> None:
        self._messages, self._gcs_address, self._started_here = messages, gcs_address, started_here
        self._answered = time.monotonic()
        self._raylet_address = ""
        self._lost: str | None = None
        for work in (self._ask, self._tell):
            threading.Thread(target=work, daemon=True).start()

    def check(self, blames_an_image: bool) -> None:
        """After a worker's death: did Ray itself die?

        Raises:
            RayLostError: it did.
        """
        # A raylet that goes down takes its workers with it, and may itself take a moment longer.
        time.sleep(_SETTLE_BEFORE_BLAME_S if blames_an_image else _SETTLE_S)
        if lost := self._lost or self._missing():
            raise RayLostError(lost)

    def _ask(self) -> None:
        """Only an answer counts: where the GCS is gone, the question may take for ever or end in any error."""
        import ray

        own = ray.get_runtime_context().get_node_id()
        while True:
            try:
                nodes = ray.nodes()  # type: ignore[no-untyped-call]
            except Exception:
                traceback.print_exc()
            else:
                self._answered = time.monotonic()
                here = next((node for node in nodes if node["NodeID"] == own), None)
                if here and here["Alive"]:
                    self._raylet_address = f"{here['NodeManagerAddress']}:{here['NodeManagerPort']}"
                else:
                    self._lost = "Ray took this machine for dead"
            time.sleep(_ASK_EVERY_S)

    def _tell(self) -> None:
        while True:
            if time.monotonic() - self._answered > _NO_ANSWER_S:
                self._lost = f"Ray's GCS at {self._gcs_address} has not answered for {_NO_ANSWER_S:.0f} s"
            elif not self._started_here and not self._lost:
                self._lost = self._missing()
            try:
                self._messages.send(*(("lost", self._lost) if self._lost else ("beat",)))
            except OSError:  # the command has heard enough
                return
            time.sleep(_ASK_EVERY_S)

    def _missing(self) -> str | None:
        """What of Ray can be seen to be gone. The command watches processes that were started here more closely."""
        if self._started_here:
            there = {process.name for process in in_session(os.getsid(0)) if not process.is_dead}
            gone = [name for process, name in RAY_PROCESSES.items() if process not in there]
            return f"Ray's {gone[0]} on this machine died" if gone else None
        if _is_refused(self._gcs_address):
            return f"Ray's GCS at {self._gcs_address} died"
        if self._raylet_address and _is_refused(self._raylet_address):
            return "Ray's raylet on this machine died"
        return None


def _is_refused(address: str) -> bool:
    """Whether no process listens at a host's port. A slow network proves nothing."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]
