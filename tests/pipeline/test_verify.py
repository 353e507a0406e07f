"""`verify` names every file of a finished build that was changed, whatever was done to it, and never fails itself."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from pipeline.manifest import BuildManifest
from pipeline.plan import make_plan, write_plan
from pipeline.verify import verify
from stages.common import Folder, UserError, canonical_json, digest, sha256_hex
from tests.photos import write_photos
from tests.pipeline.conftest import manifest_values, run_build

LOCK = "build.lock.json"
RECEIPT = ".maskmine/receipts/000001.json"
ROWS = ".maskmine/rows/000001.json.gz"
SHARD = "shards/000001.tar"


@pytest.fixture(scope="module")
def finished(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    photos = write_photos(folder / "photos", 7)
    (photos / "images/000107.jpg").write_bytes(b"broken")
    run_build(BuildManifest.model_validate(manifest_values(photos, tiny_clip)), folder / "out")
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy to spoil, in another folder."""
    return shutil.copytree(finished, tmp_path / "copy")


def problems(out: Path) -> list[str]:
    return verify(str(out))[1]


def named(out: Path) -> set[str]:
    """Files that the problems begin with."""
    return {line.partition(":")[0] for line in problems(out)}


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def edit_lock(out: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    lock = json.loads((out / LOCK).read_text())
    change(lock)
    (out / LOCK).write_text(json.dumps(lock))


def test_untouched_copy_in_another_folder_is_well(out: Path) -> None:
    lock, found = verify(str(out))
    assert found == []
    assert lock is not None
    assert lock.counts.images_quarantined == 1


@pytest.mark.parametrize("name", [SHARD, ROWS, "index.parquet", "images.parquet", "quarantine.parquet"])
@pytest.mark.parametrize("how", ["flip", "truncate", "append", "empty", "delete", "folder"])
def test_every_change_of_a_data_file_is_named(out: Path, name: str, how: str) -> None:
    file = out / name
    data = file.read_bytes()
    if how == "flip":
        flip(file, len(data) // 2)
    elif how in ("delete", "folder"):
        file.unlink()
        if how == "folder":
            file.mkdir()
    else:
        file.write_bytes({"truncate": data[: len(data) // 2], "append": data + b"\0", "empty": b""}[how])
    assert named(out) == {name}


@pytest.mark.parametrize("content", [None, b"", b"{no json", b"[]", b"{}", b'{"key": 1, "shard": 2}', b"\xff\xfe"])
@pytest.mark.parametrize("name", [RECEIPT, LOCK])
def test_receipt_or_lock_that_says_nothing_is_named(out: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (out / name).write_bytes(content)
    elif name == LOCK:
        return
    else:
        (out / name).unlink()
    assert named(out) == {name}


def test_receipt_of_another_unit_is_named(out: Path) -> None:
    shutil.copy(out / RECEIPT.replace("1.json", "0.json"), out / RECEIPT)
    assert problems(out) == [f"{RECEIPT}: speaks of another shard than {LOCK}"]


def test_swapped_shards_are_both_named(out: Path) -> None:
    first, second = out / "shards/000000.tar", out / SHARD
    first.rename(out / "kept")
    second.rename(first)
    (out / "kept").rename(second)
    assert named(out) == {"shards/000000.tar", SHARD}


def test_strange_shard_is_named(out: Path) -> None:
    shutil.copy(out / SHARD, out / "shards/000077.tar")
    assert problems(out) == ["shards/000077.tar: no part of this build"]


def test_what_other_programs_leave_beside_the_shards_breaks_no_promise(out: Path) -> None:
    for name in (".DS_Store", "._000000.tar", "Thumbs.db"):
        (out / "shards" / name).write_bytes(b"")
    told: list[str] = []
    assert verify(str(out), told.append)[1] == []
    assert told[0] == "shards/.DS_Store: no part of this build, and no shard: it does no harm"
    assert len(told) == 3


def test_missing_card_is_named(out: Path) -> None:
    (out / "README.md").unlink()
    assert problems(out) == ["README.md: missing"]


@pytest.mark.parametrize(
    "name", ["pairs", "images", "images_pairs", "images_no_pairs", "images_quarantined", "captions_quarantined"]
)
def test_edited_counts_are_found(out: Path, name: str) -> None:
    edit_lock(out, lambda lock: lock["counts"].update({name: lock["counts"][name] + 1}))
    (line,) = problems(out)
    assert line.startswith(f"{LOCK}: counts ")
    assert f" {name}, the units have" in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lock: lock["plan"].update(images=8), "plan_digest is not the hash"),
        (lambda lock: lock["plan"]["config"].update(seed=8), "plan_digest is not the hash"),
        (lambda lock: lock.update(plan_digest="0" * 64), "key of another plan"),
        (lambda lock: lock["units"][1].update(key="0" * 64), "unit 1 has a key of another plan"),
        (lambda lock: lock["units"][1].update(images_root="0" * 64), "images_root"),
        (lambda lock: lock.update(images_root="0" * 64), "images_root is not"),
        (lambda lock: lock["units"].reverse(), "not numbered from 0"),
        (lambda lock: lock["units"].pop(), "the units have"),
        (lambda lock: lock["units"][1].pop("key"), "units.1.key: Field required"),
        (lambda lock: lock.pop("tables"), "tables: Field required"),
        (lambda lock: lock.update(units={}), "units: Input should be a valid array"),
        (lambda lock: lock.update(tables={}), "tables: no hash of index.parquet"),
        (lambda lock: lock.update(plan={}), "plan.format: Field required"),
        (lambda lock: lock.update(note="mine"), "note: Extra inputs are not permitted"),
        (lambda lock: lock["counts"].update(pairs="7"), "counts.pairs: Input should be a valid integer"),
    ],
)
def test_edited_lock_is_found(out: Path, change: Callable[[dict], None], words: str) -> None:  # type: ignore[type-arg]
    edit_lock(out, change)
    found = [line for line in problems(out) if line.startswith(LOCK) or ".parquet" in line]
    assert any(words.replace("\\", "") in line for line in found), found


def rewrite_member(out: Path, extension: str, data: bytes) -> None:
    """Changes a member of the shard's first sample, and makes lock and receipt agree with the new shard."""
    packed = io.BytesIO()
    with tarfile.open(out / SHARD) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for number, member in enumerate(old.getmembers()):
            file = old.extractfile(member)
            assert file is not None
            content = data if number < 4 and member.name.partition(".")[2] == extension else file.read()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    (out / SHARD).write_bytes(packed.getvalue())
    sha256 = sha256_hex(packed.getvalue())
    receipt = json.loads((out / RECEIPT).read_text())
    receipt["shard"]["sha256"] = sha256
    (out / RECEIPT).write_bytes(canonical_json(receipt))
    edit_lock(out, lambda lock: lock["units"][1].update(shard_sha256=sha256))


@pytest.mark.parametrize(
    ("extension", "data"),
    [
        ("txt", b"zebra"),
        ("jpg", b"no jpeg"),
        ("mask.png", b"no png"),
        ("json", b"{}"),
        ("json", b"{no"),
        ("txt", b"\xff"),
    ],
)
def test_inconsistent_sample_is_found_even_if_all_hashes_agree(out: Path, extension: str, data: bytes) -> None:
    rewrite_member(out, extension, data)
    assert named(out) == {SHARD}


def test_row_that_was_taken_out_is_found_even_if_all_hashes_agree(out: Path) -> None:
    rows = json.loads(gzip.decompress((out / ROWS).read_bytes()))
    lost = rows["images"].pop()
    packed = gzip.compress(canonical_json(rows), mtime=0)
    (out / ROWS).write_bytes(packed)
    root = digest([[row["image_id"], row["sha256"], row["masks_sha256"]] for row in rows["images"]])

    def change(lock: dict) -> None:  # type: ignore[type-arg]
        lock["units"][1].update(rows_sha256=sha256_hex(packed), images_root=root)
        lock["images_root"] = digest([entry["images_root"] for entry in lock["units"]])

    edit_lock(out, change)
    assert lost["status"] == "pairs"
    assert f"{LOCK}: the plan has 7 images, the units have 6" in problems(out)


def test_index_with_a_row_less_is_found_even_if_its_hash_agrees(out: Path) -> None:
    table = pyarrow.parquet.read_table(out / "index.parquet")
    pyarrow.parquet.write_table(table.slice(1), out / "index.parquet")
    sha256 = sha256_hex((out / "index.parquet").read_bytes())
    edit_lock(out, lambda lock: lock["tables"].update({"index.parquet": sha256}))
    assert problems(out) == [f"index.parquet: {len(table) - 1} rows, the units have {len(table)}"]


def test_build_of_another_release_is_no_damaged_one(out: Path) -> None:
    edit_lock(out, lambda lock: lock.update(format=1))
    with pytest.raises(UserError, match=r"the build is of another release of maskmine \(format 1; this one has 3\)"):
        verify(str(out))


def test_unfinished_build_is_refused(tiny_clip: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    plan = make_plan(BuildManifest.model_validate(manifest_values(photos, tiny_clip)))
    write_plan(plan, Folder(str(tmp_path / "out")))
    for folder in (tmp_path / "out", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no finished build") as caught:
            verify(str(folder))
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize("place", ["between", "behind"])
def test_file_of_no_sample_in_a_shard_is_found_even_if_all_hashes_agree(out: Path, place: str) -> None:
    with tarfile.open(out / SHARD) as tar:
        members = [(member, tar.extractfile(member)) for member in tar]
        files = [(member, b"" if file is None else file.read()) for member, file in members]
    stray = tarfile.TarInfo("README")
    stray.mode = 0o644
    files.insert(4 if place == "between" else len(files), (stray, b""))
    with tarfile.open(out / SHARD, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in files:
            tar.addfile(member, io.BytesIO(data))
    sha256 = sha256_hex((out / SHARD).read_bytes())
    edit_lock(out, lambda lock: lock["units"][1].update(shard_sha256=sha256))
    assert f"{SHARD}: holds what is no part of a sample" in problems(out)
