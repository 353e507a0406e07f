"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photos used by tests alone; it is not part of the project, so tests skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MASKMINE_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"test data not found at {folder}; set MASKMINE_TEST_DATA")
    return folder
