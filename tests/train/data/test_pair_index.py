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


@pytest.mark.parametrize("on_bad", ["error", "skip"])
@pytest.mark.parametrize("beyond", [0, 700, 1700])
def test_a_tar_that_is_cut_off_anywhere_is_refused(shards: Path, on_bad: str, beyond: int) -> None:
    found = listed(data_config(shards))
    end_of_a_sample = int(found.offset[4] + found.nbytes[4])
    (shards / "00000.tar").write_bytes((shards / "00000.tar").read_bytes()[: end_of_a_sample + beyond])
    with pytest.raises(UserError, match=r"00000\.tar: cannot be read"):
        listed(data_config(shards, on_bad=on_bad))


def test_a_damaged_header_is_refused(shards: Path) -> None:
    found = listed(data_config(shards))
    data = bytearray((shards / "00000.tar").read_bytes())
    data[found.offset[5] : found.offset[5] + 512] = b"\x55" * 512
    (shards / "00000.tar").write_bytes(data)
    with pytest.raises(UserError, match=f"damaged at byte {found.offset[5]}"):
        listed(data_config(shards))


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
