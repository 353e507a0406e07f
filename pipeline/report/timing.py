"""How long the runs of a build took. Times identify nothing: they stay in .maskmine, out of everything hashed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pipeline.records import Counts, Receipt, read_receipts
from stages.common import Folder, canonical_json

RUNS = ".maskmine/runs.jsonl"
_AT_ONCE = 500  # receipts in memory


@contextmanager
def timed_run(store: Folder, receipts: Mapping[int, Receipt], runner: str) -> Iterator[None]:
    """Adds a line to .maskmine/runs.jsonl about what was done within, if anything was: also if it fails.

    Args:
        store: the build's folder.
        receipts: of the units that are done, by unit; grows within.
        runner: what does the units.
    """
    before, start = set(receipts), time.monotonic()
    try:
        yield
    finally:
        seconds = round(time.monotonic() - start, 3)
        done = [receipts[unit].counts for unit in receipts.keys() - before]
        made = Counts.total(done)
        line = {"runner": runner, "seconds": seconds, "units": len(done), "images": made.images, "pairs": made.pairs}
        # Nobody should lose a build, or the error that stopped it, because a time could not be noted.
        with suppress(Exception):
            if done:
                store.write(RUNS, (store.read_or_none(RUNS) or b"") + canonical_json(line) + b"\n")


@dataclass
class Timing:
    """What is known of a build's time.

    Attributes:
        runs: times that the build was run and did something.
        seconds: wall time of these runs.
        images, pairs, units: done in these runs.
        runners: what did the units.
        stage_seconds: by stage, summed over units, and so over workers; empty if no receipt says.
        done: what was computed and what was found in the cache.
    """

    runs: int = 0
    seconds: float = 0.0
    images: int = 0
    pairs: int = 0
    units: int = 0
    runners: set[str] = field(default_factory=set)
    stage_seconds: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)

    @property
    def from_cache(self) -> bool:
        return any(name.endswith("_from_cache") and number for name, number in self.done.items())


def read_timing(store: Folder, units: int) -> Timing:
    """Reads runs.jsonl and the receipts of a build's units; what is not there, or unreadable, is left out."""
    timing = Timing()
    for line in (store.read_or_none(RUNS) or b"").splitlines():
        with suppress(ValueError, KeyError, TypeError):
            run = json.loads(line)
            if run["units"] > 0 and run["seconds"] > 0:
                timing.seconds += run["seconds"]
                timing.images += run["images"]
                timing.pairs += run["pairs"]
                timing.units += run["units"]
                timing.runners.add(str(run["runner"]))
                timing.runs += 1
    for first in range(0, units, _AT_ONCE):
        for receipt in read_receipts(store, range(first, min(first + _AT_ONCE, units))).values():
            timing.stage_seconds.update(receipt.run.seconds)
            timing.done.update(receipt.run.done)
    return timing
