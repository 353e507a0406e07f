"""What identifies the code behind a unit's bytes: an explicit list, that misses nothing that a worker imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.fingerprint import DECIDES_BYTES, DECIDES_NOTHING, file_of, module_identity

ROOT = Path(__file__).parents[2]
WORKER = "pipeline.steps"
"""What every runner imports to do a unit."""


def imports_of(module: str) -> set[str]:
    """Modules of stages/ and pipeline/ that a module imports, also inside functions, and the packages around them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file_of(module).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A name that is imported from a package may be a module itself.
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        found.update(name for name in names if name.partition(".")[0] in ("stages", "pipeline"))
    packages = {name.rpartition(".")[0] for name in found}
    return {name for name in found | packages if name and file_of(name).is_file()}


def reachable() -> set[str]:
    """All that a worker may ever import."""
    seen, waiting = set[str](), {WORKER}
    while waiting:
        seen |= waiting
        waiting = {name for module in waiting for name in imports_of(module)} - seen
    return seen


def test_every_module_that_a_worker_may_import_is_in_one_of_the_lists() -> None:
    assert sorted(reachable() - {*DECIDES_BYTES, *DECIDES_NOTHING}) == []


def test_lists_name_only_modules_that_a_worker_may_import() -> None:
    assert sorted({*DECIDES_BYTES, *DECIDES_NOTHING} - reachable()) == []
    assert not {*DECIDES_BYTES} & {*DECIDES_NOTHING}
    assert len(set(DECIDES_BYTES)) == len(DECIDES_BYTES)
    assert all(reason.strip() for reason in DECIDES_NOTHING.values())


def test_what_python_loads_for_a_worker_is_in_one_of_the_lists() -> None:
    """The trace of a process that imports all that decides bytes: nothing comes in by a way that the text hides."""
    code = f"""
import importlib, sys
for name in {[WORKER, *DECIDES_BYTES]!r}:
    importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("stages", "pipeline")))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert {"pipeline.steps.matching", "stages.clip", "stages.proposals.sam"} <= loaded
    assert sorted(loaded - {*DECIDES_BYTES, *DECIDES_NOTHING}) == []


@pytest.mark.parametrize(
    "module", ["pipeline.steps.shards", "pipeline.cache", "stages.shards.writer", "stages.matching"]
)
def test_what_writes_shards_and_the_cache_decides_bytes(module: str) -> None:
    assert module in DECIDES_BYTES


def test_comments_docstrings_and_layout_do_not_count() -> None:
    plain = "SIDE = 3\n\n\ndef area(side: int) -> int:\n    return side * side\n"
    told = (
        '"""A module."""\n# Why three.\nSIDE = 3\n"""A side."""\n\n\n'
        'def area(side: int) -> int:\n    """Its area."""\n\n    return (side * side)  # px\n'
    )
    assert module_identity(plain) == module_identity(told)


@pytest.mark.parametrize("changed", ["SIDE = 4\n", "SIDE = '3'\n", "SIDE = 3\nprint('3')\n", "SIDE: int = 3\n"])
def test_every_change_of_the_code_counts(changed: str) -> None:
    assert module_identity("SIDE = 3\n") != module_identity(changed)
