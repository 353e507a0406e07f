"""A tiny CLIP, small photos, builds in this process on one shared Ray cluster, and builds as processes to be killed."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.tiny_clip import save_tiny_clip
from pipeline.build import BuildOutcome, build
from pipeline.manifest import BuildManifest
from pipeline.records import FORMAT, Counts, Effort, Receipt, Written
from pipeline.terminal import terminal
from tests.photos import write_photos

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """open_clip name of a small CLIP with fixed random weights."""
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photos in COCO's layout; tests must not change them."""
    return write_photos(tmp_path_factory.mktemp("photos"), 10)


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """One Ray cluster for all tests of this process: it starts slowly."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=128 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def manifest_values(folder: Path, clip: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML values
    """A manifest over `write_photos`, ground-truth masks, 3 images per shard; `a__b=value` sets a nested key."""
    values: dict[str, Any] = {
        "version": 2,
        "kind": "build",
        "source": {
            "kind": "coco",
            "images": str(folder / "images"),
            "captions": str(folder / "captions.json"),
            "masks": [str(folder / "instances.json")],
        },
        "proposals": {"proposer": {"kind": "ground_truth"}},
        "nouns": {"extractor": {"kind": "spacy"}},
        # With random weights this rule gives each noun a pair; the default leaves few.
        "matching": {"clip": {"model": clip}, "rules": {"strategy": "best_mask_per_noun"}},
        "shards": {"images_per_shard": 3},
        "run": {"runner": "loop", "cache": "none"},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


@pytest.fixture
def manifest(photos: Path, tiny_clip: str) -> Callable[..., BuildManifest]:
    """Makes manifests over the ten photos."""

    def make(folder: Path = photos, **changes: Any) -> BuildManifest:  # noqa: ANN401
        return BuildManifest.model_validate(manifest_values(folder, tiny_clip, **changes))

    return make


def run_build(manifest: BuildManifest, out: Path | str, **options: Any) -> BuildOutcome:  # noqa: ANN401
    """Builds quietly."""
    return build(manifest, str(out), terminal(file=io.StringIO()), **options)


def make_receipt(unit: int = 0, **counts: int) -> Receipt:
    """The receipt of a unit without content; counts that are not given are 0."""
    return Receipt(
        format=FORMAT,
        unit=unit,
        key="",
        shard=Written(sha256="", bytes=0),
        rows=Written(sha256="", bytes=0),
        images_root="",
        counts=Counts(**{name: counts.get(name, 0) for name in Counts.model_fields}),
        fingerprint="",
        devices={"matching": "cpu AVX2 fp32"},
        run=Effort(seconds={}, done={}),
    )


def is_sign_of_life(line: str) -> bool:
    """Whether a line of a build only says what it is doing, or is empty."""
    return not line or line.startswith(("computed on", "loading", "reading", "mining", "writing"))


def bytes_of(out: Path) -> dict[str, str]:
    """SHA-256 of all that a build promises to reproduce."""
    files = [
        *sorted((out / "shards").iterdir()),
        *sorted(out.glob("*.parquet")),
        out / "build.lock.json",
        out / "README.md",
    ]
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough work for a build that has a middle."""
    return write_photos(tmp_path_factory.mktemp("many"), 14, size=(240, 320))


@pytest.fixture(scope="session")
def undisturbed(many_photos: Path, tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a build of the many photos that nobody disturbs gives."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_build(BuildManifest.model_validate(slow_manifest(many_photos, tiny_clip)), out)
    return bytes_of(out)


def slow_manifest(photos: Path, clip: str) -> dict[str, Any]:
    """Two images per unit and a costly proposer, so that there is a middle to be killed in."""
    return manifest_values(photos, clip, shards__images_per_shard=2, proposals__proposer={"kind": "classical"})


@pytest.fixture
def start(many_photos: Path, tiny_clip: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `maskmine build` on the many photos as a process of its own."""
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(slow_manifest(many_photos, tiny_clip)))
    started: list[subprocess.Popen[str]] = []

    def run(*options: str, path: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from pipeline.cli.entry import main; main()", "build", str(file)]
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
