"""Which package may import which, and what the light commands must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.house import internal_imports, modules

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "ray", "transformers", "spacy", "open_clip", "nltk", "s3fs", "skimage"}


COMMON = {"stages.common"}
ALLOWED: dict[str, set[str]] = {
    "stages.common": set(),
    "stages": COMMON,
    "stages.nouns": COMMON,
    "stages.proposals": COMMON,
    "stages.shards": COMMON | {"stages"},
    "train": COMMON
    | {"train.adapt", "train.generator", "train.pretrain"}
    | {"train.evaluate.classify", "train.evaluate.proposals", "train.evaluate.semantic"},
    "train.data": COMMON | {"stages", "stages.shards"},
    "train.clip": COMMON | {"stages", "stages.proposals", "train.clip.checkpoint"},
    "train.clip.checkpoint": COMMON | {"stages", "stages.proposals", "train.clip"},
    "train.adapt": COMMON
    | {"stages", "train", "train.clip", "train.clip.checkpoint", "train.data", "train.evaluate.classify"},
    "train.generator": COMMON
    | {"stages", "stages.proposals", "train", "train.clip", "train.data", "train.evaluate.proposals"},
    "train.pretrain": COMMON | {"stages", "stages.nouns", "stages.shards", "train", "train.data"},
    "train.segmenter": COMMON | {"stages", "stages.nouns", "stages.proposals", "train", "train.clip"},
    "train.evaluate": set(),
    "train.evaluate.benchmark_sets": COMMON | {"stages", "train"},
    "train.evaluate.metrics": {"stages.nouns"},
    "train.evaluate.proposals": COMMON
    | {"stages.proposals", "train.evaluate.benchmark_sets", "train.evaluate.metrics"},
    "train.evaluate.classify": COMMON | {"stages", "stages.proposals", "train.clip", "train.evaluate.benchmark_sets"},
    "train.evaluate.semantic": COMMON
    | {"stages.proposals", "train", "train.clip", "train.segmenter"}
    | {"train.evaluate.benchmark_sets", "train.evaluate.metrics"},
    "pipeline": COMMON
    | {"stages", "stages.nouns", "stages.proposals", "stages.shards"}
    | {"pipeline.report", "pipeline.runners", "pipeline.sources", "pipeline.steps"},
    "pipeline.sources": COMMON | {"pipeline.sources.tables", "stages.proposals", "stages.shards"},
    "pipeline.sources.tables": COMMON | {"pipeline.sources"},
    "pipeline.steps": COMMON
    | {"stages", "stages.nouns", "stages.proposals", "stages.shards", "pipeline", "pipeline.sources"},
    "pipeline.runners": COMMON | {"pipeline", "pipeline.steps"},
    "pipeline.report": COMMON | {"stages", "stages.shards", "pipeline", "pipeline.sources"},
    "pipeline.audit": COMMON | {"stages.nouns", "stages.proposals", "stages.shards", "pipeline"},
    "pipeline.world": COMMON | {"stages.shards"},
    "pipeline.cli": COMMON
    | {"stages", "stages.proposals"}
    | {"pipeline", "pipeline.audit", "pipeline.report", "pipeline.runners", "pipeline.world"}
    | {"train", "train.adapt", "train.generator", "train.pretrain", "train.clip", "train.segmenter"}
    | {"train.evaluate.benchmark_sets"}
    | {"train.evaluate.classify", "train.evaluate.proposals", "train.evaluate.semantic"},
}
"""Package -> packages whose modules it may import; that of a folder's own modules is the folder."""
MODULES = modules()
KNOWN = {module.name for module in MODULES}
PACKAGES = {module.name for module in MODULES if module.file.name == "__init__.py"}


def package_of(name: str) -> str:
    return name if name in PACKAGES else name.rpartition(".")[0]


def outside_imports(file: Path) -> Iterator[str]:
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
    return [str(file.relative_to(ROOT)) for file in files if packages & set(outside_imports(file))]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_package_imports_what_it_may(package: str) -> None:
    """What is allowed and imported no more is told, too, so that the table says what is."""
    found: dict[str, str] = {}
    for module in MODULES:
        if package_of(module.name) == package:
            found |= {package_of(name): module.name for name in internal_imports(module, KNOWN)}
    assert {other: found[other] for other in found if other not in ALLOWED[package] | {package}} == {}
    assert ALLOWED[package] - found.keys() == set()


def test_no_module_imports_itself_in_a_circle() -> None:
    imports = {module.name: internal_imports(module, KNOWN) for module in MODULES}
    while leaves := [name for name, needed in imports.items() if not needed & imports.keys()]:
        for name in leaves:
            del imports[name]
    assert imports == {}


def test_only_the_command_line_knows_pipeline_and_training() -> None:
    assert files_that_import("stages", {"pipeline", "train", "ray", "typer", "tests", "benchmarks"}) == []
    assert files_that_import("train", {"pipeline", "ray", "typer", "tests", "benchmarks"}) == []
    assert files_that_import("pipeline", {"train"}) == [
        "pipeline/cli/reproduce.py",
        "pipeline/cli/reproduce_needs.py",
        "pipeline/cli/reproduce_steps.py",
        "pipeline/cli/segment.py",
        "pipeline/cli/train.py",
    ]
    assert files_that_import("pipeline", {"tests", "benchmarks"}) == []


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
