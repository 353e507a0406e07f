"""What the measurements share: the machine's description, and processes measured from outside."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MASKMINE = (sys.executable, "-c", "from pipeline.cli import main; main()")


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished process: wall seconds, processor seconds of it and its children, peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


def machine() -> str:
    """One line for the head of a report."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def measure(command: Sequence[str], **environment: str) -> Measured:
    """Runs a command to its end.

    Peak memory is that of the largest single process of all that were measured so far, so measure small ones first.

    Raises:
        RuntimeError: it failed.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, after.ru_maxrss / 1024, ended.stdout)
