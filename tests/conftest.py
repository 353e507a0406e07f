"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SLOW = (
    "pipeline/runners",
    "pipeline/test_coco_mini.py",
    "pipeline/test_build.py",
    "pipeline/cli",
    "pipeline/test_s3.py",
    "pipeline/test_precision.py",
    "pipeline/report/test_browser.py",
    "pipeline/sources/test_scan.py",
    "pipeline/sources/test_table_cases.py",
    "pipeline/sources/test_web_photos.py",
    "train/adapt",
    "train/generator/test_trainer.py",
    "train/pretrain",
    "train/test_locations_on_s3.py",
    "train/evaluate/semantic",
    "train/evaluate/classify/test_world_clip.py",
    "train/data/test_loader.py",
    "train/segmenter/test_ovseg_command.py",
    "stages/proposals/test_classical.py",
    "test_ablation.py",
)
"""Folders and files whose tests start Ray, train, or read many photos, slowest first; `make quick` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks slow tests and lets them begin, so that no process of pytest-xdist is left alone with them at the end."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS)
        return next((at for at, slow in enumerate(SLOW) if path.is_relative_to(slow)), len(SLOW))

    for item in items:
        if place(item) < len(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=place)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photos used by tests alone; it is not part of the project, so tests skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MASKMINE_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"test data not found at {folder}; set MASKMINE_TEST_DATA")
    return folder
