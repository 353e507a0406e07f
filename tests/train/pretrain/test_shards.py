"""Captioned shards as a data set."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from stages.common import UserError
from train.data.order import Draw
from train.pretrain.shards import CaptionedPictures, read_captioned


def jpeg(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_captions_come_from_json_or_else_from_txt(tmp_path: Path) -> None:
    shard = write(
        tmp_path / "a.tar",
        {
            "0.jpg": jpeg(),
            "0.txt": b"one",
            "0.json": json.dumps({"captions": ["one", "two"]}).encode(),
            "1.png": jpeg(),
            "1.txt": b"three",
            "2.jpg": jpeg(),
            "2.json": b'{"width": 4}',
            "2.txt": b"four",
        },
    )
    assert [sample.captions for sample in read_captioned([shard])] == [("one", "two"), ("three",), ("four",)]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"0.jpg": b"x"}, "1 times no_captions"),
        ({"0.jpg": b"x", "0.json": b"{"}, "1 times bad_caption"),
        ({}, "no samples"),
    ],
)
def test_shards_without_captions_are_refused_by_name(tmp_path: Path, members: dict[str, bytes], reason: str) -> None:
    with pytest.raises(UserError, match=rf"a\.tar have no picture with a caption: .*{reason}"):
        read_captioned([write(tmp_path / "a.tar", members)])


def test_what_cannot_be_used_is_left_out_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"0.jpg": b"0", "1.jpg": jpeg(), "1.txt": b"one", "2.txt": b"two", "a.1.jpg": b"3", "a.1.txt": b"three"}
    shard, left_out = write(tmp_path / "a.tar", files), {"missing": 1}
    assert [sample.captions for sample in read_captioned([shard], left_out=left_out)] == [("one",)]
    assert left_out == {"missing": 1, "no_captions": 1, "no_image": 1, "dotted_key": 1}
    assert f"{shard}: 0 has a picture but no caption" in caplog.text
    assert [sample.captions for sample in read_captioned([shard], "last_dot")] == [("one",), ("three",)]


def test_file_that_is_no_shard_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match=r"a\.tar"):
        read_captioned([str(tmp_path / "a.tar")])


def test_what_is_drawn_depends_on_seed_epoch_and_sample_alone(tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    shard = write(tmp_path / "a.tar", {"0.png": buffer.getvalue(), "0.txt": b"noise"})
    pictures = CaptionedPictures(read_captioned([shard]), 16, 0.5, seed=3)
    first = pictures[Draw(0, 5, 0)].pixels
    assert first.shape == (1, 3, 16, 16)
    assert torch.equal(first, pictures[Draw(0, 5, 0)].pixels)
    for other in (Draw(1, 5, 0), Draw(0, 6, 0)):
        assert not torch.equal(first, pictures[other].pixels)


def test_shards_are_a_folder_a_pattern_or_a_range_and_must_be_there(tmp_path: Path) -> None:
    for name in ("00", "01"):
        write(tmp_path / f"{name}.tar", {f"{name}.jpg": jpeg(), f"{name}.txt": b"a"})
    for pattern in ("", "*.tar", "{00..01}.tar"):
        assert len(read_captioned([f"{tmp_path}/{pattern}"])) == 2
    with pytest.raises(UserError, match=r"shards: no shard at .*02\.tar"):
        read_captioned([f"{tmp_path}/{{00..02}}.tar"])


def test_a_shard_that_is_damaged_is_read_around_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard = tmp_path / "a.tar"
    write(shard, {f"{number}.{name}": data for number in range(3) for name, data in (("jpg", jpeg()), ("txt", b"a"))})
    offset = read_captioned([str(shard)])[1].offset
    data = bytearray(shard.read_bytes())
    data[offset - 512 : offset] = b"\x55" * 512
    shard.write_bytes(data)
    left_out: dict[str, int] = {}
    assert len(read_captioned([str(shard)], left_out=left_out)) == 2
    assert left_out == {"damaged_shard": 1, "no_image": 1}
    assert f"damaged at byte {offset - 512} behind 0.txt" in caplog.text


def test_joined_cut_and_odd_tars_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    keys = ("./0", "v1.0/1", "caf\udce9", "A")
    for number, key in enumerate(keys):
        files = {f"{key}.jpg": jpeg(), f"{key}.txt": f"{number}".encode()}
        write(tmp_path / "one.tar", {name.upper() if key == "A" else name: data for name, data in files.items()})
        shard.write_bytes((shard.read_bytes() if number else b"") + (tmp_path / "one.tar").read_bytes())
    assert [sample.captions for sample in read_captioned([str(shard)])] == [("0",), ("1",), ("2",), ("3",)]
    shard.write_bytes(shard.read_bytes()[:-10_240])
    left_out: dict[str, int] = {}
    assert [sample.captions for sample in read_captioned([str(shard)], left_out=left_out)] == [("0",), ("1",), ("2",)]
    assert left_out == {}  # it ends where a tar ended


def test_a_key_that_comes_twice_is_read_once(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    for text in (b"one", b"two"):
        data = shard.read_bytes() if shard.exists() else b""
        write(shard, {"0.jpg": jpeg(), "0.txt": text})
        shard.write_bytes(data + shard.read_bytes())
    left_out: dict[str, int] = {}
    assert [sample.captions for sample in read_captioned([str(shard)], left_out=left_out)] == [("one",)]
    assert left_out == {"duplicate_key": 1}


def test_a_picture_that_cannot_be_read_is_told_without_a_traceback(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tar", {"0.jpg": b"no picture", "0.txt": b"a"})
    pictures = CaptionedPictures(read_captioned([shard]), 16, 0.5, seed=3)
    assert "not a picture" in pictures[Draw(0, 0, 0)].problem
