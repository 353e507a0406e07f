"""Pools without Ray: how wide a build runs on a cluster, and what an actor says of an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.manifest import STAGES, BuildManifest, Pool, Run
from pipeline.runners.ray_pools import Worker, check_resources, pools_of
from pipeline.unit import BuildSpec
from stages.common import UserError

Make = Callable[..., BuildManifest]
TWO_CPUS = [{"CPU": 1.0}, {"CPU": 1.0, "memory": 5.0}]


def test_without_pools_each_processor_gets_an_actor_of_all_stages() -> None:
    (pool,) = pools_of(Run(), TWO_CPUS)
    assert (pool.stages, pool.actors, pool.gpus) == (STAGES, 2, 0)


def test_gpus_are_shared_among_the_workers_asked_for() -> None:
    (pool,) = pools_of(Run(workers=4), [{"CPU": 8.0, "GPU": 2.0}])
    assert (pool.actors, pool.gpus) == (4, 0.5)
    (pool,) = pools_of(Run(), [{"CPU": 8.0, "GPU": 2.0}])
    assert (pool.actors, pool.gpus) == (2, 1)


def test_pools_of_the_manifest_are_taken_as_they_are() -> None:
    pools = (Pool(stages=STAGES[:2]), Pool(stages=STAGES[2:], actors=3))
    assert pools_of(Run(pools=pools), []) == pools


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (Pool(actors=3), "want 3 CPUs in all, at most 1 in one; the Ray cluster has 2 on 2 machine"),
        (Pool(cpus=2), "want 2 CPUs in all, at most 2 in one"),
        (Pool(gpus=1), "want 1 GPUs in all"),
    ],
)
def test_actors_that_fit_on_no_machine_are_refused(pool: Pool, words: str) -> None:
    check_resources([Pool(actors=2)], TWO_CPUS)
    with pytest.raises(UserError, match=words):
        check_resources([pool], TWO_CPUS)


def test_worker_of_another_release_stops_the_build(manifest: Make, tmp_path: Path) -> None:
    spec = BuildSpec(manifest(), "plan", str(tmp_path), None, "another release", {})
    status, work = Worker(spec, STAGES).run(0, frozenset(), None, None)
    assert work is None
    assert status["stop"] == "UserError"
    assert "other library versions" in status["message"]
