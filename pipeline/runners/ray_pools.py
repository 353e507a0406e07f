"""Pools of actors: how many a cluster gets, and what each of them runs. Imports nothing of Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.manifest import STAGES, Pool, Run, StageName
from pipeline.steps import StepAdapter, check_same, start_unit
from pipeline.unit import BuildSpec, UnitWork
from stages.common import LockError, UserError


class Worker:
    """What an actor runs: some consecutive stages. Errors are returned as text, so that nothing odd is pickled."""

    def __init__(self, spec: BuildSpec, stages: tuple[StageName, ...]) -> None:
        self._spec, self._stages = spec, stages
        self._adapter: StepAdapter | None = None

    def ready(self) -> None:
        """Returns once the actor is up."""

    def run(
        self, unit: int, poison_images: frozenset[str], only: frozenset[str] | None, work: UnitWork | None
    ) -> tuple[dict[str, Any], UnitWork | None]:
        """Runs the stages; gives a small status for the driver, and the unit's state for the next pool."""
        try:
            if self._adapter is None:
                check_same(self._spec)
                self._adapter = StepAdapter(self._spec, self._stages)
            work = start_unit(self._spec, unit, poison_images, only) if work is None else work
            self._adapter.run(work)
        except (UserError, LockError) as error:
            return {"stop": type(error).__name__, "message": str(error)}, None
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"[:500]}, None
        if self._stages[-1] == STAGES[-1]:
            return {"receipt": work.receipt}, None
        return {}, work


def pools_of(run: Run, nodes: Sequence[dict[str, float]]) -> tuple[Pool, ...]:
    """The pools that a manifest asks for; without any, one of `workers` actors that run all stages.

    Args:
        run: the manifest's part.
        nodes: resources of the cluster's machines.
    """
    if run.pools:
        return run.pools
    cpus, gpus = (sum(node.get(key, 0.0) for node in nodes) for key in ("CPU", "GPU"))
    workers = run.workers or int(gpus) or int(cpus) or 1
    return (Pool(stages=STAGES, actors=workers, cpus=1, gpus=min(1.0, gpus / workers)),)


def check_resources(pools: Sequence[Pool], nodes: Sequence[dict[str, float]]) -> None:
    """Makes sure that the pools' actors fit on the cluster's machines.

    Args:
        pools: what to start.
        nodes: resources of the cluster's machines.

    Raises:
        UserError: they do not.
    """
    for key in ("CPU", "GPU"):
        each = [(pool.cpus if key == "CPU" else pool.gpus, pool.actors) for pool in pools]
        need, have = sum(size * actors for size, actors in each), [node.get(key, 0.0) for node in nodes]
        if need > sum(have) or max(size for size, _ in each) > max(have, default=0.0):
            raise UserError(
                f"run: the actors want {need:g} {key}s in all, at most {max(size for size, _ in each):g} in one; "
                f"the Ray cluster has {sum(have):g} on {len(nodes)} machine(s). Lower run.workers or run.pools, "
                "or add machines"
            )
