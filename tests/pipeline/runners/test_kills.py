"""Killed drivers, killed workers, samples that kill, Ctrl-C: the same command ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

from pipeline.runners.processes import below
from pipeline.verify import verify
from tests.photos import write_photos
from tests.pipeline.conftest import Start, bytes_of, is_sign_of_life, manifest_values, wait_for_receipts


@pytest.mark.parametrize("runner", ["ray", "loop"])
def test_killed_driver_resumes_to_the_same_bytes(
    start: Start, tmp_path: Path, undisturbed: dict[str, str], runner: str
) -> None:
    process = start("--runner", runner)
    wait_for_receipts(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out/build.lock.json").exists()
    again = start("--runner", "loop")
    printed, _ = again.communicate(timeout=200)
    assert again.returncode == 0, printed
    assert "of them from before" in printed
    assert bytes_of(tmp_path / "out") == undisturbed


def test_killed_worker_is_replaced_and_the_bytes_are_the_same(
    start: Start, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    process = start("--runner", "ray", "--workers", "2")
    wait_for_receipts(tmp_path / "out", 2, process)
    victims = [one.pid for one in below(process.pid) if one.name.startswith("ray::Worker")]
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    assert "its process died" in printed
    assert bytes_of(tmp_path / "out") == undisturbed


@pytest.mark.parametrize(
    ("runner", "number"), [("ray", signal.SIGINT), ("ray", signal.SIGTERM), ("loop", signal.SIGTERM)]
)
def test_stopped_build_ends_cleanly_and_resumes(
    start: Start, tmp_path: Path, undisturbed: dict[str, str], runner: str, number: signal.Signals
) -> None:
    process = start("--runner", runner)
    wait_for_receipts(tmp_path / "out", 2, process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, printed
    *progress, last = printed.strip().splitlines()
    assert last == "maskmine: stopped. What is done is kept: the same command goes on from here."
    assert all(is_sign_of_life(line) for line in progress), printed
    again = start("--runner", "loop")
    again.communicate(timeout=200)
    assert bytes_of(tmp_path / "out") == undisturbed


def test_second_process_on_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    first = start("--runner", "loop")
    wait_for_receipts(tmp_path / "out", 1, first)
    second = start("--runner", "loop")
    printed, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"process {first.pid}" in printed


KILLER = """
import os, PIL.Image
genuine = PIL.Image.open
def deadly(file, *rest, **options):
    data = file.getvalue() if hasattr(file, "getvalue") else b""
    if b"kills its reader" in data:
        os.kill(os.getpid(), 9)
    return genuine(file, *rest, **options)
PIL.Image.open = deadly
"""


def test_image_that_kills_its_process_is_found_and_quarantined_alone(tiny_clip: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 8)
    deadly = photos / "images/000121.jpg"
    data = deadly.read_bytes()
    comment = b"kills its reader"
    deadly.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])
    (tmp_path / "path").mkdir()
    (tmp_path / "path/sitecustomize.py").write_text(KILLER)
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(manifest_values(photos, tiny_clip, shards__images_per_shard=8)))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{Path(__file__).parents[3]}"}
    command = [sys.executable, "-c", "from pipeline.cli.entry import main; main()", "build", str(manifest), "--out"]
    out = tmp_path / "out"
    options = ["--runner", "ray", "--workers", "1", "--set", "run.max_attempts=1"]
    ended = subprocess.run([*command, str(out), *options], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = pyarrow.parquet.read_table(out / "quarantine.parquet").to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rows] == [("121", "killed_process")]
    assert pyarrow.parquet.read_table(out / "images.parquet").column("status").to_pylist().count("pairs") == 7
    lock, problems = verify(str(out))
    assert problems == []
    assert lock is not None
    assert lock.poison_images == ["121"]
