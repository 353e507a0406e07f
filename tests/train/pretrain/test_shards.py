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
from train.pretrain.shards import Batches, CaptionedPictures, read_captioned


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
    ("members", "message"),
    [({"0.jpg": b"x"}, "0 has a picture but no caption"), ({"0.jpg": b"x", "0.json": b"{"}, "cannot be read")],
)
def test_shard_without_captions_is_refused_by_name(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_captioned([write(tmp_path / "a.tar", members)])


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
    first = pictures[0, 0][0]
    assert first.shape == (3, 16, 16)
    assert torch.equal(first, pictures[0, 0][0])
    assert not torch.equal(first, pictures[1, 0][0])


def test_epochs_are_permutations_and_a_later_start_gives_the_same_batches() -> None:
    batches = list(Batches(10, 3, seed=1, first=0, last=7))
    for epoch in range(2):
        numbers = [number for batch in batches[3 * epoch : 3 * epoch + 3] for _, number in batch]
        assert len(set(numbers)) == 9
        assert {e for batch in batches[3 * epoch : 3 * epoch + 3] for e, _ in batch} == {epoch}
    assert batches[:3] != [[(0, n) for _, n in batch] for batch in batches[3:6]]
    assert list(Batches(10, 3, seed=1, first=4, last=7)) == batches[4:]


def test_fewer_pictures_than_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="fewer than a batch"):
        Batches(2, 3, 0, 0, 1)
