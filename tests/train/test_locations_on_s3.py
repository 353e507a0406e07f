"""What lies behind a URL serves as what lies on a disk does: pictures, weights, CLIPs, shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.world import WorldConfig, write_captioned_shards, write_world
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.common import UserError, copies, join, local_copy
from tests.s3 import FileSystem, new_bucket, s3_server
from tests.train.adapt.conftest import Recipe, clip, equal, pairs, recipe, weights  # noqa: F401 - fixtures
from tests.train.pretrain.test_pretrain import recipe as pretrain_recipe
from tests.train.tiny_clips import adapted
from train.adapt import adapt
from train.clip.checkpoint.folder import load_adapted, save_adapted
from train.clip.checkpoint.published import save_published
from train.clip.source import ClipSource, resolve
from train.evaluate.classify import ClassifyManifest, classify
from train.pretrain import pretrain


@pytest.fixture(scope="module")
def s3() -> Iterator[FileSystem]:
    with s3_server() as files:
        yield files


@pytest.fixture
def bucket(s3: FileSystem) -> str:
    return new_bucket(s3)


@pytest.fixture
def folder(clip: str, tmp_path: Path) -> Path:  # noqa: F811 - the fixture
    """Weights as training writes them."""
    config = ClipConfig(model=clip)
    save_adapted(tmp_path / "last", adapted(load_clip(config, "cpu")[0], 2), config, {})
    return tmp_path / "last"


def classified(regions: str, source: dict[str, Any]) -> dict[str, Any]:
    values = {
        "kind": "mask_classification",
        "clip": source,
        "regions": {"kind": "coco", "images": f"{regions}/images", "annotations": [f"{regions}/instances.json"]},
        "templates": ["a {}"],
    }
    return classify(ClassifyManifest.model_validate(values))


def test_masks_are_classified_by_url(s3: FileSystem, bucket: str, folder: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "world", 3, 0, WorldConfig(size_px=64))
    s3.put(f"{tmp_path / 'world'}/", f"{bucket}/world/", recursive=True)
    s3.put(f"{folder}/", f"{bucket}/last/", recursive=True)
    here = classified(str(tmp_path / "world"), {"weights": str(folder)})
    there = classified(f"s3://{bucket}/world", {"weights": f"s3://{bucket}/last/"})
    assert there == here


def test_an_adaptation_begins_with_weights_behind_a_url(
    s3: FileSystem,
    bucket: str,
    folder: Path,
    recipe: Recipe,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    s3.put(f"{folder}/", f"{bucket}/last/", recursive=True)
    here = adapt(recipe(init={"weights": str(folder)}), tmp_path / "here", lambda line: None)
    there = adapt(recipe(init={"weights": f"s3://{bucket}/last"}), tmp_path / "there", lambda line: None)
    assert equal(weights(here), weights(there))
    _, _, description = load_adapted(there)
    assert description.provenance["manifest"]["init"]["weights"] == f"s3://{bucket}/last"


def test_a_published_file_and_the_clip_it_belongs_to_may_lie_behind_urls(
    s3: FileSystem,
    bucket: str,
    clip: str,  # noqa: F811 - the fixture
    folder: Path,
    tmp_path: Path,
) -> None:
    save_published(tmp_path / "a.pt", load_adapted(folder)[0], "training")
    s3.put(str(tmp_path / "a.pt"), f"{bucket}/a.pt")
    s3.put(clip.removeprefix("local-dir:") + "/", f"{bucket}/clip/", recursive=True)
    there = resolve(ClipSource(model=f"local-dir:s3://{bucket}/clip", weights=f"s3://{bucket}/a.pt"))
    here = resolve(ClipSource(model=clip, weights=str(tmp_path / "a.pt")))
    assert equal(there.load("cpu")[0].state_dict(), here.load("cpu")[0].state_dict())
    assert there.digests() == here.digests()
    assert there.base == ClipConfig(model=f"local-dir:s3://{bucket}/clip")
    save_adapted(tmp_path / "again", there.load("cpu")[0], there.base, {})
    assert equal(weights(tmp_path / "again"), weights(folder))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_is_trained_from_shards_behind_a_url(workers: int, s3: FileSystem, bucket: str, tmp_path: Path) -> None:
    write_captioned_shards(tmp_path / "shards", 24, 5, WorldConfig(size_px=64))
    s3.put(f"{tmp_path / 'shards'}/", f"{bucket}/shards/", recursive=True)
    there = pretrain_recipe(tmp_path, shards=[f"s3://{bucket}/shards/{{00000..00000}}.tar"], workers=workers)
    pretrain(there, tmp_path / "there", lambda line: None)
    pretrain(pretrain_recipe(tmp_path / "shards"), tmp_path / "here", lambda line: None)
    name = "clip/open_clip_model.safetensors"
    assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_what_is_not_there_or_damaged_is_told_by_its_url(
    s3: FileSystem, bucket: str, folder: Path, tmp_path: Path
) -> None:
    s3.put(f"{folder}/", f"{bucket}/last/", recursive=True)
    s3.pipe_file(f"{bucket}/last/open_clip_model.safetensors", b"x")
    for place, message in (("last", r"last/open_clip_model\.safetensors: missing or changed"), ("none", "no such")):
        with pytest.raises(UserError, match=f"s3://{bucket}/{message}" if place == "last" else message):
            resolve(ClipSource(weights=f"s3://{bucket}/{place}")).load("cpu")
    with pytest.raises(UserError, match="s3://nobucket/w"):
        resolve(ClipSource(weights="s3://nobucket/w"))
    with pytest.raises(UserError, match="s3://nobucket/clip"):
        load_clip(ClipConfig(model="local-dir:s3://nobucket/clip"), "cpu")
    with pytest.raises(UserError, match=f"s3://{bucket}/none.tar"):
        pretrain(pretrain_recipe(tmp_path, shards=[f"s3://{bucket}/none.tar"]), tmp_path / "out", lambda line: None)


def test_a_copy_is_made_once_and_a_path_is_taken_as_it_is(s3: FileSystem, bucket: str, tmp_path: Path) -> None:
    s3.pipe_file(f"{bucket}/a/b.txt", b"1")
    first = local_copy(f"s3://{bucket}/a")
    assert (first.name, (first / "b.txt").read_bytes()) == ("a", b"1")
    s3.pipe_file(f"{bucket}/a/b.txt", b"2")
    assert local_copy(f"s3://{bucket}/a/") == first
    assert (first / "b.txt").read_bytes() == b"1"
    assert local_copy(f"s3://{bucket}/a/b.txt").read_bytes() == b"2"
    assert local_copy(str(tmp_path / "none")) == tmp_path / "none"
    assert local_copy(f"file://{tmp_path}") == tmp_path
    assert copies._copies().name in str(first)


@pytest.mark.parametrize(
    ("location", "name", "joined"),
    [
        ("s3://b/images", "x/1.jpg", "s3://b/images/x/1.jpg"),
        ("s3://b/images/", "1.jpg", "s3://b/images/1.jpg"),
        ("images/", "x/1.jpg", "images/x/1.jpg"),
        ("images", "/there/1.jpg", "/there/1.jpg"),
    ],
)
def test_names_are_joined_to_paths_and_to_urls(location: str, name: str, joined: str) -> None:
    assert join(location, name) == joined
