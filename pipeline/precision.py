"""One precision for a whole build, though `auto` means another one on another machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from pipeline.manifest import Compute
from stages.common import Precision, resolve_device, slowness_warning


def precisions_of(devices: Iterable[str]) -> set[str]:
    """Those that receipts or a lock name, as in ``cpu AVX512 bf16``."""
    return {device.rpartition(" ")[2] for device in devices} & set(get_args(Precision))


def pin_precision(compute: Compute, recorded: Iterable[str]) -> Compute:
    """What `auto` stands for where part of the build is done: what that was computed in, on any machine.

    Args:
        compute: the manifest's.
        recorded: devices that the receipts of this build, or the lock that it must reproduce, name.
    """
    found = precisions_of(recorded)
    if compute.precision != "auto" or len(found) != 1:
        return compute
    return compute.model_copy(update={"precision": found.pop()})


def slowness(compute: Compute) -> str | None:
    """A warning about a half precision for which this machine has no units; None if all is well.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    if compute.precision in ("auto", "fp32"):  # no reason to load torch
        return None
    return slowness_warning(compute.precision, resolve_device(compute.device, "compute.device"))


def mixture(devices: Iterable[str]) -> str | None:
    """A warning about units that were computed in several precisions; None if all is well."""
    found = sorted(precisions_of(devices))
    if len(found) < 2:
        return None
    return (
        f"Warning: units were computed in {' and '.join(found)}, each in what its device has units for, so another run "
        "may give other bytes; set compute.precision"
    )
