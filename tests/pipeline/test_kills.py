"""Killed drivers, killed workers, samples that kill, Ctrl-C: the same command ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

from pipeline.manifest import parse_manifest
from pipeline.verify import verify
from tests.photos import write_photos
from tests.pipeline.conftest import bytes_of, manifest_values, run_build

IMAGES = 24
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("many"), IMAGES, size=(240, 320))


@pytest.fixture(scope="module")
def undisturbed(many_photos: Path, tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_build(parse_manifest(slow_manifest(many_photos, tiny_clip), "test"), out)
    return bytes_of(out)


def slow_manifest(photos: Path, clip: str) -> dict[str, Any]:
    """Two images a unit and a costly proposer, so that there is a middle to be killed in."""
    return manifest_values(photos, clip, shards__images_per_shard=2, proposals__proposer={"kind": "classical"})


@pytest.fixture
def start(many_photos: Path, tiny_clip: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `maskmine build` on the many photos as a process of its own."""
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(slow_manifest(many_photos, tiny_clip)))
    started: list[subprocess.Popen[str]] = []

    def run(*options: str, path: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", "build", str(file)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, str(Path(__file__).parents[2])])}
        process = subprocess.Popen(
            [*command, "--out", str(tmp_path / "out"), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Tests that run in the background of a script inherit an ignored Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def wait_for_receipts(out: Path, number: int, process: subprocess.Popen[str]) -> None:
    """Waits until so many units are committed; the build must not have ended by then."""
    until = time.monotonic() + 120
    while len(list((out / ".maskmine/receipts").glob("0*.json"))) < number:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "no unit was committed"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the Ray actors below a driver."""
    table = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in table.splitlines()[1:]]
    below = {process.pid}
    for _ in range(4):
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    return [int(pid) for pid, _, command in rows if int(pid) in below and command.startswith("ray::Worker")]


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
    victims = workers_of(process)
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    assert "its process died" in printed
    assert bytes_of(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("runner", ["ray", "loop"])
def test_interrupted_build_stops_cleanly_and_resumes(
    start: Start, tmp_path: Path, undisturbed: dict[str, str], runner: str
) -> None:
    process = start("--runner", runner)
    wait_for_receipts(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "the same command goes on" in printed
    assert "Traceback" not in printed
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
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{Path(__file__).parents[2]}"}
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "build", str(manifest), "--out"]
    out = tmp_path / "out"
    options = ["--runner", "ray", "--workers", "1", "--set", "run.max_attempts=1"]
    ended = subprocess.run([*command, str(out), *options], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = pyarrow.parquet.read_table(out / "quarantine.parquet").to_pylist()
    assert [(row["image_id"], row["reason"]) for row in rows] == [("121", "killed_process")]
    assert pyarrow.parquet.read_table(out / "images.parquet").column("status").to_pylist().count("pairs") == 7
    lock, problems = verify(str(out))
    assert problems == []
    assert lock["killers"] == ["121"]
