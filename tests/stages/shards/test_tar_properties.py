"""Any samples, any one change of their tar: what is read is as it was written, and the rest is told."""

from __future__ import annotations

import io
import re
import tarfile
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.shards import CaptionedPicture, DamagedTarError, Trouble, read_captioned_pictures
from stages.shards.reader import key_and_extension
from tests.stages.shards.tars import BLOCK, tar_of, without_end

quick = settings(max_examples=120, deadline=None, derandomize=True, database=None)
EXTENSIONS = st.permutations(["jpg", "json", "txt"])
BASES = st.sampled_from(
    ["{}", "000{}", "./{}", "v1.0/{}", "é{}", "caf\udce9{}", "folder/" * 20 + "{}", "{}" + "x" * 120]
)
FORMS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


class Written(NamedTuple):
    """A sample with its number in all that it holds."""

    number: int
    key: str
    members: list[tuple[str, bytes]]


class Read(NamedTuple):
    """What is read of a tar: pictures by key, with their content; and what is told."""

    pictures: dict[str, tuple[CaptionedPicture, bytes]]
    troubles: list[Trouble]

    def tells(self, key: str, start: int = 0, end: int = 0) -> bool:
        """Whether something is told of a key, or of bytes."""
        if any(trouble.key == key for trouble in self.troubles if trouble.item is not None):
            return True
        return any(first < end and start < last for first, last in map(lost, self.troubles))


def lost(trouble: Trouble) -> tuple[int, int]:
    """The bytes that are told to be lost."""
    if trouble.reason not in ("damaged_shard", "cut_shard"):
        return (0, 0)
    first, *more = (int(found) for found in re.findall(r"byte (\d+)", trouble.message))
    if trouble.message.startswith("cut off"):
        return min(first, *more, first), 1 << 60
    return first, 1 << 60 if "rest" in trouble.message or "file ends" in trouble.message else more[-1]


@st.composite
def sample_lists(draw: st.DrawFn, start: int = 0) -> list[Written]:
    base = draw(BASES)
    found = []
    for number in range(start, start + draw(st.integers(1, 4))):
        key, extensions = base.format(number), draw(EXTENSIONS)
        contents = {
            "jpg": f"picture {number} ".encode() * draw(st.integers(1, 90)),
            "json": b'{"caption": "caption %d"}' % number,
            "txt": b"caption %d" % number,
        }
        found.append(Written(number, key, [(f"{key}.{extension}", contents[extension]) for extension in extensions]))
    return found


def members_of(samples: list[Written]) -> list[tuple[str, bytes]]:
    return [member for sample in samples for member in sample.members]


def spans(samples: list[Written], form: int) -> dict[str, tuple[int, int]]:
    """The first byte of each sample in a tar of them all, and the byte behind it."""
    ends = [len(without_end(tar_of(members_of(samples[: count + 1]), form))) for count in range(len(samples))]
    return {sample.key: place for sample, place in zip(samples, zip([0, *ends], ends, strict=False), strict=True)}


def read(data: bytes) -> Read | None:
    """None for what is no tar at all."""
    troubles: list[Trouble] = []
    try:
        found = list(read_captioned_pictures(io.BytesIO(data), "first_dot", troubles.append))
    except DamagedTarError:
        return None
    assert len({one.key for one in found}) == len(found)
    return Read({one.key: (one, data[one.offset : one.offset + one.nbytes]) for one in found}, troubles)


def shown_key(sample: Written) -> str:
    return sample.key.replace("\udce9", "\\xe9")


def check(found: Read, samples: list[Written], places: dict[str, tuple[int, int]]) -> None:
    """Every sample is read as it was written, or told; and no other is read."""
    assert found.pictures.keys() <= {shown_key(sample) for sample in samples}
    for sample in samples:
        key = shown_key(sample)
        is_told = found.tells(key, *places.get(sample.key, (0, 0)))
        if key in found.pictures:
            picture, content = found.pictures[key]
            assert content == next(data for name, data in sample.members if name.endswith(".jpg"))
            assert picture.captions == (f"caption {sample.number}",) or (is_told and picture.captions == ())
        else:
            assert is_told, sample.key


@quick
@given(sample_lists(), FORMS)
def test_a_whole_tar_is_read_as_it_was_written(samples: list[Written], form: int) -> None:
    found = read(tar_of(members_of(samples), form))
    assert found is not None
    assert found.troubles == []
    check(found, samples, {})


@quick
@given(sample_lists(), FORMS, st.data())
def test_a_tar_that_is_cut_off_anywhere(samples: list[Written], form: int, data: st.DataObject) -> None:
    whole = tar_of(members_of(samples), form)
    end = len(without_end(whole))
    cut = data.draw(st.one_of(st.integers(0, end), st.integers(0, len(whole))))
    found = read(whole[:cut])
    if found is None:
        assert cut < BLOCK
        return
    assert bool(found.troubles) or cut > end
    check(found, samples, spans(samples, form))


@quick
@given(sample_lists(), FORMS, st.data())
def test_a_byte_of_a_header_that_is_changed(samples: list[Written], form: int, data: st.DataObject) -> None:
    whole = tar_of(members_of(samples), form)
    headers = [place for place in range(0, len(without_end(whole)), BLOCK) if whole[place + 257 :].startswith(b"ustar")]
    place = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, BLOCK - 1))
    changed = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    found = read(changed)
    assert found is not None
    check(found, samples, spans(samples, form))


@quick
@given(sample_lists(), sample_lists(start=10), FORMS, st.data())
def test_two_tars_that_are_joined(
    samples: list[Written], others: list[Written], form: int, data: st.DataObject
) -> None:
    one, other = tar_of(members_of(samples), form), tar_of(members_of(others), form)
    cut = data.draw(
        st.one_of(
            st.just(len(one)),
            st.just(len(without_end(one))),
            st.integers(0, len(one)).filter(lambda place: place % BLOCK),
        )
    )
    found = read(one[:cut] + other)
    assert found is not None
    losses = [trouble for trouble in found.troubles if trouble.item is not None]
    if cut >= len(without_end(one)):
        assert losses == []
    elif cut % BLOCK:
        assert losses
    places = spans(samples, form)
    half = [sample for sample in samples if places[sample.key][0] < cut < places[sample.key][1]]
    there = [sample for sample in samples if places[sample.key][1] <= cut]
    for sample in half:
        picture, content = found.pictures.pop(shown_key(sample), (None, b""))
        assert picture is None or content in [data for _, data in sample.members]
        assert picture is None or picture.captions in ((), (f"caption {sample.number}",))
    assert {shown_key(sample) for sample in others} <= found.pictures.keys()
    check(found, [*there, *others], {})


@quick
@given(sample_lists(), st.data())
def test_a_member_that_is_renamed(samples: list[Written], data: st.DataObject) -> None:
    files = members_of(samples)
    at = data.draw(st.integers(0, len(files) - 1))
    keys = [sample.key for sample in samples]
    key = data.draw(st.sampled_from([*keys, "new", "dotted.new", "._hidden", keys[0] + ".5"]))
    name = f"{key}.{data.draw(st.sampled_from(['jpg', 'JPG', 'txt', 'json', 'png', 'cls']))}"
    files[at] = (name, files[at][1])
    found = read(tar_of(files, tarfile.PAX_FORMAT))
    assert found is not None
    of_key: dict[str, set[str]] = {}
    for file, content in files:
        cut = key_and_extension(file.replace("\udce9", "\\xe9"))
        if cut is not None:
            of_key.setdefault(cut[0], set()).add(re.findall(rb"(?:picture|caption) (\d+)|$", content)[0].decode())
    told = {trouble.key for trouble in found.troubles}
    for one_key in of_key:
        assert one_key in found.pictures or one_key in told or any(each.startswith(f"{one_key}.") for each in told)
    for picture, content in found.pictures.values():  # what belongs to two samples is never mixed
        of_picture = re.findall(rb"(?:picture|caption) (\d+)", content)[0].decode()
        assert set(re.findall(r"\d+", " ".join(picture.captions))) <= {of_picture}
