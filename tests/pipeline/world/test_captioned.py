"""Captioned shards: the same scenes as the world's, without annotations."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from pipeline.world import WorldConfig, write_captioned_shards, write_world, writer
from stages.common import UserError


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_shards_hold_the_scenes_and_captions_of_the_same_world(tmp_path: Path) -> None:
    config = WorldConfig(size_px=64, single_object=0.6)
    write_world(tmp_path / "world", 3, 9, config)
    write_captioned_shards(tmp_path / "shards", 3, 9, config)
    held = members(tmp_path / "shards/00000.tar")
    assert sorted(held) == [f"000000{n}.{end}" for n in (1, 2, 3) for end in ("jpg", "json", "txt")]
    captions: dict[int, list[str]] = {}
    for entry in json.loads((tmp_path / "world/captions.json").read_text())["annotations"]:
        captions.setdefault(entry["image_id"], []).append(entry["caption"])
    for number in (1, 2, 3):
        key = f"000000{number}"
        assert held[f"{key}.jpg"] == (tmp_path / f"world/images/{key}.jpg").read_bytes()
        assert json.loads(held[f"{key}.json"]) == {"captions": captions[number]}
        assert held[f"{key}.txt"].decode() == captions[number][0]


def test_workers_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SCENES_PER_SHARD", 2)
    config = WorldConfig(size_px=64)
    done: list[int] = []
    write_captioned_shards(tmp_path / "one", 5, 2, config, progress=done.append)
    assert done == [2, 4, 5]
    shards = sorted(path.name for path in (tmp_path / "one").glob("*.tar"))
    assert shards == ["00000.tar", "00001.tar", "00002.tar"]
    monkeypatch.undo()
    write_captioned_shards(tmp_path / "whole", 5, 2, config, workers=2)
    parts = [members(tmp_path / "one" / name) for name in shards]
    assert {name: data for part in parts for name, data in part.items()} == members(tmp_path / "whole/00000.tar")


def test_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="empty folder"):
        write_captioned_shards(tmp_path, 1, 0)
