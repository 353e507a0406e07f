"""A plain loop over units, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.records import Receipt
from pipeline.steps import StepAdapter, start_unit
from pipeline.unit import BuildSpec, Failures
from stages.common import LockError, UserError


def run_loop(
    spec: BuildSpec,
    units: Sequence[int],
    poison_images: frozenset[str],
    on_receipt: Callable[[Receipt], None],
    say: Callable[[str], None],
) -> Failures:
    """Does the units one after the other.

    A sample that kills the process kills this loop; the Ray runner survives it and finds the sample.

    Args:
        spec: the build.
        units: numbers of the units to do.
        poison_images: ids of images to quarantine at once.
        on_receipt: called with every unit's receipt.
        say: called with a line for the user.

    Returns:
        Units that failed `max_attempts` times.

    Raises:
        UserError, LockError: the build cannot go on.
    """
    adapter = StepAdapter(spec)
    failures: Failures = {}
    for number in units:
        for attempt in range(1, spec.manifest.run.max_attempts + 1):
            try:
                work = start_unit(spec, number, poison_images)
                adapter.run(work)
                assert work.receipt is not None
                on_receipt(work.receipt)
                failures.pop(number, None)
                break
            except (UserError, LockError):
                raise
            except Exception as error:
                failures[number] = f"{type(error).__name__}: {error}"
                say(f"unit {number}, attempt {attempt}: {failures[number]}")
    return failures
