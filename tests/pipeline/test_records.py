"""Receipt, plan and lock: one reader each, which takes what was written and says in one line what is wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.manifest import BuildManifest
from pipeline.records import (
    PLAN_FILE,
    Counts,
    Lock,
    PlanDocument,
    Receipt,
    read_lock,
    read_plan,
    read_receipts,
    receipt_name,
)
from stages.common import Folder, UserError, canonical_json
from tests.pipeline.conftest import bytes_of, make_receipt, run_build

Make = Callable[..., BuildManifest]


def test_receipt_comes_back_as_it_was_written() -> None:
    receipt = make_receipt(3, images=5, pairs=2)
    assert Receipt.parse(canonical_json(receipt.values())) == receipt
    assert pickle.loads(pickle.dumps(receipt)) == receipt


def test_record_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_receipt().unit = 4  # type: ignore[misc]


def test_counts_add_up() -> None:
    both = Counts.total([make_receipt(images=5, pairs=2).counts, make_receipt(images=1).counts])
    assert (both.images, both.pairs, both.images_no_pairs) == (6, 2, 0)
    assert Counts.total([]).images == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.pop("key"), "no receipt of a build: key: Field required"),
        (lambda values: values.update(unit=-1), "unit: Input should be greater than or equal to 0"),
        (lambda values: values.update(unit="1"), "unit: Input should be a valid integer"),
        (lambda values: values["shard"].update(name="x.tar"), r"shard\.name: Extra inputs are not permitted"),
        (lambda values: values["counts"].pop("pairs"), r"counts\.pairs: Field required"),
        (lambda values: values.update(shard=None, rows=None), r"shard: .*\(and 1 more\)"),
        (lambda values: values.pop("format"), "expected a JSON object with the key format"),
        (lambda values: values.update(format=1), r"of another release of maskmine \(format 1; this one has 3\)"),
    ],
)
def test_damaged_record_is_told_in_one_line(change: Callable[[dict[str, Any]], None], words: str) -> None:
    values = make_receipt().values()
    change(values)
    with pytest.raises(ValueError, match=words) as caught:
        Receipt.parse(canonical_json(values))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", [Receipt, Lock, PlanDocument])
@pytest.mark.parametrize("data", [b"", b"{no", b"[]", b"{}", b"null", b"\xff\xfe"])
def test_what_is_no_record_is_an_error_of_value(kind: type[Receipt], data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        kind.parse(data)


def test_damaged_or_exchanged_receipts_count_as_none(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    for unit, content in enumerate([make_receipt(0), make_receipt(0), None]):
        store.write(receipt_name(unit), b"{half" if content is None else canonical_json(content.values()))
    assert read_receipts(store, range(5)) == {0: make_receipt(0)}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no finished build"), (b"{}", r"damaged: build\.lock\.json: expected a JSON object with the key format")],
)
def test_lock_that_is_not_there_or_damaged_is_the_users_to_mend(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "build.lock.json").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_lock(Folder(str(tmp_path)))


@pytest.mark.parametrize("content", [b"{}", b'{"format": 1, "config": {}}', b"half"])
def test_folder_with_a_plan_of_another_release_is_refused(manifest: Make, tmp_path: Path, content: bytes) -> None:
    store = Folder(str(tmp_path / "out"))
    assert read_plan(store) is None
    store.write(PLAN_FILE, content)
    with pytest.raises(UserError, match=r"out: \.maskmine/plan\.json: "):
        run_build(manifest(), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b'{"unit": 1}', b"\xff", b"[]"])
def test_unit_with_a_damaged_receipt_is_done_again(manifest: Make, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out"
    run_build(manifest(), out)
    before = bytes_of(out)
    (out / receipt_name(1)).write_bytes(content)
    assert run_build(manifest(), out).done_before == 3
    assert bytes_of(out) == before


def test_damaged_lock_of_a_finished_build_is_written_again(manifest: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_build(manifest(), out)
    before = bytes_of(out)
    lock = json.loads((out / "build.lock.json").read_bytes())
    del lock["units"]
    (out / "build.lock.json").write_text(json.dumps(lock))
    run_build(manifest(), out)
    assert bytes_of(out) == before
