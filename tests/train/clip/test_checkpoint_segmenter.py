"""The rest of a segmenter comes through an export so that detectron2, which goes by versions of modules, finds it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.tiny_clip import save_tiny_clip
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from tests.train.tiny_clips import adapted, published, tiny
from train.clip.checkpoint.folder import save_adapted
from train.clip.checkpoint.published import read_published, save_published
from train.clip.export import export

HEAD, DECODER = "sem_seg_head.", "sem_seg_head.pixel_decoder."
_NORMED = [f"adapter_{number}" for number in (1, 2, 3)] + [f"layer_{number}" for number in (1, 2, 3, 4)]
PIXEL_DECODER = [f"{name}.{part}" for name in _NORMED for part in ("weight", "norm.weight", "norm.bias")]
PIXEL_DECODER += ["mask_features.weight", "mask_features.bias"]
OTHERS = ["backbone.norm0.weight", f"{HEAD}predictor.query_embed.weight", "clip_adapter.non_object_embedding"]


class _Head(nn.Module):
    """Loads as the published head does, by its version and by names."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *others: Any) -> None:  # noqa: ANN401
        if local_metadata.get("version") is None or local_metadata["version"] < 2:
            for name in [name for name in state_dict if name.startswith(prefix)]:
                if not name.startswith(f"{prefix}predictor"):
                    state_dict[name.replace(prefix, f"{prefix}pixel_decoder.")] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)


def generator(value: float) -> nn.Module:
    """A module with the published names, each a different number from `value` on."""
    root = nn.Module()
    for number, name in enumerate([DECODER + name for name in PIXEL_DECODER] + OTHERS):
        *parents, last = name.split(".")
        place = root
        for parent in parents:
            if not hasattr(place, parent):
                place.add_module(parent, _Head() if parent == "sem_seg_head" else nn.Module())
            place = place.get_submodule(parent)
        place.register_parameter(last, nn.Parameter(torch.full((2,), value + number)))
    return root


def files(clip: Any) -> dict[str, Any]:  # noqa: ANN401 - open_clip's model
    """The ways in which one segmenter is found saved."""
    state = generator(1.0).state_dict()
    clips = published(adapted(clip, 2), "clip_adapter.clip_model.")
    whole = OrderedDict([*state.items(), *clips.items()])
    vars(whole)["_metadata"] = vars(state)["_metadata"]
    old = {name.replace(DECODER, HEAD): value for name, value in whole.items()}
    old_with_versions = OrderedDict(old)
    vars(old_with_versions)["_metadata"] = OrderedDict({"": {"version": 1}, "sem_seg_head": {"version": 1}})
    distributed = OrderedDict((f"module.{name}", value) for name, value in whole.items())
    vars(distributed)["_metadata"] = OrderedDict((f"module.{name}", value) for name, value in state._metadata.items())
    odd = OrderedDict(whole)
    vars(odd)["_metadata"] = [1]
    return {
        "new names and versions": whole,
        "new names, a plain dict": dict(whole),
        "old names, a plain dict": old,
        "old names and old versions": old_with_versions,
        "written by several processes": distributed,
        "versions of another form": odd,
    }


KINDS = list(files(tiny()))


def lost(file: Path) -> list[str]:
    """Tensors of the generator that do not arrive where they belong, by a loader that is not strict."""
    state: dict[str, Tensor] = torch.load(file, weights_only=True)["model"]
    loaded = generator(-100.0)
    loaded.load_state_dict(state, strict=False)
    expected = generator(1.0).state_dict()
    return [name for name, value in loaded.state_dict().items() if not torch.equal(value, expected[name])]


def test_the_imitated_loader_loses_the_pixel_decoder_of_a_plain_dict(tmp_path: Path) -> None:
    found = files(tiny())
    torch.save({"model": found["new names, a plain dict"]}, tmp_path / "a.pth")
    assert len(lost(tmp_path / "a.pth")) == len(PIXEL_DECODER) == 23
    for kind in ("new names and versions", "old names, a plain dict"):
        torch.save({"model": found[kind]}, tmp_path / "a.pth")
        assert lost(tmp_path / "a.pth") == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_a_segmenter_arrives_after_saving(kind: str, tmp_path: Path) -> None:
    torch.save({"model": files(tiny())[kind]}, tmp_path / "theirs.pth")
    theirs = read_published(tmp_path / "theirs.pth")
    assert {name for name in theirs.rest if name.startswith(DECODER)} == {DECODER + name for name in PIXEL_DECODER}
    save_published(tmp_path / "ours.pth", adapted(tiny(seed=1), 2), "segmenter", segmenter=theirs)
    assert lost(tmp_path / "ours.pth") == []


def test_versions_of_other_modules_are_kept(tmp_path: Path) -> None:
    whole = files(tiny())["new names and versions"]
    vars(whole)["_metadata"]["backbone.norm0"] = {"version": 3}
    torch.save({"model": whole}, tmp_path / "theirs.pth")
    theirs = read_published(tmp_path / "theirs.pth")
    save_published(tmp_path / "ours.pth", adapted(tiny(), 2), "segmenter", segmenter=theirs)
    assert torch.load(tmp_path / "ours.pth", weights_only=True)["model"]._metadata == whole._metadata


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_a_segmenter_arrives_after_an_export(kind: str, tmp_path: Path) -> None:
    config = ClipConfig(model=f"local-dir:{save_tiny_clip(tmp_path / 'base')}")
    clip, _ = load_clip(config, "cpu")
    save_adapted(tmp_path / "last", adapted(clip, 2), config, {})
    torch.save({"model": files(clip)[kind]}, tmp_path / "theirs.pth")
    export(tmp_path / "last", "ovseg", tmp_path / "ours.pth", segmenter=tmp_path / "theirs.pth")
    assert lost(tmp_path / "ours.pth") == []
