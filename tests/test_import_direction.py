"""Which room may import which, and what the light commands must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "ray", "transformers", "spacy", "open_clip", "nltk", "s3fs", "skimage"}


def imported(file: Path) -> Iterator[str]:
    """Top-level packages that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield (node.module or "").partition(".")[0]


def files_that_import(room: str, packages: set[str]) -> list[str]:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    return [str(file.relative_to(ROOT)) for file in files if packages & set(imported(file))]


def test_stages_know_neither_pipeline_nor_training_nor_ray() -> None:
    assert files_that_import("stages", {"pipeline", "train", "ray", "typer", "tests", "benchmarks"}) == []


def test_training_knows_neither_pipeline_nor_ray() -> None:
    assert files_that_import("train", {"pipeline", "ray", "tests", "benchmarks"}) == []


def test_pipeline_knows_no_training_beside_the_command_line() -> None:
    assert set(files_that_import("pipeline", {"train", "tests", "benchmarks"})) <= {
        "pipeline/cli/segment.py",
        "pipeline/cli/train.py",
    }


def test_ray_appears_only_where_another_process_runs_it() -> None:
    assert files_that_import("pipeline", {"ray"}) == [
        "pipeline/runners/ray_driver.py",
        "pipeline/runners/ray_scheduler.py",
    ]


@pytest.mark.parametrize(
    "module", ["pipeline.cli.app", "pipeline.runners.ray", "pipeline.manifest", "pipeline.plan", "pipeline.verify"]
)
def test_module_loads_without_heavy_libraries(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


def test_handlers_of_signals_stand_before_anything_slow_is_imported() -> None:
    slow = {"typer", "rich", "numpy", "pydantic", "yaml"}
    code = f"import sys, pipeline.cli.entry; print(*sorted({slow} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
