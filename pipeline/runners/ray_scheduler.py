"""Units on Ray Core actors: pools of stages, a bounded window, finite attempts; halving finds poison images.

It runs in the process that ray_driver is; only these two files import Ray. An actor runs one task at a time and is
never restarted by Ray, so that a dead process has exactly one suspect, and how often it is tried again is decided here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.manifest import Pool
from pipeline.plan import read_unit
from pipeline.records import Receipt
from pipeline.runners.ray_pools import Worker
from pipeline.unit import BuildSpec, Failures
from stages.common import Folder, LockError, RayLostError, UserError

_FAILED_STARTS = 20
_NO_WORKER_S = 180.0
"""So long nothing may run while Ray starts no worker either."""
_LIFE_SIGN_S = 30.0
_DEATHS_OF_ONE = 2
"""An image that is alone with its process must have died so often before it is called a poison image."""


@dataclass(slots=True)
class Job:
    """A unit, or a probe of some of its images, on its way through the pools.

    Attributes:
        only: ids of the images of a probe; None for the whole unit.
        attempts: how often it died or failed so far.
        pool: index of the pool that it waits for or runs in.
        work: reference to the unit's state between pools.
    """

    unit: int
    only: frozenset[str] | None = None
    attempts: int = 0
    pool: int = 0
    work: Any = None


@dataclass(slots=True)
class Search:
    """The search for the images that kill a unit's process."""

    open_probes: int = 0
    found: set[str] = field(default_factory=set)


class Scheduler:
    """Moves jobs through the pools; see runners.ray.run_ray.

    Args:
        spec: the build.
        pools: what to start.
        poison_images: ids of images to quarantine at once.
        on_receipt: called with every unit's receipt.
        say: called with a line for the user.
        on_poison_image: called with the id of every image that is found to kill its process.
        check_ray: called after a worker's death; raises RayLostError if Ray died with it, which is no unit's fault. Its
            argument says whether an image is about to be blamed.
    """

    def __init__(
        self,
        spec: BuildSpec,
        pools: Sequence[Pool],
        poison_images: frozenset[str],
        on_receipt: Callable[[Receipt], None],
        say: Callable[[str], None],
        on_poison_image: Callable[[str], None],
        check_ray: Callable[[bool], None],
    ) -> None:
        self._check_ray = check_ray
        self._spec, self._pools, self._poison_images = spec, pools, poison_images
        self._on_receipt, self._say, self._on_poison_image = on_receipt, say, on_poison_image
        self._max_attempts = spec.manifest.run.max_attempts
        self._waiting: list[deque[Job]] = [deque() for _ in pools]
        self._idle: list[list[Any]] = [[] for _ in pools]
        self._starting: dict[Any, tuple[int, Any]] = {}
        self._running: dict[Any, tuple[Job, Any]] = {}
        self._failed_starts = 0
        self._searches: dict[int, Search] = {}
        self._failures: Failures = {}

    def run(self, units: Sequence[int]) -> Failures:
        """Does all units.

        Returns:
            Units that failed `max_attempts` times.

        Raises:
            UserError, LockError: the build cannot go on.
            RayLostError: Ray is gone, or starts no worker.
        """
        for number, pool in enumerate(self._pools):
            for _ in range(pool.actors):
                self._start_actor(number)
        todo = deque(units)
        window = self._spec.manifest.run.window * sum(pool.actors for pool in self._pools)
        while True:
            while todo and self._in_flight() < window:
                self._waiting[0].append(Job(todo.popleft()))
            self._launch()
            if not self._in_flight():
                return self._failures
            for status in self._wait():
                if status in self._starting:
                    self._started(status)
                else:
                    self._finish(status)

    def _wait(self) -> list[Any]:
        """Waits until an actor has started or ended something; not for ever if nothing runs."""
        import ray

        start = time.monotonic()
        while True:
            ready, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=_LIFE_SIGN_S)
            if ready:
                return list(ready)
            waited = time.monotonic() - start
            if not self._running and waited > _NO_WORKER_S:
                raise RayLostError(
                    f"Ray started no worker within {waited:.0f} s (does one fit on a machine of the cluster, "
                    "and is the cluster free?)"
                )
            if not self._running:
                self._say(f"waiting for Ray to start a worker ({waited:.0f} s)")

    def close(self) -> None:
        """Stops the actors, so that none goes on after the driver has."""
        import ray

        actors = [actor for _, actor in [*self._running.values(), *self._starting.values()]]
        actors += [actor for pool in self._idle for actor in pool]
        for actor in actors:
            ray.kill(actor)

    def _in_flight(self) -> int:
        return len(self._running) + sum(len(waiting) for waiting in self._waiting)

    def _start_actor(self, number: int) -> None:
        """Asks Ray for an actor; it gets work once it is up, so that a full cluster stalls no unit."""
        import ray

        pool = self._pools[number]
        actor: Any = (
            ray.remote(Worker)
            .options(num_cpus=pool.cpus, num_gpus=pool.gpus, max_restarts=0, max_task_retries=0, max_concurrency=1)
            .remote(self._spec, pool.stages)
        )
        self._starting[actor.ready.remote()] = (number, actor)

    def _started(self, ready: Any) -> None:  # noqa: ANN401 - Ray's reference
        import ray

        number, actor = self._starting.pop(ready)
        try:
            ray.get(ready)
        except ray.exceptions.RayError as error:
            self._check_ray(False)
            self._failed_starts += 1
            if self._failed_starts > _FAILED_STARTS:
                raise UserError(f"Ray's workers die as they start: {str(error).splitlines()[0]}") from error
            self._start_actor(number)
            return
        self._idle[number].append(actor)

    def _launch(self) -> None:
        # Later pools first: what is nearly done frees the window.
        for number in reversed(range(len(self._pools))):
            while self._idle[number] and self._waiting[number]:
                job, actor = self._waiting[number].popleft(), self._idle[number].pop()
                run = actor.run.options(num_returns=2)
                status, job.work = run.remote(job.unit, self._poison_images, job.only, job.work)
                self._running[status] = (job, actor)

    def _finish(self, status: Any) -> None:  # noqa: ANN401 - Ray's reference
        import ray

        job, actor = self._running.pop(status)
        try:
            answer = ray.get(status)
        except ray.exceptions.RayError as error:
            self._check_ray(job.only is not None and len(job.only) == 1)
            self._start_actor(job.pool)
            self._died(job, str(error).splitlines()[0])
            return
        self._idle[job.pool].append(actor)
        if "stop" in answer:
            raise (LockError if answer["stop"] == "LockError" else UserError)(answer["message"])
        if "failed" in answer:
            self._failed(job, answer["failed"])
        elif job.pool + 1 < len(self._pools):
            job.pool += 1
            self._waiting[job.pool].append(job)
        elif job.only is None:
            self._failures.pop(job.unit, None)
            self._on_receipt(answer["receipt"])
        else:
            self._probe_ended(job)

    def _again(self, job: Job) -> None:
        job.pool, job.work = 0, None
        self._waiting[0].appendleft(job)

    def _failed(self, job: Job, reason: str) -> None:
        """An error that is no sample's fault: storage, memory."""
        job.attempts += 1
        self._say(f"unit {job.unit}, attempt {job.attempts}: {reason}")
        if job.attempts < self._max_attempts:
            self._again(job)
        elif job.only is not None:
            self._probe_ended(job)
        else:
            self._failures[job.unit] = reason

    def _died(self, job: Job, reason: str) -> None:
        job.attempts += 1
        if job.only is not None:
            self._probe_died(job)
            return
        self._say(f"unit {job.unit}: its process died (attempt {job.attempts} of {self._max_attempts})")
        if job.attempts < self._max_attempts:
            self._again(job)
        elif job.unit in self._searches:
            self._failures[job.unit] = f"its process goes on dying, though no single image is to blame: {reason}"
        else:
            self._searches[job.unit] = Search()
            self._say(f"unit {job.unit}: looking for the image that kills its process")
            self._split(job.unit, self._images_of(job.unit))

    def _images_of(self, unit: int) -> list[str]:
        return [record.image_id for record in read_unit(Folder(self._spec.out_url), unit)]

    def _split(self, unit: int, images: Sequence[str]) -> None:
        middle = (len(images) + 1) // 2
        for half in (images[:middle], images[middle:]):
            if half:
                self._searches[unit].open_probes += 1
                self._waiting[0].append(Job(unit, frozenset(half)))

    def _probe_died(self, job: Job) -> None:
        assert job.only is not None
        if len(job.only) == 1 and job.attempts < _DEATHS_OF_ONE:
            self._again(job)
            return
        if len(job.only) == 1:
            (image_id,) = job.only
            self._searches[job.unit].found.add(image_id)
            self._say(f"unit {job.unit}: image {image_id} kills its process; quarantined")
            self._on_poison_image(image_id)
        else:
            self._split(job.unit, sorted(job.only))
        self._probe_ended(job)

    def _probe_ended(self, job: Job) -> None:
        search = self._searches[job.unit]
        search.open_probes -= 1
        if search.open_probes == 0:
            self._poison_images |= search.found
            self._waiting[0].append(Job(job.unit))
