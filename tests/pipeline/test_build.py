"""A build as a whole: same bytes however it runs, resumed or not; nothing lost; broken inputs where they belong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.manifest import BuildManifest
from pipeline.verify import verify
from stages.common import LockError, UserError
from tests.photos import jpeg, write_photos
from tests.pipeline.conftest import bytes_of, run_build

Make = Callable[..., BuildManifest]


def table(out: Path, name: str) -> list[dict]:
    return pyarrow.parquet.read_table(out / f"{name}.parquet").to_pylist()


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("proposer", ["ground_truth", "classical"])
def test_loop_and_ray_with_one_two_or_staged_workers_give_the_same_bytes(
    manifest: Make, tmp_path: Path, proposer: str
) -> None:
    pools = [
        {"stages": ["read", "nouns"], "cpus": 0.5},
        {"stages": ["proposals", "matching"], "actors": 2, "cpus": 0.5},
    ]
    pools.append({"stages": ["shards"], "cpus": 0.5})
    runs = {
        "loop": {"run__runner": "loop"},
        "one": {"run__runner": "ray", "run__workers": 1},
        "two": {"run__runner": "ray", "run__workers": 2},
        "pools": {"run__runner": "ray", "run__pools": pools},
    }
    for name, changes in runs.items():
        run_build(manifest(proposals__proposer={"kind": proposer}, **changes), tmp_path / name)
    first = bytes_of(tmp_path / "loop")
    assert len([name for name in first if name.startswith("shards/")]) == 4
    assert len(table(tmp_path / "loop", "index")) > 10
    for name in ("one", "two", "pools"):
        assert bytes_of(tmp_path / name) == first, name


def test_every_image_is_accounted_for(manifest: Make, tmp_path: Path) -> None:
    outcome = run_build(manifest(), tmp_path / "out")
    images = table(tmp_path / "out", "images")
    assert [row["image_id"] for row in images] == [str(100 + 7 * number) for number in range(10)]
    assert {row["status"] for row in images} == {"pairs"}
    for row in images:
        dropped = sum(count for reason, count in row["dropped"] if reason.startswith("match."))
        assert row["pairs"] + dropped == row["nouns"]
    assert outcome.lock is not None
    assert outcome.lock.counts.pairs == sum(row["pairs"] for row in images) == len(table(tmp_path / "out", "index"))


def test_finished_build_verifies(manifest: Make, tmp_path: Path) -> None:
    run_build(manifest(), tmp_path / "out")
    assert verify(str(tmp_path / "out"))[1] == []


def test_finished_build_is_not_written_again(manifest: Make, tmp_path: Path) -> None:
    run_build(manifest(), tmp_path / "out")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*") if file.is_file()}
    outcome = run_build(manifest(), tmp_path / "out")
    assert outcome.done_before == 4
    again = {file: file.stat().st_mtime_ns for file in times if file.name != "driver.lock"}
    assert again == {file: time for file, time in times.items() if file.name != "driver.lock"}


@pytest.mark.parametrize(
    "lost", ["shards/000001.tar", ".maskmine/receipts/000002.json", ".maskmine/rows/000000.json.gz"]
)
def test_resume_does_again_what_is_lost_and_nothing_else(manifest: Make, tmp_path: Path, lost: str) -> None:
    out = tmp_path / "out"
    run_build(manifest(), out)
    before = bytes_of(out)
    (out / lost).unlink()
    outcome = run_build(manifest(), out)
    assert outcome.done_before == 3
    assert bytes_of(out) == before


def test_resume_replaces_a_truncated_shard(manifest: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_build(manifest(), out)
    before = bytes_of(out)
    (out / "shards/000001.tar").write_bytes(b"half")
    run_build(manifest(), out)
    assert bytes_of(out) == before


def test_changed_manifest_is_refused_with_the_difference(manifest: Make, tmp_path: Path) -> None:
    run_build(manifest(), tmp_path / "out")
    before = bytes_of(tmp_path / "out")
    with pytest.raises(UserError, match=r"matching\.rules\.min_score_cosine: -1\.0 -> 0\.5"):
        run_build(manifest(matching__rules__min_score_cosine=0.5), tmp_path / "out")
    assert bytes_of(tmp_path / "out") == before


def test_folder_with_other_files_is_refused(manifest: Make, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        run_build(manifest(), tmp_path)


def test_folder_with_other_folders_is_refused(manifest: Make, tmp_path: Path) -> None:
    (tmp_path / "out/photos").mkdir(parents=True)
    with pytest.raises(UserError, match="such as photos"):
        run_build(manifest(), tmp_path / "out")


def test_second_driver_is_refused_and_told_who_is_the_first(manifest: Make, tmp_path: Path) -> None:
    from pipeline.lock_driver import only_driver
    from stages.common import Folder

    with (
        only_driver(Folder(str(tmp_path / "out"))),
        pytest.raises(UserError, match=r"another build .*process \d+"),
    ):
        run_build(manifest(), tmp_path / "out")


def test_other_threshold_segments_no_image_again(manifest: Make, tmp_path: Path) -> None:
    cached = {"run__cache": str(tmp_path / "cache"), "proposals__proposer": {"kind": "classical"}}
    first = run_build(manifest(**cached), tmp_path / "a")
    second = run_build(manifest(**cached, matching__rules__min_score_cosine=0.1), tmp_path / "b")
    ran = sum((Counter(receipt.run.done) for receipt in first.receipts), Counter[str]())
    assert ran["images_segmented"] == 10
    assert ran["regions_encoded"] > 10
    for receipt in second.receipts:
        assert receipt.run.done.keys() == {"captions_from_cache", "images_from_cache", "regions_from_cache"}
        assert receipt.run.done["images_from_cache"] == receipt.counts.images
    uncached = run_build(
        manifest(proposals__proposer={"kind": "classical"}, matching__rules__min_score_cosine=0.1), tmp_path / "c"
    )
    assert uncached.lock is not None
    assert bytes_of(tmp_path / "b") == bytes_of(tmp_path / "c")


def test_lock_reproduces_and_refuses_changed_images(manifest: Make, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    lock = str(tmp_path / "a/build.lock.json")
    run_build(manifest(photos), tmp_path / "a")
    run_build(manifest(photos), tmp_path / "b", lock=lock)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    image = photos / "images/000107.jpg"
    changed = bytearray(image.read_bytes())
    changed[-30] ^= 1
    image.write_bytes(changed)
    with pytest.raises(LockError, match=r"000107\.jpg"):
        run_build(manifest(photos), tmp_path / "c", lock=lock)
    with pytest.raises(UserError, match=r"locks another build:\n  config\.seed: 0 -> 1"):
        run_build(manifest(photos, seed=1), tmp_path / "d", lock=lock)


@pytest.fixture
def bad_photos(tmp_path: Path) -> Path:
    """One photo each of everything that goes wrong."""
    folder = write_photos(tmp_path / "bad", 9)
    images = folder / "images"
    names = sorted(file.name for file in images.iterdir())
    broken, missing, sixteen, cmyk, rotated, empty, truncated, text, good = (images / name for name in names)
    broken.write_bytes(b"\xff\xd8\xff\xe0 this is no photo")
    missing.unlink()
    ramp = np.linspace(0, 65535, 72 * 96).reshape(72, 96).astype(np.uint16)
    Image.fromarray(ramp).save(sixteen, format="PNG")
    Image.open(good).convert("CMYK").save(cmyk, format="JPEG")
    upright = np.asarray(Image.open(rotated))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to stand upright
    rotated.write_bytes(jpeg(np.rot90(upright).copy(), exif=exif))
    empty.write_bytes(b"")
    truncated.write_bytes(truncated.read_bytes()[:700])
    captions = json.loads((folder / "captions.json").read_text())
    text_id = int(text.stem)
    own = [entry for entry in captions["annotations"] if entry["image_id"] == text_id]
    own[0]["caption"] = ""
    own[1]["caption"] = "dog " * 2500
    own[2]["caption"] = "\U0001f415 <b>A DOG</b> \u200b #dog http://dog.example/?q=dog&amp;x"
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder


@pytest.mark.parametrize("proposer", ["ground_truth", "classical"])
def test_bad_inputs_land_where_they_belong(manifest: Make, bad_photos: Path, tmp_path: Path, proposer: str) -> None:
    outcome = run_build(manifest(bad_photos, proposals__proposer={"kind": proposer}), tmp_path / "out")
    rows = {(row["file"], row["caption_number"]): row for row in table(tmp_path / "out", "quarantine")}
    names = [f"{100 + 7 * number:06d}.jpg" for number in range(9)]
    broken, missing, sixteen, cmyk, rotated, empty, truncated, text, good = names
    reasons = {key: (row["item"], row["stage"], row["reason"]) for key, row in rows.items()}
    assert reasons == {
        (broken, None): ("image", "read", "undecodable_image"),
        (missing, None): ("image", "read", "missing_file"),
        (empty, None): ("image", "read", "empty_file"),
        (truncated, None): ("image", "read", "undecodable_image"),
        (text, 0): ("caption", "nouns", "empty_caption"),
        (text, 1): ("caption", "nouns", "long_caption"),
    }
    assert rows[broken, None]["input_sha256"]
    assert not rows[missing, None]["input_sha256"]
    status = {row["file"]: row["status"] for row in table(tmp_path / "out", "images")}
    assert [status[name] for name in (sixteen, cmyk, rotated, text, good)] == ["pairs"] * 5
    upright = [row for row in table(tmp_path / "out", "index") if row["file"] == rotated]
    assert (upright[0]["image_height_px"], upright[0]["image_width_px"]) == (72, 96)
    assert verify(str(tmp_path / "out"))[1] == []
    assert outcome.lock is not None
    assert outcome.lock.counts.images_quarantined == 4


def test_excluded_images_are_quarantined_not_lost(manifest: Make, tmp_path: Path) -> None:
    run_build(manifest(source__exclude=["107"]), tmp_path / "out")
    assert [(row["image_id"], row["reason"]) for row in table(tmp_path / "out", "quarantine")] == [("107", "excluded")]


def test_subset_is_drawn_by_the_seed(manifest: Make, tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 0, 1):
        out = tmp_path / str(len(drawn))
        run_build(manifest(seed=seed, source__limit=4), out)
        drawn.append([row["image_id"] for row in table(out, "images")])
    assert drawn[0] == drawn[1] == sorted(drawn[0])
    assert len(drawn[0]) == 4
    assert drawn[2] != drawn[0]


def test_remote_build_has_the_same_bytes(manifest: Make, tmp_path: Path) -> None:
    """Another file system through fsspec; tests/pipeline/test_s3.py does it on an S3 server."""
    import fsspec
    from rich.console import Console

    build(manifest(), "memory://bucket/out", Console(quiet=True))
    run_build(manifest(), tmp_path / "local")
    memory = fsspec.filesystem("memory")
    for name in bytes_of(tmp_path / "local"):
        assert memory.cat_file(f"/bucket/out/{name}") == (tmp_path / "local" / name).read_bytes(), name
    assert verify("memory://bucket/out")[1] == []
