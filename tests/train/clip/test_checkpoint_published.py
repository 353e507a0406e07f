"""Published layouts: read, written, and refused."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from stages.clip_tower import resize_grid
from stages.common import Precision, UserError
from tests.train.tiny_clips import adapted, foreign_files, inputs, published, same, tiny, tiny_timm
from train.clip.checkpoint.layouts import Layout
from train.clip.checkpoint.published import load_published, read_published, save_published, weights_of

LAYOUTS: list[Layout] = ["clip", "training", "training-ddp", "segmenter"]
PREFIX = {"clip": "", "training": "", "training-ddp": "module.", "segmenter": "clip_adapter.clip_model."}


def saved_tensors(file: Path, layout: Layout) -> dict[str, Tensor]:
    content: dict[str, Any] = torch.load(file, weights_only=True)
    return dict({"clip": content, "segmenter": content.get("model")}.get(layout) or content["state_dict"])


@pytest.mark.parametrize("make", [tiny, tiny_timm])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_written_with_its_names_and_read_again(
    layout: Layout, make: Callable[..., Any], tmp_path: Path
) -> None:
    model = adapted(make(), 2)
    save_published(tmp_path / "a.pt", model, layout)
    tensors = saved_tensors(tmp_path / "a.pt", layout)
    assert tensors.keys() == {PREFIX[layout] + name for name in [*model.clip.state_dict(), "visual.mask_embedding"]}
    assert read_published(tmp_path / "a.pt").layout == layout
    other = make(seed=1)
    loaded = load_published(tmp_path / "a.pt", other)
    assert loaded.clip is other
    assert loaded.depth == 2
    assert same(loaded, model)


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_any_layout_becomes_any_other_without_loss(source: Layout, target: Layout, tmp_path: Path) -> None:
    save_published(tmp_path / "first.pth", adapted(tiny(), 2), source)
    middle = load_published(tmp_path / "first.pth", tiny(seed=1))
    save_published(tmp_path / "second.pth", middle, target)
    save_published(tmp_path / "again.pth", load_published(tmp_path / "second.pth", tiny(seed=2)), source)
    assert (tmp_path / "again.pth").read_bytes() == (tmp_path / "first.pth").read_bytes()


def test_bare_layout_may_be_safetensors(tmp_path: Path) -> None:
    model = adapted(tiny(), 2)
    save_published(tmp_path / "a.safetensors", model, "clip")
    assert same(load_published(tmp_path / "a.safetensors", tiny(seed=1)), model)
    with pytest.raises(UserError, match="nested"):
        save_published(tmp_path / "b.safetensors", model, "training")


@pytest.mark.parametrize("kind", foreign_files(adapted(tiny(), 2)))
def test_files_of_other_programs_load(kind: str, tmp_path: Path) -> None:
    model = adapted(tiny(), 2)
    torch.save(foreign_files(model)[kind], tmp_path / "a.pth")
    weights = read_published(tmp_path / "a.pth")
    assert weights.layout == kind.rpartition(" ")[2]
    assert sorted(weights.rest) == (["backbone.conv.weight", "clip_adapter.pixel_mean"] if "seg" in kind else [])
    assert same(load_published(tmp_path / "a.pth", tiny(seed=1)), model)


def test_a_segmenter_keeps_its_other_tensors(tmp_path: Path) -> None:
    torch.save(foreign_files(adapted(tiny(), 2))["segmenter"], tmp_path / "theirs.pth")
    ours = adapted(tiny(seed=3), 2)
    save_published(
        tmp_path / "ours.pth", ours, "segmenter", precision="fp16", segmenter=read_published(tmp_path / "theirs.pth")
    )
    tensors = torch.load(tmp_path / "ours.pth", weights_only=True)["model"]
    assert torch.equal(tensors["backbone.conv.weight"], torch.ones(2, 2))
    assert tensors["clip_adapter.pixel_mean"].dtype == torch.float32
    assert torch.equal(tensors["clip_adapter.clip_model.visual.proj"], ours.clip.visual.proj.half())


def test_a_plain_clip_gets_fresh_prompts_of_the_depth_asked_for(tmp_path: Path) -> None:
    clip = tiny()
    torch.save(clip.state_dict(), tmp_path / "plain.pt")
    assert load_published(tmp_path / "plain.pt", tiny(seed=1)).depth == 0
    model = load_published(tmp_path / "plain.pt", tiny(seed=1), depth=3)
    assert model.mask_embedding is not None
    assert model.mask_embedding.shape == (3, 16, 32)
    images, _ = inputs()
    assert torch.equal(model.encode_image(images), clip.encode_image(images))


def test_another_resolution_interpolates_positions_and_prompts(tmp_path: Path) -> None:
    model = adapted(tiny(image_size=64), 2)
    save_published(tmp_path / "a.pt", model, "clip", precision="fp16")
    loaded = load_published(tmp_path / "a.pt", tiny(seed=1))
    assert loaded.mask_embedding is not None
    assert model.mask_embedding is not None
    expected = resize_grid(model.mask_embedding.detach().half().float(), (8, 8), (4, 4))
    torch.testing.assert_close(loaded.mask_embedding.detach(), expected)
    old, new = model.clip.visual.positional_embedding, loaded.clip.visual.positional_embedding
    assert new.shape == (17, 32)
    torch.testing.assert_close(new[0], old[0].half().float())
    positions = resize_grid(old[None, 1:].half().float(), (8, 8), (4, 4))[0]
    torch.testing.assert_close(new[1:], positions)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (lambda: tiny(width=48), "got shape [2, 16, 32]; expected [2, 16, 48]"),
        (lambda: tiny(patch_size=16), "visual.conv1.weight: got [32, 3, 8, 8], expected [32, 3, 16, 16]"),
        (lambda: tiny(layers=6), "24 missing: visual.transformer.resblocks.4.ln_1.weight, "),
        (lambda: tiny(layers=3), "12 unexpected: visual.transformer.resblocks.3.ln_1.weight, "),
        (lambda: tiny(layers=1), "depth: got 2; expected 0 to 1"),
        (lambda: tiny(mlp_ratio=2.0), "resblocks.0.mlp.c_fc.weight: got [128, 32], expected [64, 32]"),
        (tiny_timm, "mask prompts: got shape [2, 16, 32]; expected [2, 100, 64]"),
    ],
)
def test_a_file_of_another_model_is_refused_with_what_differs(
    clip: Callable[[], Any], expected: str, tmp_path: Path
) -> None:
    save_published(tmp_path / "a.pt", adapted(tiny(), 2), "training")
    model = clip()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=re.escape(expected)) as error:
        load_published(tmp_path / "a.pt", model)
    assert "a.pt: " in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    torch.save({"visual.nothing": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"missing: \S+, \S+ and \d+ more; 1 unexpected: visual.nothing"):
        load_published(tmp_path / "a.pt", tiny())


def test_a_depth_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    save_published(tmp_path / "a.pt", adapted(tiny(), 2), "training")
    with pytest.raises(UserError, match="have depth 2; expected 3"):
        load_published(tmp_path / "a.pt", tiny(), depth=3)


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old_format", [False, True])
def test_nothing_is_unpickled_but_tensors(old_format: bool, tmp_path: Path) -> None:
    content = {"state_dict": published(adapted(tiny(), 2)), "args": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UserError, match=r"a\.pt: holds more than tensors \(\w+\.mkdir\).*keep its weights alone"):
        read_published(tmp_path / "a.pt")
    assert not (tmp_path / "sprung").exists()
    torch.save({**content, "args": Namespace(lr=0.1)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"argparse\.Namespace"):
        read_published(tmp_path / "b.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
    with pytest.raises(UserError, match=r"TorchScript.*torch\.jit\.load\(FILE\)\.state_dict\(\)"):
        read_published(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(200)])
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_damaged_files_are_named(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: .*fetch it again"):
        read_published(tmp_path / name)


def test_half_a_file_and_no_file_are_named(tmp_path: Path) -> None:
    save_published(tmp_path / "a.pt", adapted(tiny(), 2), "clip")
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.pt: is damaged"):
        read_published(tmp_path / "a.pt")
    with pytest.raises(UserError, match="no such file"):
        read_published(tmp_path / "b.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"backbone.weight": torch.zeros(1)}}])
def test_files_without_a_clip_are_refused_with_what_they_hold(content: Any, tmp_path: Path) -> None:  # noqa: ANN401
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"expected a dictionary|expected names like visual\.conv1\.weight.*found"):
        read_published(tmp_path / "a.pt")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_halves_matrices_and_keeps_vectors(precision: Precision, tmp_path: Path) -> None:
    model = adapted(tiny(), 2)
    save_published(tmp_path / "full.pt", model, "clip")
    save_published(tmp_path / "half.pt", model, "clip", precision=precision)
    state = torch.load(tmp_path / "half.pt", weights_only=True)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    assert {value.dtype for value in state.values() if value.ndim > 1} == {dtype}
    assert {value.dtype for value in state.values() if value.ndim <= 1} == {torch.float32}
    loaded = load_published(tmp_path / "half.pt", tiny(seed=1))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    images, masks = inputs()
    cosine = torch.nn.functional.cosine_similarity(
        loaded.encode_image(images, masks), model.encode_image(images, masks)
    )
    assert cosine.min() > 0.999


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    model = adapted(tiny(), 2)
    with torch.no_grad():
        model.clip.visual.proj[0, 0] = 1e5
    with pytest.raises(UserError, match=r"visual\.proj: 1e\+05 is beyond fp16's range"):
        save_published(tmp_path / "a.pt", model, "clip", precision="fp16")
    save_published(tmp_path / "a.pt", model, "clip", precision="bf16")


def test_stock_open_clip_loads_a_published_file_without_prompts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = adapted(open_clip.create_model("ViT-S-32-alt"), 3)
    images, _ = inputs(224)
    layouts: list[Layout] = ["clip", "training-ddp"]
    for layout in layouts:
        save_published(tmp_path / "a.pt", model, layout, prompts=False)
        stock = open_clip.create_model("ViT-S-32-alt", pretrained=str(tmp_path / "a.pt")).eval()
        assert torch.equal(stock.encode_image(images), model.encode_image(images))


def test_weights_of_a_model_leave_the_prompts_apart() -> None:
    model = adapted(tiny(), 2)
    weights = weights_of(model)
    assert weights.clip.keys() == model.clip.state_dict().keys()
    assert weights.prompts is not None
    assert not weights.prompts.requires_grad
