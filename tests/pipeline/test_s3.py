"""Builds on S3: by URL, on a server on loopback, with the bytes of a local build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.manifest import BuildManifest
from pipeline.verify import verify
from tests.photos import write_photos
from tests.pipeline.conftest import bytes_of, manifest_values, run_build
from tests.s3 import FileSystem, new_bucket, s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """File system of an S3 server with six photos in s3://photos, and no bucket beside."""
    with s3_server() as files:
        files.mkdir("photos")
        files.put(str(write_photos(tmp_path_factory.mktemp("s3") / "photos", 6)) + "/", "photos/", recursive=True)
        yield files


@pytest.fixture
def bucket(s3: FileSystem) -> str:
    return new_bucket(s3)


def values(clip: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML values
    source = {
        "kind": "coco",
        "images": "s3://photos/images",
        "captions": "s3://photos/captions.json",
        "masks": ["s3://photos/instances.json"],
    }
    return manifest_values(Path("unused"), clip, source=source, **changes)


def manifest(clip: str) -> BuildManifest:
    return BuildManifest.model_validate(values(clip))


@pytest.fixture(scope="module")
def local(s3: FileSystem, tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build of the photos on S3 into a local folder."""
    out = tmp_path_factory.mktemp("local") / "out"
    run_build(manifest(tiny_clip), out)
    return out


def different(s3: FileSystem, url: str, local: Path) -> list[str]:
    """Files of a finished build that are not those of the local one."""
    remote = {path.partition("/out/")[2] for path in s3.find(url) if "/.maskmine/" not in path}
    assert remote == {*bytes_of(local), "report.html"}
    remote.remove("report.html")  # tells of times
    return [name for name in remote if s3.cat_file(f"{url}/{name}") != (local / name).read_bytes()]


def maskmine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which gets the server by environment."""
    code = "from pipeline.cli.entry import main; main()"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_build_on_s3_has_the_bytes_of_a_local_one_and_resumes(
    s3: FileSystem,
    bucket: str,
    tiny_clip: str,
    local: Path,
) -> None:
    url = f"s3://{bucket}/out"
    run_build(manifest(tiny_clip), url)
    assert different(s3, url, local) == []
    assert verify(url)[1] == []
    s3.rm_file(f"{bucket}/out/.maskmine/receipts/000001.json")
    assert verify(url)[1] == [".maskmine/receipts/000001.json: missing"]
    assert run_build(manifest(tiny_clip), url).done_before == 1
    assert different(s3, url, local) == []
    assert verify(url)[1] == []
    s3.pipe_file(f"{bucket}/out/shards/000001.tar", b"spoilt")
    assert verify(url)[1] == ["shards/000001.tar: changed since it was written (sha256)"]
    assert not s3.exists(f"{bucket}/out/.maskmine/driver.lock")


def test_ray_workers_write_to_s3(s3: FileSystem, bucket: str, tiny_clip: str, local: Path, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(values(tiny_clip)))
    url = f"s3://{bucket}/out"
    ended = maskmine("build", str(tmp_path / "m.yaml"), "--out", url, "--runner", "ray", "--workers", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert different(s3, url, local) == []


def test_cache_on_s3_is_shared(s3: FileSystem, bucket: str, tiny_clip: str, tmp_path: Path) -> None:
    cached = BuildManifest.model_validate(values(tiny_clip, run__cache=f"s3://{bucket}/cache"))
    run_build(cached, tmp_path / "a")
    assert {path.split("/")[2] for path in s3.find(f"{bucket}/cache")} == {"nouns", "proposals", "scores"}
    second = run_build(cached, tmp_path / "b")
    assert sum(receipt.run.done.get("images_segmented", 0) for receipt in second.receipts) == 0
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "MANIFEST", "--out", "s3://nobucket/out"], r"s3://nobucket/out: .*bucket does not exist"),
        (["build", "MANIFEST", "--out", "OUT", "--set", "source.captions=s3://nobucket/c"], r"no file s3://nobucket/c"),
        (
            ["build", "MANIFEST", "--out", "OUT", "--set", "source.images=s3://nobucket/i"],
            r"not one .*s3://nobucket/i",
        ),
        (["verify", "s3://nobucket/out"], r"s3://nobucket/out: no build\.lock\.json"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_wrong_bucket_is_one_message(tiny_clip: str, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(values(tiny_clip)))
    places = {"MANIFEST": str(tmp_path / "m.yaml"), "OUT": str(tmp_path / "out")}
    ended = maskmine(*(places.get(word, word) for word in arguments))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.search(message, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = maskmine("verify", "s3://photos/out")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "maskmine: s3://photos/out: cannot be read or written: Unable to locate credentials\n"


DOWN = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}


@pytest.mark.parametrize(("down", "told"), [(DOWN, "Could not connect"), ({}, "Unable to locate credentials")])
@pytest.mark.parametrize(
    ("scan", "message"),
    [("sizes", ", in which photos are named, cannot be listed: "), ("names", " not one of 3 photos can be read: ")],
)
@pytest.mark.usefixtures("s3")
def test_a_storage_that_is_down_stops_a_build_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tiny_clip: str,
    tmp_path: Path,
    scan: str,
    message: str,
    down: dict[str, str],
    told: str,
) -> None:
    """Photos are not to blame, so none is quarantined; and the same command goes on once the storage is up."""
    photos = write_photos(tmp_path / "photos", 6)
    local = {
        "images": "s3://photos/images",
        "captions": str(photos / "captions.json"),
        "masks": [str(photos / "instances.json")],
    }
    made = values(tiny_clip)
    made["source"] = {"kind": "coco", "scan": scan, **local}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(made))
    monkeypatch.setenv("HOME", str(tmp_path))
    with monkeypatch.context() as patch:
        for name, value in down.items():
            patch.setenv(name, value)
        if not down:
            patch.delenv("AWS_ACCESS_KEY_ID")
            patch.delenv("AWS_SECRET_ACCESS_KEY")
        ended = maskmine("build", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "out"))
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert re.search(rf"source\S*: s3://photos/images:?{message}.*{told}", ended.stderr), ended.stderr
    assert str(tmp_path / "out") not in ended.stderr
    assert "Traceback" not in ended.stderr
    ended = maskmine("build", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 images, 0 captions" in ended.stdout
