"""The CLIP in the repository knows the world, and masked regions in clutter are hard for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.world_clip import WORLD_CLIP, measure

ROOT = Path(__file__).parents[4]


@pytest.mark.usefixtures("at_root")
def test_worlds_clip_names_whole_scenes_and_fails_in_clutter(tmp_path: Path) -> None:
    scores = dict(measure(WORLD_CLIP, 80, tmp_path))
    whole = scores["whole scenes with a single object (the ceiling)"]
    masked = scores["masked crops of objects in cluttered scenes"]
    assert whole["regions"] == masked["regions"] == 80
    assert whole["top1"] > 70  # 85 of 2,400
    assert whole["top1"] - masked["top1"] > 15  # 38 of 2,400


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_weights_in_the_repository_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "pipeline/world/clip").iterdir()) < 16e6
