"""What is listed of shards, and what is refused before the first step."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common import UserError
from stages.shards import read_sample
from tests.train.data.conftest import data_config, described, listed, members_of, write_index, write_tar
from train.data.pair_index import PairIndex
from train.data.samples import DataConfig, ShardSet


def test_tars_of_a_third_tool_are_listed_with_the_places_of_their_samples(shards: Path) -> None:
    found = listed(data_config(shards))
    assert found.key.to_pylist() == [f"{number:05d}" for number in range(23)]
    assert found.nouns == ("Cats", "dog", "hot dog")
    assert found.canonicals == ("cats", "dog", "hot dog")
    for number in range(23):
        assert members_at(found, number) == members_of(number)


def members_at(pair_index: PairIndex, number: int) -> dict[str, bytes]:
    place = pair_index.shards[pair_index.shard[number]], int(pair_index.offset[number]), int(pair_index.nbytes[number])
    return read_sample(*place, pair_index.key[number].as_py())


def test_a_range_and_a_glob_name_the_same_tars(shards: Path) -> None:
    ranged = listed(data_config(shards / "{00000..00002}.tar"))
    assert ranged.digest() == listed(data_config(shards)).digest() == listed(data_config(shards / "*.tar")).digest()
    assert ranged.digest() != listed(data_config(shards / "{00000..00001}.tar")).digest()


def test_keys_end_at_the_first_dot_and_extensions_have_no_case(tmp_path: Path) -> None:
    members = {extension.upper(): data for extension, data in members_of(0).items()}
    found = listed(data_config(write_tar(tmp_path / "a.tar", [("some.folder/key", members)])))
    assert found.key.to_pylist() == ["some.folder/key"]
    assert members_at(found, 0) == members_of(0)


def test_the_canonical_noun_is_that_of_the_json_or_the_noun_in_lower_case(tmp_path: Path) -> None:
    samples = [
        ("a", described(members_of(1), noun_canonical="cat")),
        ("b", {**members_of(1), "json": b"{damaged"}),
        ("c", described(members_of(1), noun_canonical=7)),
        ("d", {**members_of(1), "txt": b"  Cats \n"}),
    ]
    found = listed(data_config(write_tar(tmp_path / "a.tar", samples)))
    assert [found.canonicals[number] for number in found.canonical] == ["cat", "cats", "cats", "cats"]
    assert found.nouns == ("Cats",)


def test_a_builds_folder_is_listed_by_its_index(shards: Path) -> None:
    scanned = listed(data_config(shards))
    write_index(shards.parent)
    found = listed(data_config(shards.parent))
    assert (found.nouns, found.canonicals) == (("indexed",), ("canonical",))
    assert found.shards == scanned.shards
    np.testing.assert_array_equal(found.offset, scanned.offset)
    assert members_at(found, 12) == members_of(12)


def test_shards_that_lack_or_are_shorter_than_the_index_says_are_refused(shards: Path) -> None:
    write_index(shards.parent)
    (shards / "00001.tar").write_bytes((shards / "00001.tar").read_bytes()[:512])
    with pytest.raises(UserError, match=r"00001\.tar has 512 bytes"):
        listed(data_config(shards.parent))
    (shards / "00001.tar").unlink()
    with pytest.raises(UserError, match=r"00001\.tar is missing"):
        listed(data_config(shards.parent))


@pytest.mark.parametrize("changes", [{"noun": None}, {"noun": [None] * 23}, {"offset": ["x"] * 23}])
def test_an_index_of_another_form_is_refused(shards: Path, changes: dict[str, Any]) -> None:
    write_index(shards.parent, **changes)
    with pytest.raises(UserError, match=r"index\.parquet.*expected"):
        listed(data_config(shards.parent))


def test_sets_keep_their_numbers(shards: Path) -> None:
    sets = tuple(ShardSet(shards=(str(shards / name),)) for name in ("00001.tar", "00000.tar"))
    found = listed(DataConfig(sets=sets))
    assert found.set_number.tolist() == [0] * 2 + [1] * 11
    assert found.key[0].as_py() == "00011"


def test_a_missing_shard_of_a_range_is_refused(shards: Path) -> None:
    with pytest.raises(UserError, match=r"00003\.tar \(1 of 4 names"):
        listed(data_config(shards / "{00000..00003}.tar"))


def test_a_folder_without_tars_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="finished build's folder"):
        listed(data_config(tmp_path))


@pytest.mark.parametrize("data", [b"no tar at all" * 100, b"\x1f\x8b" + b"0" * 2000])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.tar: cannot be read as an uncompressed tar"):
        listed(data_config(tmp_path))


@pytest.mark.parametrize(("beyond", "reason"), [(0, "cut_shard"), (700, "damaged_shard"), (1700, "cut_shard")])
def test_a_tar_that_is_cut_off_anywhere_is_refused_or_read_up_to_there(
    shards: Path, caplog: pytest.LogCaptureFixture, beyond: int, reason: str
) -> None:
    found = listed(data_config(shards))
    end_of_a_sample = int(found.offset[4] + found.nbytes[4])
    (shards / "00000.tar").write_bytes((shards / "00000.tar").read_bytes()[: end_of_a_sample + beyond])
    with pytest.raises(UserError, match=r"00000\.tar: .* at byte .* set data\.on_bad: skip"):
        listed(data_config(shards))
    left = listed(data_config(shards, on_bad="skip"))
    assert left.key.to_pylist() == [*(f"{number:05d}" for number in range(5)), *found.key.to_pylist()[11:]]
    assert left.left_out == {reason: 1}
    assert len(caplog.messages) == 1
    assert "at byte" in caplog.text


def test_a_damaged_header_is_refused_or_costs_its_sample_alone(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = listed(data_config(shards))
    data = bytearray((shards / "00000.tar").read_bytes())
    data[found.offset[5] : found.offset[5] + 512] = b"\x55" * 512
    (shards / "00000.tar").write_bytes(data)
    with pytest.raises(UserError, match=f"damaged at byte {found.offset[5]}"):
        listed(data_config(shards))
    left = listed(data_config(shards, on_bad="skip"))
    # The header that was lost held a time alone; the member's own stands behind it.
    assert left.key.to_pylist() == found.key.to_pylist()
    assert left.left_out == {"damaged_shard": 1}
    assert members_at(left, 5) == members_of(5)
    data[found.offset[5] : found.offset[5] + 2048] = b"\x55" * 2048
    (shards / "00000.tar").write_bytes(data)
    left = listed(data_config(shards, on_bad="skip"))
    assert left.key.to_pylist() == [key for key in found.key.to_pylist() if key != "00005"]
    assert left.left_out == {"damaged_shard": 1, "missing_member": 1}


def test_joined_tars_are_listed_to_the_end(shards: Path) -> None:
    found = listed(data_config(shards))
    joined = shards.parent / "joined.tar"
    joined.write_bytes(b"".join((shards / f"{number:05d}.tar").read_bytes() for number in range(3)))
    other = listed(data_config(joined))
    assert other.key == found.key
    assert all(members_at(other, number) == members_of(number) for number in range(23))


def test_a_key_that_comes_twice_is_no_pair_again(tmp_path: Path) -> None:
    samples = [("0", members_of(0)), ("1", members_of(1)), ("0", members_of(2))]
    write_tar(tmp_path / "a.tar", samples)
    with pytest.raises(UserError, match=r"a\.tar: 0 comes more than once"):
        listed(data_config(tmp_path))
    found = listed(data_config(tmp_path, on_bad="skip"))
    assert (found.key.to_pylist(), found.left_out) == (["0", "1"], {"duplicate_key": 1})
    assert members_at(found, 0) == members_of(0)
    write_tar(tmp_path / "a.tar", [samples[1], samples[0], ("0", {"txt": b"cat"})])
    found = listed(data_config(tmp_path, on_bad="skip"))
    assert (found.key.to_pylist(), found.left_out) == (["1"], {"duplicate_key": 1})


def test_dotted_keys_are_told_or_are_samples(tmp_path: Path) -> None:
    samples = [("a", members_of(0)), ("a.1", members_of(1)), ("b.1", members_of(2)), ("b.2", members_of(3))]
    location = write_tar(tmp_path / "a.tar", samples)
    with pytest.raises(UserError, match=r"key a: a\.1\.jpg, a\.1\.mask\.png, a\.1\.txt; .* key_ends_at: last_dot"):
        listed(data_config(location))
    found = listed(data_config(location, on_bad="skip"))
    assert (found.key.to_pylist(), found.left_out) == (["a"], {"dotted_key": 3})
    sets = (ShardSet(shards=(str(location),), key_ends_at="last_dot"),)
    found = listed(DataConfig(sets=sets))
    assert found.key.to_pylist() == ["a", "a.1", "b.1", "b.2"]
    place = str(location), int(found.offset[2]), int(found.nbytes[2])
    assert read_sample(*place, "b.1", "last_dot") == members_of(2)


def test_keys_and_nouns_of_any_bytes_are_listed_or_told(tmp_path: Path) -> None:
    odd = {**members_of(1), "txt": b"caf\xe9"}
    samples = [
        ("caf\udce9", {**members_of(0), "txt": b"\xef\xbb\xbfdog"}),
        ("b", described(members_of(1), noun_canonical="\ud800")),
        ("c", odd),
        ("d", {**members_of(2), "txt": "sofa".encode("utf-16-le")}),
    ]
    location = write_tar(tmp_path / "a.tar", samples)
    with pytest.raises(UserError, match=r"c has a KEY\.txt that is no UTF-8 text"):
        listed(data_config(location))
    found = listed(data_config(location, on_bad="skip"))
    assert (found.key.to_pylist(), found.left_out) == (["caf\\xe9", "b"], {"not_utf8": 2})
    assert (found.nouns, found.canonicals) == (("Cats", "dog"), ("\\ud800", "dog"))
    assert members_at(found, 0)["jpg"] == members_of(0)["jpg"]


@pytest.mark.parametrize("key", ["./0", "v1.0/0", "/absolute/0", "../0"])
def test_keys_with_folders_are_read_among_files_of_other_programs(tmp_path: Path, key: str) -> None:
    folder, _, base = key.rpartition("/")
    samples = [(f"{folder}/._{base}", {"jpg": b"mac"}), (key, members_of(0)), (".DS_Store", {"x": b"mac"})]
    write_tar(tmp_path / "a.tar", samples)
    (tmp_path / "._a.tar").write_bytes(b"mac")
    found = listed(data_config(tmp_path))
    assert (found.key.to_pylist(), found.left_out) == ([key], {})
    assert members_at(found, 0) == members_of(0)


def test_many_bad_samples_of_a_shard_are_two_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [(f"{number}", {"txt": b"dog"}) for number in range(1, 30)]
    found = listed(data_config(write_tar(tmp_path / "a.tar", [("0", members_of(0)), *bad]), on_bad="skip"))
    assert found.left_out == {"missing_member": 29}
    assert len(caplog.messages) == 2
    assert "29 times missing_member; all left out" in caplog.messages[1]


@pytest.mark.parametrize("on_bad", ["error", "skip"])
def test_captioned_shards_without_any_mask_are_refused(tmp_path: Path, on_bad: str) -> None:
    samples = [(f"{number}", {name: members_of(number)[name] for name in ("jpg", "txt")}) for number in range(3)]
    write_tar(tmp_path / "a.tar", samples)
    with pytest.raises(UserError, match=r"mask\.png"):
        listed(data_config(tmp_path, on_bad=on_bad))


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"mask.png": None}, "missing_member", "0001 has no KEY.mask.png"),
        ({"jpg": None}, "missing_member", "0001 has no KEY.jpg"),
        ({"txt": None}, "missing_member", "0001 has no KEY.txt"),
        ({"txt": b" \n"}, "empty_noun", "0001 has an empty KEY.txt"),
    ],
)
def test_a_sample_that_is_no_pair_stops_or_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], reason: str, message: str
) -> None:
    bad = {name: data for name, data in {**members_of(1), **change}.items() if data is not None}
    write_tar(tmp_path / "a.tar", [("0000", members_of(0)), ("0001", bad), ("0002", members_of(2))])
    with pytest.raises(UserError, match=message):
        listed(data_config(tmp_path))
    with caplog.at_level(logging.WARNING):
        found = listed(data_config(tmp_path, on_bad="skip"))
    assert found.key.to_pylist() == ["0000", "0002"]
    assert found.left_out == {reason: 1}
    assert message in caplog.text
