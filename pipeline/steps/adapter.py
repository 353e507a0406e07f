"""Runs steps on units, and keeps the books: the steps themselves know neither the cache nor the clock."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from pipeline.cache import Cache
from pipeline.fingerprint import library_fingerprint
from pipeline.manifest import STAGES, StageName
from pipeline.plan import differences, model_hashes, read_unit
from pipeline.records import FORMAT, Effort, Receipt, Written, receipt_name, unit_key
from pipeline.steps.matching import MatchPairs
from pipeline.steps.nouns import FindNouns
from pipeline.steps.proposals import ProposeMasks
from pipeline.steps.read import ReadImages
from pipeline.steps.shards import WriteShards
from pipeline.unit import BuildSpec, CachedStep, ImageWork, PlainStep, Task, UnitWork, each_image
from stages.common import Folder, UserError, ahead, canonical_json, digest, limit_threads

_STEPS: dict[StageName, Callable[[BuildSpec], PlainStep | CachedStep[Any, Any]]] = {
    "read": ReadImages,
    "nouns": FindNouns,
    "proposals": ProposeMasks,
    "matching": MatchPairs,
    "shards": WriteShards,
}


class StepAdapter:
    """The steps of some stages, loaded in this process.

    Args:
        spec: the build.
        stages: which; all if not given.
    """

    def __init__(self, spec: BuildSpec, stages: Sequence[StageName] = STAGES) -> None:
        limit_threads(spec.manifest.compute.threads)
        self._spec = spec
        self._cache = Cache(spec.cache_url)
        self._put: set[str] = set()  # of the unit: looked up ahead, they were not there yet
        self._steps = [_STEPS[stage](spec) for stage in stages]
        self._identities = {step.stage: step.identity for step in self._steps if isinstance(step, CachedStep)}

    def run(self, unit: UnitWork) -> None:
        """Runs the steps on a unit, one after the other; changes it in place, and commits it if it was written.

        Raises:
            UserError, LockError: the build cannot go on.
        """
        for step in self._steps:
            with _timed(unit, step.stage):
                if isinstance(step, CachedStep):
                    self._run_cached(unit, step)
                else:
                    step.run(unit)
        if unit.written is not None:
            unit.receipt = self._commit(unit, *unit.written)

    def _commit(self, unit: UnitWork, shard: Written, rows: Written) -> Receipt:
        """Writes the receipt, by which the unit is done."""
        seconds = {stage: round(spent, 3) for stage, spent in sorted(unit.seconds.items())}
        receipt = Receipt(
            format=FORMAT,
            unit=unit.number,
            key=unit.key,
            shard=shard,
            rows=rows,
            images_root=unit.images_root(),
            counts=unit.counts(),
            fingerprint=self._spec.fingerprint,
            devices=unit.devices,
            run=Effort(seconds=seconds, done=dict(unit.done)),
        )
        Folder(self._spec.out_url).write(receipt_name(unit.number), canonical_json(receipt.values()))
        return receipt

    def _run_cached(self, unit: UnitWork, step: CachedStep[Any, Any]) -> None:
        if step.computes_on:
            unit.devices[step.stage] = step.computes_on
        tasks = list(step.tasks(unit))
        self._put.clear()
        with ahead(self._looked_up(step, task) for task in tasks) as looked_up:
            for task, found in zip(tasks, looked_up, strict=True):
                with _blame(unit, step.stage, task.image):
                    step.apply(task.content, self._result(unit, step, task, found))
        step.finish(unit)

    def _looked_up(self, step: CachedStep[Any, Any], task: Task[Any]) -> _LookedUp:
        """A task's entry of the cache; or, without one, what its computation needs. In a thread of its own."""
        try:
            key = digest([self._spec.fingerprint, self._identities[step.stage], step.key(task.content)])
            entry = self._cache.get(step.kind, key)
            return _LookedUp(key, entry, step.prepare(task.content) if entry is None else None)
        except Exception as error:  # raised where the image is at hand that it quarantines
            return _LookedUp(error=error)

    def _result(self, unit: UnitWork, step: CachedStep[Any, Any], task: Task[Any], found: _LookedUp) -> Any:  # noqa: ANN401
        if found.error is not None:
            raise found.error
        computed, cached = step.statistics
        entry = self._cache.get(step.kind, found.key) if found.key in self._put else found.entry
        if entry is not None:
            unit.done[cached] += task.size
            return step.decode(entry)
        result = step.compute(task.content, found.prepared)
        unit.done[computed] += task.size
        if (made := step.encode(result)) is not None:
            self._cache.put(step.kind, found.key, made)
            self._put.add(found.key)
        return result


@dataclass(frozen=True, slots=True)
class _LookedUp:
    """Key and entry of a task in the cache, what its computation needs if there is no entry, or what went wrong."""

    key: str = ""
    entry: bytes | None = None
    prepared: Any = None
    error: Exception | None = None


def start_unit(
    spec: BuildSpec, number: int, poison_images: frozenset[str], only: frozenset[str] | None = None
) -> UnitWork:
    """A unit as planned, at its beginning; `only` makes it a probe of the images with these ids."""
    first = number * spec.manifest.shards.images_per_shard
    records = enumerate(read_unit(Folder(spec.out_url), number), start=first)
    images = [ImageWork(record, row) for row, record in records if only is None or record.image_id in only]
    return UnitWork(number, unit_key(spec.plan_digest, number), images, poison_images, only is not None)


def check_same(spec: BuildSpec) -> None:
    """Makes sure that this process has the driver's libraries, code and models.

    Raises:
        UserError: it has not, so that its floats could differ.
    """
    if digest(library_fingerprint()) != spec.fingerprint:
        raise UserError(
            f"{socket.gethostname()}: a worker has other library versions than this command; install the same release "
            "of maskmine on all machines"
        )
    if changed := differences(spec.models, model_hashes(spec.manifest)):
        raise UserError(f"{socket.gethostname()}: a worker sees other model files:\n  " + "\n  ".join(changed))


def _blame(unit: UnitWork, stage: StageName, image: ImageWork | None) -> AbstractContextManager[None]:
    return nullcontext() if image is None else each_image(unit, image, stage)


@contextmanager
def _timed(unit: UnitWork, stage: StageName) -> Iterator[None]:
    """Adds the wall seconds of a block to a unit's stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        unit.seconds[stage] = unit.seconds.get(stage, 0.0) + time.perf_counter() - start
