"""Exports: each layout gives the features back, here and in stock open_clip; nothing is overwritten; docs/export.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from benchmarks.tiny_clip import MODEL_CFG, save_tiny_clip
from pipeline.cli.app import app
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.common import UserError
from tests.train.tiny_clips import adapted, foreign_files, inputs, same, tiny_timm
from train.clip.checkpoint.folder import load_adapted, read_description, save_adapted
from train.clip.checkpoint.published import load_published, read_published
from train.clip.export import ExportLayout, export
from train.clip.model import MaskPromptCLIP

ROOT = Path(__file__).parents[3]
FILES: dict[ExportLayout, str] = {"ovseg": "a.pth", "training": "a.pt", "state_dict": "a.safetensors"}
Files = tuple[Path, MaskPromptCLIP, ClipConfig]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A folder RUN/last, its model, and the CLIP it began with, of quick-GELU as OpenAI's."""
    folder = tmp_path_factory.mktemp("trained")
    base = save_tiny_clip(folder / "base", model_cfg={**MODEL_CFG, "quick_gelu": True})
    config = ClipConfig(model=f"local-dir:{base}")
    clip, _ = load_clip(config, "cpu")
    with torch.no_grad():
        for parameter in clip.visual.parameters():
            parameter.mul_(1.1)
    model = adapted(clip, 2)
    save_adapted(folder / "run/last", model, config, {"recipe": "FT then MPT"})
    return folder / "run/last", model, config


def plain(trained: Files) -> Any:  # noqa: ANN401 - open_clip's model
    return load_clip(trained[2], "cpu")[0]


@pytest.mark.parametrize("layout", FILES)
def test_a_file_loads_back_to_the_same_features(layout: ExportLayout, trained: Files, tmp_path: Path) -> None:
    export(trained[0], layout, tmp_path / "new" / FILES[layout])
    assert same(load_published(tmp_path / "new" / FILES[layout], plain(trained)), trained[1])


def test_names_are_those_of_each_system(trained: Files, tmp_path: Path) -> None:
    for layout, name in FILES.items():
        export(trained[0], layout, tmp_path / name)
    names = set(load_file(tmp_path / "a.safetensors"))
    assert {"visual.mask_embedding", "visual.conv1.weight", "logit_scale"} <= names
    assert set(torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"]) == names
    ovseg = torch.load(tmp_path / "a.pth", weights_only=True)["model"]
    assert set(ovseg) == {f"clip_adapter.clip_model.{name}" for name in names}


def test_an_open_clip_folder_loads_here_with_prompts_and_provenance(
    trained: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, model, config = trained
    gone = tmp_path / "gone"
    export(source, "open_clip", gone)
    # The CLIP it began with may be elsewhere by now.
    monkeypatch.setattr(sys.modules["train.clip.export"], "load_adapted", lambda folder: _without_base(folder))
    export(gone, "open_clip", tmp_path / "out")
    loaded, _, _ = load_adapted(tmp_path / "out")
    assert same(loaded, model)
    description = read_description(tmp_path / "out")
    assert description.provenance == {"recipe": "FT then MPT"}
    assert description.base == ClipConfig(model="local-dir:/nowhere")
    assert config.model != description.base.model


def _without_base(folder: Path) -> Any:  # noqa: ANN401
    model, tokenizer, description = load_adapted(folder)
    return model, tokenizer, description.model_copy(update={"base": ClipConfig(model="local-dir:/nowhere")})


STOCK = """
import sys
import open_clip, torch
model, preprocess = open_clip.create_model_from_pretrained("local-dir:out")
tokenize = open_clip.get_tokenizer("local-dir:out")
model.eval().requires_grad_(False)
images = torch.load("images.pt", weights_only=True)
torch.save([model.encode_image(images), model.encode_text(tokenize(["a dog", "Bären"]))], "features.pt")
assert not {"train", "stages", "pipeline"} & {name.partition(".")[0] for name in sys.modules}
"""


def test_an_open_clip_folder_loads_in_stock_open_clip_alone(tmp_path: Path) -> None:
    """In a process that knows nothing of this package; a model with a tokenizer of its own."""
    world = ClipConfig(model=f"local-dir:{ROOT / 'pipeline/world/clip'}")
    clip, tokenize = load_clip(world, "cpu")
    save_adapted(tmp_path / "last", adapted(clip, 3), world, {})
    export(tmp_path / "last", "open_clip", tmp_path / "out")
    images = torch.randn(2, 3, 96, 96)
    torch.save(images, tmp_path / "images.pt")
    subprocess.run([sys.executable, "-I", "-c", STOCK], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    image_features, text_features = torch.load(tmp_path / "features.pt", weights_only=True)
    torch.testing.assert_close(image_features, clip.encode_image(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(text_features, clip.encode_text(tokenize(["a dog", "Bären"])), rtol=1e-4, atol=1e-5)


def test_without_prompts_stock_open_clip_loads_a_training_file(trained: Files, tmp_path: Path) -> None:
    export(trained[0], "training", tmp_path / "a.pt", prompts=False)
    stock = plain(trained)
    open_clip.load_checkpoint(stock, str(tmp_path / "a.pt"))
    images, _ = inputs(64)
    assert torch.equal(stock.encode_image(images), trained[1].encode_image(images))
    export(trained[0], "open_clip", tmp_path / "out", prompts=False)
    assert load_adapted(tmp_path / "out")[0].depth == 0


def test_a_segmenter_keeps_its_mask_generator(trained: Files, tmp_path: Path) -> None:
    torch.save(foreign_files(adapted(plain(trained), 2))["segmenter"], tmp_path / "theirs.pth")
    export(trained[0], "ovseg", tmp_path / "ours.pth", segmenter=tmp_path / "theirs.pth")
    assert sorted(read_published(tmp_path / "ours.pth").rest) == ["backbone.conv.weight", "clip_adapter.pixel_mean"]
    assert same(load_published(tmp_path / "ours.pth", plain(trained)), trained[1])


def test_half_precision_halves_a_file(trained: Files, tmp_path: Path) -> None:
    export(trained[0], "state_dict", tmp_path / "full.pt")
    export(trained[0], "state_dict", tmp_path / "half.pt", precision="fp16")
    assert (tmp_path / "half.pt").stat().st_size < 0.6 * (tmp_path / "full.pt").stat().st_size


def test_what_exists_is_replaced_only_by_force(trained: Files, tmp_path: Path) -> None:
    for layout, name in {**FILES, "open_clip": "folder"}.items():
        export(trained[0], layout, tmp_path / name, precision="fp16")
        with pytest.raises(UserError, match=f"{name}: exists; remove it, or replace it by force"):
            export(trained[0], layout, tmp_path / name)
        export(trained[0], layout, tmp_path / name, force=True)
    assert same(load_published(tmp_path / "a.pt", plain(trained)), trained[1])
    assert same(load_adapted(tmp_path / "folder")[0], trained[1])


@pytest.mark.parametrize(
    ("layout", "name", "message"),
    [
        ("open_clip", "mine", "this holds other things"),
        ("open_clip", "mine/thesis.txt", "this holds other things"),
        ("training", "mine", r"training is a file; expected a name that ends with \.pt or \.pth"),
        ("training", "a.safetensors", r"ends with \.pt or \.pth"),
        ("ovseg", "a", r"ends with \.pt or \.pth"),
    ],
)
def test_a_target_that_cannot_be_is_refused_even_with_force(
    layout: ExportLayout, name: str, message: str, trained: Files, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not touch")
    with pytest.raises(UserError, match=message):
        export(trained[0], layout, tmp_path / name, force=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_source_that_is_none_is_explained(trained: Files, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run: is a run; expected the weights of one, such as .*run/last"):
        export(trained[0].parent, "training", tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"maskmine\.json: cannot be read"):
        export(tmp_path, "training", tmp_path / "a.pt")
    with pytest.raises(UserError, match="is the folder to export"):
        export(trained[0], "open_clip", trained[0], force=True)
    with pytest.raises(UserError, match="segmenter: a training export has no other parts"):
        export(trained[0], "training", tmp_path / "a.pt", segmenter=tmp_path / "b.pth")


def test_what_ovseg_cannot_hold_is_refused_and_what_differs_there_is_told(
    trained: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("GELU" in note for note in export(trained[0], "ovseg", tmp_path / "a.pth"))
    base = ClipConfig(model=f"local-dir:{save_tiny_clip(tmp_path / 'gelu')}")
    save_adapted(tmp_path / "last", adapted(load_clip(base, "cpu")[0], 1), base, {})
    assert any("GELU" in note for note in export(tmp_path / "last", "ovseg", tmp_path / "b.pth"))
    other = adapted(tiny_timm(), 1)
    monkeypatch.setattr(
        sys.modules["train.clip.export"], "load_adapted", lambda folder: (other, None, read_description(trained[0]))
    )
    with pytest.raises(UserError, match=r"OVSeg's CLIP is OpenAI's, and this one has no visual\.conv1\.weight"):
        export(trained[0], "ovseg", tmp_path / "c.pth")


def test_the_command_says_what_the_other_system_will_not_do(trained: Files, tmp_path: Path) -> None:
    target = tmp_path / "a.pth"
    done = CliRunner().invoke(app, ["export", str(trained[0]), "--layout", "ovseg", "--out", str(target)])
    assert done.exit_code == 0
    first, *notes = (line for line in done.output.splitlines() if not line.startswith("loading"))  # signs of life
    assert first == f"{target}: written."
    assert "MASK_PROMPT_DEPTH 2 and MASK_PROMPT_FWD True" in notes[0]
    assert "OVSeg's file as segmenter" in notes[1]


def test_snippets_of_the_export_page_run(trained: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands and the snippets in their order; transformers computes the same."""
    page = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(trained[0].parent)
    torch.save(foreign_files(adapted(plain(trained), 2))["segmenter"], "ovseg_swinbase_vitL14_ft_mpt.pth")
    names: dict[str, Any] = {}
    for language, text in re.findall(r"^```(python)?\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language:
            exec(compile(text, "docs/export.md", "exec"), names)
        elif text.startswith("maskmine export run/"):
            assert CliRunner().invoke(app, text.split()[1:]).exit_code == 0
    assert Path("tuned.pth").is_file()
    assert same(names["prompted"], trained[1])
    assert_equal_in_transformers(names["model"], names["tokenize"](["a dog", "two red cars"]))


@torch.no_grad()
def assert_equal_in_transformers(clip: Any, tokens: torch.Tensor) -> None:  # noqa: ANN401
    from transformers import CLIPModel

    loaded: Any = CLIPModel.from_pretrained("adapted-transformers")
    images, _ = inputs(64)
    features: Callable[..., Any] = loaded.eval()
    out = features(input_ids=tokens, pixel_values=images)
    for ours, theirs in ((clip.encode_image(images), out.image_embeds), (clip.encode_text(tokens), out.text_embeds)):
        expected = torch.nn.functional.normalize(ours, dim=-1)
        torch.testing.assert_close(theirs, expected, rtol=1e-4, atol=1e-5)
