"""How the code is built: imports between modules, lengths, and how many places know what one place should.

    python -m benchmarks.house

Exit status 1 if a bound is broken; tests/test_house.py asserts the same bounds.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("stages", "pipeline", "train")
INDEX_COLUMNS = {
    *("noun_canonical", "noun_start", "noun_end", "noun_rule", "noun_mentions", "crop_xyxy_px", "score_cosine"),
    *("margin_noun", "margin_mask", "proposal_source", "proposal_score", "proposal_label", "mask_id"),
}
"""Of index.parquet, those whose names nothing else has."""
DTYPES = {"float32", "float16", "bfloat16"}


@dataclass(frozen=True, slots=True)
class Module:
    """A module of a room: its dotted name, its file, its syntax tree."""

    name: str
    file: Path
    tree: ast.Module

    @property
    def lines(self) -> int:
        return len(self.file.read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is counted, and the most that it may be."""

    what: str
    found: float
    most: float
    where: tuple[str, ...] = ()


def modules() -> list[Module]:
    """All modules of the rooms, sorted by file."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return [
        Module(
            ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"),
            file,
            ast.parse(file.read_text(encoding="utf-8"), str(file)),
        )
        for file in files
    ]


def internal_imports(module: Module, known: set[str]) -> set[str]:
    """Modules of the rooms that a module imports anywhere, also within functions; `from package import module` too."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) or {node.module}
    return (found & known) - {module.name}


def functions(module: Module) -> Iterator[int]:
    """Lengths of the functions of a module, in lines, docstrings included."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def texts(module: Module) -> set[str]:
    """The string constants of a module."""
    return {
        node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def knows_columns(module: Module) -> bool:
    """Whether a module has names of the index's columns as texts."""
    return bool(texts(module) & INDEX_COLUMNS)


def opens_tars(module: Module) -> bool:
    """Whether a module opens tars to read them."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("tarfile.open", "tarfile.TarFile", "TarFile"):
            mode = next((ast.unparse(word.value) for word in node.keywords if word.arg == "mode"), "'r'")
            if not mode.strip("'\"").startswith(("w", "x", "a")):
                return True
    return False


def has_dtype_table(module: Module) -> bool:
    """Whether a module maps names to torch's floating-point types."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Dict):
            named = {part for value in node.values for part in ast.unparse(value).strip("'\"").split(".")}
            if len(named & DTYPES) > 1:
                return True
    return False


def figures() -> list[Figure]:
    """Everything that is counted."""
    found = modules()
    known = {module.name for module in found}
    imports = {module.name: len(internal_imports(module, known)) for module in found}
    lengths = [length for module in found for length in functions(module)]
    mean = statistics.mean(imports.values())
    many = sorted(imports, key=lambda name: -imports[name])[:5]
    long = [f"{module.name} {module.lines}" for module in found if module.lines > 300]
    columns = tuple(module.name for module in found if knows_columns(module))
    tars = tuple(module.name for module in found if opens_tars(module))
    dtypes = tuple(module.name for module in found if has_dtype_table(module))
    return [
        Figure(
            f"internal imports per module ({len(found)} modules)",
            round(mean, 1),  # as the figures of other codebases are given that the bound comes from
            3.0,
            (f"{mean:.2f}; most: {', '.join(f'{name} {imports[name]}' for name in many)}",),
        ),
        Figure("files over 300 lines", len(long), 0, tuple(long)),
        Figure(f"lines per function, median ({len(lengths)} functions)", statistics.median(lengths), 10),
        Figure("lines per function, 90th percentile", round(statistics.quantiles(lengths, n=10)[-1], 1), 25),
        Figure("files that know the index row's columns", len(columns), 1, columns),
        Figure("modules that open tars to read them", len(tars), 1, tars),
        Figure("tables of floating-point types", len(dtypes), 1, dtypes),
    ]


def main() -> None:
    broken = False
    for figure in figures():
        is_broken = figure.found > figure.most
        broken |= is_broken
        print(f"{figure.what:<50} {figure.found:>6g}  at most {figure.most:g}{'  BROKEN' if is_broken else ''}")
        if figure.where:
            print(f"    {', '.join(figure.where)}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
