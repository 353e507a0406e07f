"""docs/architecture.md names files, modules and names that there are, and all packages."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.test_import_direction import PACKAGES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)
NAMES = sorted({text for text in CODE if re.fullmatch(r"(stages|pipeline|train)(\.\w+)+", text)})
FILES = sorted({text for text in CODE if re.fullmatch(r"(stages|pipeline|train|tests)(/\w+)*(\.py)?", text)})


def test_page_names_much() -> None:
    assert len(NAMES) > 40
    assert len(FILES) > 30


@pytest.mark.parametrize("name", NAMES)
def test_name_exists(name: str) -> None:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            annotated = part in getattr(found, "__annotations__", {})  # a dataclass with slots has no default to find
            found = part if annotated and not hasattr(found, part) else getattr(found, part)
        return
    pytest.fail(f"no module {parts[0]}")


@pytest.mark.parametrize("name", FILES)
def test_file_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_package_has_a_row() -> None:
    told = {name.replace("/", ".") for name in FILES}
    inside = {"train.clip.checkpoint", *(name for name in PACKAGES if name.startswith("train.evaluate."))}
    assert PACKAGES - inside <= told


def test_each_part_is_a_page() -> None:
    for part in PAGE.split("\n## ")[1:]:
        assert len(part.splitlines()) <= 60, part.splitlines()[0]
