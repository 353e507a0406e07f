"""A Ray cluster of two machines, played by two sets of processes here; the build's command connects from outside."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.manifest import parse_manifest
from tests.photos import write_photos
from tests.pipeline.conftest import bytes_of, manifest_values, run_build

COMMAND = (sys.executable, "-c", "from pipeline.cli.entry import main; main()", "build")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **memory})
    made.add_node(num_cpus=1, **memory)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_losing_a_machine_in_the_middle_changes_no_byte(cluster: Any, tiny_clip: str, tmp_path: Path) -> None:  # noqa: ANN401
    photos = write_photos(tmp_path / "photos", 24, size=(240, 320))
    classical = {"kind": "classical"}
    values = manifest_values(photos, tiny_clip, shards__images_per_shard=2, proposals__proposer=classical)
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(values))
    out = tmp_path / "out"
    command = [
        *COMMAND,
        str(file),
        "--out",
        str(out),
        "--runner",
        "ray",
        "--address",
        cluster.address,
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 120
        while len(list((out / ".maskmine/receipts").glob("0*.json"))) < 2:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.1)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        printed, _ = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    run_build(parse_manifest(values, "test"), tmp_path / "loop")
    assert bytes_of(out) == bytes_of(tmp_path / "loop")


def test_address_where_nothing_answers_fails_at_once(photos: Path, tiny_clip: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(manifest_values(photos, tiny_clip)))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        command = [*COMMAND, str(file), "--out", str(tmp_path / "out"), "--runner", "ray", "--address", address]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "nothing answers there" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_more_workers_than_the_cluster_holds_are_refused(
    cluster: Any,  # noqa: ANN401
    photos: Path,
    tiny_clip: str,
    tmp_path: Path,
) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(manifest_values(photos, tiny_clip)))
    options = ["--runner", "ray", "--address", cluster.address, "--workers", "3"]
    command = [*COMMAND, str(file), "--out", str(tmp_path / "out"), *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 2
    assert "the actors want 3 CPUs in all" in ended.stderr
