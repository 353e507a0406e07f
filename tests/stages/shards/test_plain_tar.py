"""The quick reader of plain tars gives what the walker gives, or nothing."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.shards.plain_tar import plain_members
from stages.shards.tar import DamagedTarError, iterate_members

NAMES = st.text("abcäé./ \\", min_size=1, max_size=130).filter(lambda name: name.strip("./ "))
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def tar_of(members: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def walked(data: bytes) -> list[tuple[str, bytes]]:
    return [(member.name, member.data) for member in iterate_members(io.BytesIO(data), lambda name: True)]


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(NAMES, st.binary(max_size=1500), min_size=1, max_size=4), FORMATS, st.data())
def test_whatever_it_reads_is_what_the_walker_reads(members: dict[str, bytes], form: int, data: st.DataObject) -> None:
    try:
        whole = tar_of(members, form)
    except ValueError:  # a name that ustar cannot hold
        return
    found = plain_members(whole)
    assert found is None or found == walked(whole)
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    found = plain_members(bytes(damaged))
    if found is not None:
        assert found == walked(bytes(damaged))


def test_a_plain_sample_is_read() -> None:
    members = {"a/k.jpg": b"x" * 700, "a/k.txt": b"", "a/k.mask.png": b"y" * 512}
    assert plain_members(tar_of(members, tarfile.GNU_FORMAT)) == list(members.items())


@pytest.mark.parametrize("cut", [100, 600, 1300])
def test_a_part_that_ends_early_is_left_to_the_walker(cut: int) -> None:
    data = tar_of({"k.jpg": b"x" * 900}, tarfile.GNU_FORMAT)[:cut]
    assert plain_members(data) is None
    with pytest.raises(DamagedTarError):
        walked(data)
