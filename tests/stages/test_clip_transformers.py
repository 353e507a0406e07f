"""A CLIP that transformers saved is open_clip's with the same features, or refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from stages.clip import load_clip
from stages.clip_config import ClipConfig, clip_files
from stages.clip_transformers import open_clip_config, with_open_clip_names
from stages.common import UserError, sha256_file
from train.clip.checkpoint.folder import load_adapted, save_adapted
from train.clip.checkpoint.published import read_published
from train.clip.source import ClipSource, PublishedFile, resolve

TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
Save = Callable[..., Path]


def model_of(**changes: Any) -> CLIPModel:  # noqa: ANN401 - of both towers
    torch.manual_seed(0)
    text = {**TOWER, "max_position_embeddings": 20, **changes}
    config = CLIPConfig(
        text_config=text,
        vision_config={**TOWER, "image_size": 32, "patch_size": 16, **changes},
        projection_dim=16,
    )
    model = CLIPModel(config).eval()
    for parameter in model.parameters():  # biases and norms as trained ones have them
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model_of().save_pretrained(folder)
    return folder


def plain(folder: Path) -> ClipConfig:
    return ClipConfig(model=f"local-dir:{folder}")


def features(model: CLIPModel, pixels: torch.Tensor, ids: torch.Tensor) -> list[torch.Tensor]:
    found = (model.get_image_features(pixel_values=pixels), model.get_text_features(input_ids=ids))
    return [getattr(one, "pooler_output", one) for one in found]


@pytest.mark.parametrize(
    "changes", [{}, {"hidden_act": "gelu"}, {"layer_norm_eps": 1e-3}, {"eos_token_id": 2}, {"eos_token_id": 49406}]
)
def test_features_are_those_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    theirs = model_of(**changes)
    theirs.save_pretrained(tmp_path)
    clip, tokenize = load_clip(plain(tmp_path), "cpu")
    pixels, ids = torch.randn(3, 3, 32, 32), tokenize(["a dog", "two cats on a sofa"])
    assert ids.shape == (2, 20)
    with torch.no_grad():
        image, text = features(theirs, pixels, ids)
        torch.testing.assert_close(clip.encode_image(pixels), image, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(clip.encode_text(ids), text, atol=1e-5, rtol=1e-5)
    assert not clip.training


def test_configuration_weights_and_colours_are_hashed_and_taken(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "copy")
    given = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(given))
    names = [file.name for file in clip_files(plain(folder))]
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]
    clip, _ = load_clip(plain(folder), "cpu")
    assert (tuple(clip.visual.image_mean), tuple(clip.visual.image_std)) == ((0.5,) * 3, (0.25,) * 3)


def test_weights_in_several_files_are_read_as_one(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "copy")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = [dict(list(state.items())[::2]), dict(list(state.items())[1::2])]
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for file, half in zip(files, halves, strict=True):
        save_file(half, folder / file, metadata={"format": "pt"})
    where = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    one, other = (load_clip(plain(each), "cpu")[0].state_dict() for each in (saved, folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_can_be_adapted_and_saved(saved: Path, tmp_path: Path) -> None:
    source = resolve(ClipSource(model=f"local-dir:{saved}"))
    model, _ = source.load("cpu")
    save_adapted(tmp_path / "out", model, source.base, {})
    again, tokenize, _ = load_adapted(tmp_path / "out")
    assert tokenize(["a dog"]).shape == (1, 20)
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(again.encode_image(pixels), model.encode_image(pixels))


@pytest.fixture
def named(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of open_clip's that stands for the same sizes, with the other activation."""
    config = json.loads((saved / "config.json").read_text())
    model_cfg = {**open_clip_config(config, saved), "quick_gelu": False}
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"tiny": model_cfg})
    return "tiny"


def test_a_weights_file_goes_with_a_name_and_the_activation_beside_it(saved: Path, named: str) -> None:
    config = ClipConfig(model=named, pretrained=str(saved / "model.safetensors"))
    assert [file.name for file in clip_files(config)] == ["model.safetensors", "config.json"]
    clip, _ = load_clip(config, "cpu")
    same, _ = load_clip(plain(saved), "cpu")
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(clip.encode_image(pixels), same.encode_image(pixels))


def test_weights_of_training_may_have_transformers_names(saved: Path, named: str) -> None:
    weights = saved / "model.safetensors"
    assert read_published(weights).layout == "clip"
    found = resolve(ClipSource(model=named, weights=str(weights)))
    assert isinstance(found, PublishedFile)
    assert found.digests()["config.json"] == sha256_file(saved / "config.json")
    model, _ = found.load("cpu")
    pixels = torch.randn(1, 3, 32, 32)
    same, _ = load_clip(plain(saved), "cpu")
    assert torch.equal(model.encode_image(pixels), same.encode_image(pixels))


def test_weights_that_replace_all_need_no_download(saved: Path, tmp_path: Path) -> None:
    """The tag is one that would have to be fetched; it says the activation alone."""
    shutil.copy(saved / "model.safetensors", tmp_path / "mine.safetensors")
    asked = ClipSource(model="ViT-B-32", pretrained="openai", weights=str(tmp_path / "mine.safetensors"))
    with pytest.raises(
        UserError, match=r"mine\.safetensors: does not fit .* missing: \S+, \S+ and \d+ more; "
    ) as caught:
        resolve(asked).load("cpu")
    assert len(str(caught.value)) < 1000


def test_a_name_without_weights_says_what_it_needs(saved: Path, tmp_path: Path) -> None:
    weights = shutil.copy(saved / "model.safetensors", tmp_path / "mine.safetensors")
    with pytest.raises(
        UserError, match=r"mine\.safetensors: 'pretrained' is missing beside 'model': .*such as openai, "
    ):
        resolve(ClipSource(model="ViT-B-32", weights=str(weights)))
    with pytest.raises(UserError, match=r"mine\.safetensors has transformers' names, and no config\.json beside it"):
        load_clip(ClipConfig(model="ViT-B-32", pretrained=str(weights)), "cpu")


def test_another_size_than_the_name_s_is_told_with_two_names_of_each_kind(saved: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit .*\d+ missing: \S+, \S+ and \d+ more; \d+ of another") as caught:
        load_clip(ClipConfig(model="ViT-B-32", pretrained=str(saved / "model.safetensors")), "cpu")
    assert len(str(caught.value)) < 1000


def change(key: str, value: object) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        *parents, last = key.split(".")
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
        (folder / "config.json").write_text(json.dumps(config))

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("model_type", "siglip"), "a model of transformers of the type 'siglip'; expected 'clip'"),
        (change("text_config.hidden_act", "relu"), r"hidden_act is \['quick_gelu', 'relu'\]"),
        (change("text_config.vocab_size", 500), "has no tokenizer.json"),
        (change("vision_config.hidden_size", "wide"), "expected whole numbers as sizes"),
        (change("vision_config.hidden_size", 64), r"does not fit .* of another shape"),
        (change("vision_config.num_hidden_layers", 3), r"12 missing: \S+, \S+ and 10 more"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "cannot be read as safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(
    saved: Path, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    folder = shutil.copytree(saved, tmp_path / "copy")
    damage(folder)
    with pytest.raises(UserError, match=words) as caught:
        load_clip(plain(folder), "cpu")
    assert len(str(caught.value)) < 1000
    assert str(folder) in str(caught.value)


def test_older_files_have_positions_that_say_nothing() -> None:
    state = {
        "text_model.embeddings.position_ids": torch.arange(5)[None],
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
        "logit_scale": torch.ones(()),
    }
    assert list(with_open_clip_names(state)) == ["logit_scale"]
