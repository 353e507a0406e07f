"""One small world for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.world import write_world

SCENES = 40


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `SCENES` scenes of seed 7."""
    out = tmp_path_factory.mktemp("world") / "out"
    write_world(out, SCENES, 7)
    return out
