"""The walker of tars: it reads on to the end of the file, and tells what it cannot read and where."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from stages.shards.tar import DamagedTarError, Trouble, iterate_members
from tests.stages.shards.tars import BLOCK, damaged, member, tar_of, without_end

FILES = [(f"{number}.jpg", bytes([65 + number]) * (700 + number)) for number in range(4)]
WHOLE = tar_of(FILES)
END = 4 * 3 * BLOCK
HEADER = {name: WHOLE.index(name.encode()) for name, _ in FILES}


def walk(data: bytes) -> tuple[dict[str, bytes], list[Trouble]]:
    troubles: list[Trouble] = []
    found = list(iterate_members(io.BytesIO(data), lambda name: True, troubles.append))
    for one in found:
        assert one.data == data[one.offset : one.offset + one.nbytes]
    assert len({one.name for one in found}) == len(found)
    return {one.name: one.data for one in found}, troubles


def told(data: bytes, *names: str) -> list[tuple[str, str]]:
    """(reason, message) of what is told, where the members of these names are read."""
    found, troubles = walk(data)
    assert found == {name: content for name, content in FILES if name in names}
    return [(trouble.reason, trouble.message) for trouble in troubles]


ALL = tuple(HEADER)


def test_a_whole_tar_gives_its_members_and_nothing_is_told() -> None:
    assert told(WHOLE, *ALL) == []
    assert told(WHOLE[: END + BLOCK], *ALL) == []


def test_members_know_their_places() -> None:
    *_, one = iterate_members(io.BytesIO(WHOLE), lambda name: False)
    assert (one.name, one.start, one.end, one.offset, one.nbytes, one.data) == (
        "3.jpg",
        HEADER["3.jpg"],
        END,
        HEADER["3.jpg"] + BLOCK,
        703,
        b"",
    )


@pytest.mark.parametrize("padding", [0, BLOCK, 3 * BLOCK, 10_240])
def test_joined_tars_are_read_to_the_end_of_the_file(padding: int) -> None:
    one, other = without_end(tar_of(FILES[:2])), tar_of(FILES[2:])
    expected = [] if not padding else [("joined_tars", f"joined to it at byte {len(one) + padding}")]
    found = told(one + bytes(padding) + other, *ALL)
    assert [reason for reason, _ in found] == [reason for reason, _ in expected]
    assert all(text in message for (_, text), (_, message) in zip(expected, found, strict=True))


def test_a_header_that_is_damaged_costs_its_member_alone() -> None:
    ((reason, message),) = told(damaged(WHOLE, b"1.jpg", 148), "0.jpg", "2.jpg", "3.jpg")
    assert reason == "damaged_shard"
    start, end = HEADER["1.jpg"], HEADER["2.jpg"]
    assert (
        message == f"damaged at byte {start} behind 0.jpg (the header of 1.jpg); nothing up to byte {end} can be read"
    )
    for at in range(0, BLOCK, 37):  # any byte of it
        assert len(walk(damaged(WHOLE, b"1.jpg", at))[0]) == 3


def test_the_first_and_the_last_header_may_be_damaged() -> None:
    ((_, message),) = told(damaged(WHOLE, b"0.jpg"), "1.jpg", "2.jpg", "3.jpg")
    assert f"damaged at byte 0 (the header of \\xcf.jpg); nothing up to byte {HEADER['1.jpg']}" in message
    ((_, message),) = told(damaged(WHOLE, b"3.jpg", 100), "0.jpg", "1.jpg", "2.jpg")
    assert f"at byte {HEADER['3.jpg']}" in message
    assert f"the rest, to byte {len(WHOLE)}, cannot be read" in message


def test_what_stands_behind_the_end_is_told() -> None:
    ((reason, message),) = told(WHOLE + b"more", *ALL)
    assert (reason, message) == ("cut_shard", f"cut off at byte {len(WHOLE) + 4}, within a header at byte {len(WHOLE)}")
    ((reason, message),) = told(WHOLE + b"more" * BLOCK, *ALL)
    assert reason == "damaged_shard"
    assert f"damaged at byte {len(WHOLE)} behind 3.jpg; the rest, to byte {len(WHOLE) + 4 * BLOCK}" in message


@pytest.mark.parametrize(
    ("place", "names", "text"),
    [
        (HEADER["2.jpg"], ("0.jpg", "1.jpg"), "cut off at byte {0}, behind 1.jpg: a tar ends with zeros"),
        (HEADER["2.jpg"] + 100, ("0.jpg", "1.jpg"), "cut off at byte {0}, within a header at byte {2.jpg}"),
        (HEADER["2.jpg"] + BLOCK, ("0.jpg", "1.jpg"), "2.jpg at byte {2.jpg} is cut off"),
        (HEADER["2.jpg"] + 2 * BLOCK, ("0.jpg", "1.jpg"), "should reach to byte 4286, the file ends at byte {0}"),
        (END - 1, ALL, "cut off at byte {0}, behind 3.jpg"),
        (END, ALL, "cut off at byte {0}, behind 3.jpg"),
    ],
)
def test_where_a_tar_is_cut_off_is_told(place: int, names: tuple[str, ...], text: str) -> None:
    ((reason, message),) = told(WHOLE[:place], *names)
    assert reason == "cut_shard"
    for name, at in (("0", place), *HEADER.items()):
        text = text.replace(f"{{{name}}}", str(at))
    assert text in message


@pytest.mark.parametrize("cut", [HEADER["1.jpg"] + BLOCK + 300, HEADER["1.jpg"] + 2 * BLOCK])
def test_a_tar_joined_to_one_that_was_cut_off_is_read_wherever_it_begins(cut: int) -> None:
    ((reason, message),) = told(WHOLE[:cut] + tar_of(FILES[2:]), "0.jpg", "2.jpg", "3.jpg")
    assert reason == "cut_shard"
    assert f"1.jpg at byte {HEADER['1.jpg']} is cut off" in message
    assert f"the next header stands at byte {cut}" in message
    large = tar_of([("0.jpg", FILES[0][1]), ("1.jpg", b"B" * 100_000)])[: BLOCK * 6]
    assert [reason for reason, _ in told(large + tar_of(FILES[2:]), "0.jpg", "2.jpg", "3.jpg")] == ["cut_shard"]


def test_a_tar_within_a_tar_is_a_member_also_where_it_is_cut_off() -> None:
    inner = [("inner.tar", WHOLE)]
    assert walk(tar_of(inner)) == ({"inner.tar": WHOLE}, [])
    found, (trouble,) = walk(tar_of(inner)[:3000])
    assert (found, trouble.reason) == ({}, "cut_shard")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_are_whole_and_never_half(form: int) -> None:
    names = [f"{'folder/' * 20}{number}.jpg" for number in range(3)] + ["é.jpg", "犬/ö.jpg"]
    data = tar_of([(name, b"x" * number) for number, name in enumerate(names)], form)
    assert walk(data) == ({name: b"x" * number for number, name in enumerate(names)}, [])
    for name in names if form == tarfile.PAX_FORMAT else names[:3]:
        extension = data.index(name.encode()) // BLOCK * BLOCK - BLOCK  # its header, before the member's own
        found, troubles = walk(data[:extension] + b"\xff" + data[extension + 1 :])
        assert set(found) == {*names} - {name}
        assert [trouble.reason for trouble in troubles] == ["damaged_shard"]


def test_names_that_are_no_utf8_are_shown_with_escapes() -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        found, troubles = walk(tar_of([("caf\udce9/\udcff.jpg", b"1"), ("é.jpg", b"2")], form))
        assert found == {"caf\\xe9/\\xff.jpg": b"1", "é.jpg": b"2"}
        assert troubles == []


def test_absolute_names_and_names_upwards_are_but_names() -> None:
    found, troubles = walk(tar_of([("/etc/passwd.jpg", b"1"), ("../../a.jpg", b"2"), ("./b.jpg", b"3")]))
    assert (list(found), troubles) == (["/etc/passwd.jpg", "../../a.jpg", "./b.jpg"], [])


def test_what_has_no_content_of_its_own_is_told_by_name() -> None:
    others = [
        (member("folder", kind=tarfile.DIRTYPE), b""),
        (member("hard.jpg", kind=tarfile.LNKTYPE, link="0.jpg"), b""),
        (member("soft.jpg", kind=tarfile.SYMTYPE, link="0.jpg"), b""),
        (member("pipe", kind=tarfile.FIFOTYPE), b""),
    ]
    found = told(tar_of([FILES[0], *others, FILES[1]]), "0.jpg", "1.jpg")
    assert {reason for reason, _ in found} == {"unusable_member"}
    texts = ("hard.jpg at byte", "is a hard link", "soft.jpg", "symbolic link", "pipe", "special file")
    assert all(text in "\n".join(message for _, message in found) for text in texts)
    assert len(found) == 3


def test_a_sparse_file_is_told_and_what_follows_is_read() -> None:
    sparse = member("sparse.jpg", 3)
    sparse.pax_headers = {"GNU.sparse.map": "0,3", "GNU.sparse.size": "5000"}
    data = tar_of([(sparse, b"abc"), *FILES[:1]], tarfile.PAX_FORMAT)
    ((reason, message),) = told(data, "0.jpg")
    assert reason == "unusable_member"
    assert "sparse.jpg at byte 0 is a sparse file" in message
    sparse.pax_headers = {"GNU.sparse.map": "nonsense", "GNU.sparse.size": "5000"}
    data = tar_of([*FILES[:1], (sparse, b"abc"), FILES[1]], tarfile.PAX_FORMAT)
    assert [reason for reason, _ in told(data, "0.jpg", "1.jpg")] == ["damaged_shard"]


def test_a_global_header_is_no_gap() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "git"}) as tar:
        for name, data in FILES:
            tar.addfile(member(name, len(data)), io.BytesIO(data))
    assert told(buffer.getvalue(), *ALL) == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "0 bytes"),
        (gzip.compress(WHOLE, mtime=0), r"compressed \(gzip\); unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(1000), r"compressed \(zstd\)"),
        (b"<!DOCTYPE html>" * 100, "begins with b'<!DOCTYPE html>"),
        (WHOLE[:300], "begins with b'0.jpg"),
    ],
)
def test_what_is_no_tar_is_an_error_that_says_what_it_is(data: bytes, text: str) -> None:
    with pytest.raises(DamagedTarError, match=text):
        walk(data)


def test_zeros_are_an_empty_tar() -> None:
    assert walk(bytes(2 * BLOCK)) == walk(tar_of([])) == ({}, [])


@pytest.mark.parametrize("data", [damaged(WHOLE, b"1.jpg"), WHOLE[:END], WHOLE[:3000]])
def test_damage_is_an_error_where_nobody_listens(data: bytes) -> None:
    with pytest.raises(DamagedTarError, match=r"at byte \d+"):
        list(iterate_members(io.BytesIO(data), lambda name: False))
