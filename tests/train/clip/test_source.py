"""What a manifest says about a CLIP is resolved once: plain, a folder of ours, or a published file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.tiny_clip import save_tiny_clip
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.common import UserError, hash_files, sha256_file
from tests.train.tiny_clips import adapted
from train.clip.checkpoint.folder import save_adapted
from train.clip.checkpoint.published import save_published
from train.clip.source import AdaptedFolder, ClipSource, PlainClip, PublishedFile, resolve


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ClipConfig:
    return ClipConfig(model=f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('base'))}")


@pytest.fixture(scope="module")
def files(base: ClipConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same weights with prompts of depth 2, in our own folder and in a published file."""
    root = tmp_path_factory.mktemp("weights")
    model = adapted(load_clip(base, "cpu")[0], 2)
    save_adapted(root / "last", model, base, {})
    save_published(root / "a.pt", model, "training")
    return {"folder": root / "last", "file": root / "a.pt"}


def test_a_model_alone_is_plain(base: ClipConfig) -> None:
    plain = resolve(ClipSource(model=base.model))
    assert plain == PlainClip(base)
    model, _ = plain.load("cpu")
    assert model.depth == 0
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    folder = Path(base.model.removeprefix("local-dir:"))
    names = ("open_clip_config.json", "open_clip_model.safetensors")
    assert plain.digests() == hash_files(folder / name for name in names)


def test_a_folder_has_the_last_word_about_its_base(base: ClipConfig, files: dict[str, Path]) -> None:
    found = resolve(ClipSource(model="ViT-B-16", pretrained="openai", weights=str(files["folder"])))
    assert isinstance(found, AdaptedFolder)
    assert found.base == base
    assert found.files_of.model == f"local-dir:{files['folder']}"
    assert found.load("cpu")[0].depth == 2
    assert found.digests()["mask_prompts.safetensors"] == sha256_file(files["folder"] / "mask_prompts.safetensors")


def test_a_published_file_is_loaded_into_its_model(base: ClipConfig, files: dict[str, Path]) -> None:
    found = resolve(ClipSource(model=base.model, weights=str(files["file"])))
    assert isinstance(found, PublishedFile)
    assert found.base == found.files_of == base
    assert found.load("cpu")[0].depth == 2
    assert found.digests() == {"a.pt": sha256_file(files["file"])}


def test_a_known_name_is_part_of_a_published_files_digests(files: dict[str, Path]) -> None:
    found = resolve(ClipSource(model="ViT-B-16", pretrained="openai", weights=str(files["file"])))
    assert found.digests() == {"model": "ViT-B-16", "a.pt": sha256_file(files["file"])}


def test_a_published_file_without_its_model_is_refused_before_anything_is_loaded(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"a\.pt: a published file has no configuration; name its model"):
        resolve(ClipSource(weights=str(files["file"])))


def test_weights_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match=r"/nowhere: there is no such folder or file of weights"):
        resolve(ClipSource(weights="/nowhere"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "expected 'model' .*, 'weights' .*, or both"),
        ({"pretrained": "openai"}, "expected 'model'"),
        ({"pretrained": "openai", "weights": "RUN/last"}, "'pretrained' belongs to a 'model'"),
    ],
)
def test_a_source_of_nothing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClipSource.model_validate(values)
