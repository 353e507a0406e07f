"""Any pairs, any one change of their tar: what is listed is read as it was written, and the rest is counted."""

from __future__ import annotations

import logging
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import UserError
from stages.shards import read_sample
from tests.stages.shards.tars import tar_of
from train.data.pair_index import index_pairs
from train.data.samples import ShardSet

Members = dict[str, bytes]
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
KEYS = st.sampled_from(["{}", "./{}", "v1.0/{}", "caf\udce9{}", "folder/" * 20 + "{}"])


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def listed(data: bytes) -> tuple[dict[str, Members], int] | None:
    """Members of the listed pairs by key, and how much is left out; None if there is no pair at all."""
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "a.tar"
        shard.write_bytes(data)
        try:
            found = index_pairs([ShardSet(shards=(str(shard),))], "skip")
        except UserError:
            return None
        places = zip(found.key.to_pylist(), found.offset.tolist(), found.nbytes.tolist(), strict=True)
        pairs = {key: read_sample(str(shard), offset, nbytes, key) for key, offset, nbytes in places}
        assert len(pairs) == len(found)
        return pairs, sum(found.left_out.values())


def pair(number: int) -> Members:
    return {name: f"{name} {number}".encode() for name in ("jpg", "mask.png", "txt")}


@quick
@given(KEYS, st.integers(1, 4), st.sampled_from(["none", "cut", "flip", "join", "rename"]), st.data())
def test_pairs_listed_and_pairs_left_out_are_all(key: str, count: int, change: str, data: st.DataObject) -> None:
    files = [
        (f"{key.format(number)}.{name}", content) for number in range(count) for name, content in pair(number).items()
    ]
    if change == "rename":
        at = data.draw(st.integers(0, len(files) - 1))
        names = st.sampled_from(
            ["new.txt", "._x.txt", "README", f"{key.format(0)}.txt", f"{key.format(count - 1)}.jpg"]
        )
        files[at] = (data.draw(names), files[at][1])
    whole = tar_of(files, tarfile.PAX_FORMAT)
    if change == "cut":
        whole = whole[: data.draw(st.integers(0, len(whole.rstrip(b"\0"))))]
    elif change == "flip":
        headers = [place for place in range(0, len(whole), 512) if whole[place + 257 :].startswith(b"ustar")]
        place = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, 511))
        whole = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
    elif change == "join":
        whole += tar_of([(f"joined.{name}", content) for name, content in pair(77).items()])
    found = listed(whole)
    if found is None:
        assert change not in ("none", "join")
        return
    pairs, left_out = found
    shown = {key.format(number).replace("\udce9", "\\xe9"): pair(number) for number in range(count)} | {
        "joined": pair(77)
    }
    assert all(members == shown[name] for name, members in pairs.items())
    assert len(pairs) == count + (change == "join") or (left_out and change in ("cut", "flip", "rename"))
