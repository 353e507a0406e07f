"""What the measurements share: the machine's description, and processes measured from outside."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MASKMINE = (sys.executable, "-c", "from pipeline.cli.entry import main; main()")


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


_WATCH = """
import json, os, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], open(sys.argv[1], "w"))
sys.exit(code)
"""


def measure(command: Sequence[str], **environment: str) -> Measured:
    """Runs a command to its end; the figures are the operating system's, of its process and those it waited for.

    A small process of its own starts and watches it: a child's peak memory counts from that of its parent.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    with tempfile.NamedTemporaryFile("r") as figures:
        watched = [sys.executable, "-c", _WATCH, figures.name, *command]
        ended = subprocess.run(
            watched, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False
        )
        wall = time.perf_counter() - start
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}")
        cpu_s, peak_mib = json.load(figures)
    return Measured(wall, cpu_s, peak_mib, ended.stdout)
