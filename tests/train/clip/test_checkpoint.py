"""Our own folder: round trips, stock open_clip, damage; and the page on checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.tiny_clip import MODEL_CFG, save_tiny_clip
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.clip_tower import resize_grid
from stages.common import UserError
from tests.train.tiny_clips import TEXT, adapted, foreign_files, inputs, same, tiny_timm
from train.clip.checkpoint.folder import (
    load_adapted,
    read_description,
    save_adapted,
)
from train.clip.checkpoint.layouts import PROMPTS
from train.clip.model import MaskPromptCLIP


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ClipConfig:
    """A CLIP in a folder, with quick-GELU and a mean of its own."""
    folder = save_tiny_clip(tmp_path_factory.mktemp("base"), model_cfg={**MODEL_CFG, "quick_gelu": True})
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return ClipConfig(model=f"local-dir:{folder}")


def tuned(base: ClipConfig, depth: int = 2) -> MaskPromptCLIP:
    """As if trained: every weight of the tower differs from the base's."""
    clip, _ = load_clip(base, "cpu")
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in clip.visual.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return adapted(clip, depth)


@pytest.mark.parametrize("depth", [0, 2])
def test_our_folder_round_trips_model_and_provenance(depth: int, base: ClipConfig, tmp_path: Path) -> None:
    model = tuned(base, depth)
    save_adapted(tmp_path / "out", model, base, {"recipe": "ft_then_mpt", "data": ["0" * 64], "lr": 5e-6})
    loaded, tokenizer, description = load_adapted(tmp_path / "out")
    assert same(loaded, model)
    assert not loaded.training
    assert tokenizer(["a dog"]).shape == (1, 16)
    assert description.provenance == {"recipe": "ft_then_mpt", "data": ["0" * 64], "lr": 5e-6}
    assert description.base == base
    assert (tmp_path / "out/mask_prompts.safetensors").exists() == bool(depth)
    if description.prompts:
        assert description.prompts.model_dump() == {"depth": 2, "grid": (4, 4), "patch_px": 16, "width": 96}
    assert loaded.clip.visual.preprocess_cfg == model.clip.visual.preprocess_cfg


def test_writing_warns_of_nothing(base: ClipConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_adapted(tmp_path / "out", tuned(base), base, {})
    assert caplog.text == ""


def test_our_folder_has_the_same_bytes_each_time(base: ClipConfig, tmp_path: Path) -> None:
    for name in ("a", "b", "a"):  # over an earlier one, too
        save_adapted(tmp_path / name, tuned(base), base, {"seed": 1})
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "mask_prompts.safetensors",
        "maskmine.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_stock_open_clip_loads_our_folder_as_the_tuned_clip(base: ClipConfig, tmp_path: Path) -> None:
    model = tuned(base)
    save_adapted(tmp_path / "out", model, base, {})
    stock, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'out'}")
    stock.eval().requires_grad_(False)  # as the other is: torch rounds otherwise where weights could train
    images, _ = inputs(64)
    assert torch.equal(stock.encode_image(images), model.encode_image(images))
    assert preprocess.transforms[-1].mean == [0.5, 0.4, 0.3]


def test_our_folder_names_what_a_tag_switched_on(tmp_path: Path) -> None:
    clip = open_clip.create_model("ViT-S-32-alt", force_quick_gelu=True, force_image_size=64).eval()
    model = adapted(clip, 1)
    save_adapted(tmp_path / "out", model, ClipConfig(model="ViT-S-32-alt", pretrained="some-tag"), {})
    assert same(load_adapted(tmp_path / "out")[0], model)


def test_timm_towers_round_trip(tmp_path: Path) -> None:
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT, "custom_text": True}
    source = tmp_path / "base"
    source.mkdir()
    (source / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(tiny_timm().state_dict(), source / "open_clip_model.safetensors")
    base = ClipConfig(model=f"local-dir:{source}")
    model = adapted(load_clip(base, "cpu")[0], 2)
    save_adapted(tmp_path / "out", model, base, {})
    assert same(load_adapted(tmp_path / "out")[0], model)
    larger, _, _ = load_adapted(tmp_path / "out", image_size_px=192)
    assert larger.tower.grid == (12, 12)
    larger.encode_image(*inputs(192))


def test_our_folder_loads_at_another_resolution(base: ClipConfig, tmp_path: Path) -> None:
    model = tuned(base)
    save_adapted(tmp_path / "out", model, base, {})
    larger, _, _ = load_adapted(tmp_path / "out", image_size_px=96)
    assert larger.tower.grid == (6, 6)
    assert larger.mask_embedding is not None
    assert model.mask_embedding is not None
    torch.testing.assert_close(larger.mask_embedding, resize_grid(model.mask_embedding, (4, 4), (6, 6)))
    larger.encode_image(*inputs(96))
    save_adapted(tmp_path / "larger", larger, base, {})
    assert same(load_adapted(tmp_path / "larger")[0], larger)


def test_half_precision_folder_is_smaller_and_close(base: ClipConfig, tmp_path: Path) -> None:
    model = tuned(base)
    save_adapted(tmp_path / "out", model, base, {}, precision="fp16")
    assert load_file(tmp_path / "out/mask_prompts.safetensors")[PROMPTS].dtype == torch.float16
    loaded = load_adapted(tmp_path / "out")[0]
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    images, masks = inputs(64)
    torch.testing.assert_close(loaded.encode_image(images, masks), model.encode_image(images, masks), rtol=0, atol=0.02)


def test_a_base_that_is_not_the_models_is_refused(base: ClipConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ViT-S-32-alt.* is not the configuration of this CLIP: .* got .*, expected"):
        save_adapted(tmp_path / "out", tuned(base), ClipConfig(model="ViT-S-32-alt"), {})
    with pytest.raises(UserError, match="open_clip has no model 'ViT-Z'"):
        save_adapted(tmp_path / "out", tuned(base), ClipConfig(model="ViT-Z"), {})
    with pytest.raises(UserError, match=r"maskmine\.json: cannot be read"):
        load_adapted(tmp_path / "out")


def test_provenance_that_is_no_json_is_refused_before_anything_is_written(base: ClipConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        save_adapted(tmp_path / "out", tuned(base), base, {"loss": float("nan")})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mask_prompts.safetensors", "open_clip_model.safetensors", "open_clip_config.json"])
def test_files_changed_after_writing_are_refused(name: str, base: ClipConfig, tmp_path: Path) -> None:
    save_adapted(tmp_path, tuned(base), base, {})
    read_description(tmp_path)
    with (tmp_path / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=f"{name}: missing or changed"):
        load_adapted(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing or changed"):
        load_adapted(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("depth", 3, r"mask_prompts\.safetensors: .*got shape \[2, 16, 96\]; expected \[3, 16, 96\]"),
        ("grid", [2, 5], r"mask_prompts\.safetensors: .*or the patches of a grid \[2, 5\]"),
        ("patch_px", 14, r"patches of 14 px; expected 16 px"),
        ("breadth", 1, r"maskmine\.json: prompts\.breadth: Extra inputs"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    key: str,
    value: Any,  # noqa: ANN401
    message: str,
    base: ClipConfig,
    tmp_path: Path,
) -> None:
    save_adapted(tmp_path, tuned(base), base, {})
    description = json.loads((tmp_path / "maskmine.json").read_text())
    description["prompts"][key] = value
    (tmp_path / "maskmine.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=message):
        load_adapted(tmp_path)


def test_a_description_cannot_name_files_elsewhere(base: ClipConfig, tmp_path: Path) -> None:
    save_adapted(tmp_path, tuned(base), base, {})
    description = json.loads((tmp_path / "maskmine.json").read_text())
    description["files"]["../x"] = "0" * 64
    (tmp_path / "maskmine.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"maskmine\.json: files\.\.\./x"):
        load_adapted(tmp_path)


def test_snippets_of_the_documentation_run(
    base: ClipConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[3] / "docs/checkpoints.md"
    snippets = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(base.model.removeprefix("local-dir:"))
    (tmp_path / "published").mkdir()
    model = tuned(base, 3)
    torch.save(foreign_files(model)["training-ddp"], tmp_path / "published/training.pt")
    torch.save(foreign_files(model)["segmenter"], tmp_path / "published/segmenter.pth")
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), names)
    assert capsys.readouterr().out.split() == ["training-ddp", "3", "torch.Size([1,", "64])"]
