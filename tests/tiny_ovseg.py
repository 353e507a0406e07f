"""Tiny OVSeg checkpoints with random weights of a fixed seed, by the published names; their masks mean nothing."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

WIDTH, HIDDEN, FEATURES, MASK, CLIP = 8, 32, 32, 16, 16
QUERIES = 5
# Small photos, and a decoder of two heads; all else is as released.
CONFIG: dict[str, Any] = {"input": {"MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 96}, "mask_former": {"NHEADS": 2}}


def ovseg_state(swin: bool = True, depth: int = 2, vocabulary: int = 49408, seed: int = 0) -> OrderedDict[str, Tensor]:
    """A state dict with versions of its modules, as detectron2 saves it.

    Args:
        swin: whether the backbone is a Swin; else it is a ResNet with the DeepLab stem.
        depth: of the mask prompts; 0 for none.
        vocabulary: tokens of the CLIP.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shapes, channels = _swin() if swin else _resnet()
        shapes |= _decoder(channels) | _predictor(channels[-1])
        state = OrderedDict((name, _drawn(name, shape)) for name, shape in shapes.items())
        if swin:
            for level in range(4):
                state[f"backbone.layers.{level}.blocks.0.attn.relative_position_index"] = _positions()
        state["clip_adapter.non_object_embedding"] = torch.randn(1, CLIP)
        state |= {f"clip_adapter.clip_model.{name}": value for name, value in _clip(depth, vocabulary).items()}
    vars(state)["_metadata"] = OrderedDict({"": {"version": 1}, "sem_seg_head": {"version": 2}})
    return state


def write_ovseg(file: Path, **given: Any) -> Path:  # noqa: ANN401
    """The same as a file of detectron2's."""
    torch.save({"model": ovseg_state(**given)}, file)
    return file


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("running_var") or ("norm" in name.split(".")[-2] and name.endswith("weight")):
        return 1 + 0.1 * torch.rand(shape)
    if len(shape) == 1:
        return 0.1 * torch.randn(shape)
    return torch.randn(shape) / shape[1] ** 0.5


def _swin() -> tuple[dict[str, tuple[int, ...]], list[int]]:
    shapes = {"backbone.patch_embed.proj.weight": (WIDTH, 3, 4, 4), **_linear("backbone.patch_embed.norm", WIDTH)}
    shapes["backbone.patch_embed.proj.bias"] = (WIDTH,)
    channels = [WIDTH * 2**level for level in range(4)]
    for level, width in enumerate(channels):
        block = f"backbone.layers.{level}.blocks.0"
        for name, sizes in {
            **{"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width)},
            **{"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)},
        }.items():
            shapes |= _linear(f"{block}.{name}", *sizes)
        shapes[f"{block}.attn.relative_position_bias_table"] = (49, 2)
        shapes |= _linear(f"backbone.norm{level}", width)
        if level < 3:
            shapes[f"backbone.layers.{level}.downsample.reduction.weight"] = (2 * width, 4 * width)
            shapes |= _linear(f"backbone.layers.{level}.downsample.norm", 4 * width)
    return shapes, channels


def _positions() -> Tensor:
    """Row of the table of biases for each two pixels of a window of 4 x 4, [16, 16]."""
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"))
    return (rows[:, None] - rows + 3) * 7 + (columns[:, None] - columns + 3)


def _resnet() -> tuple[dict[str, tuple[int, ...]], list[int]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (out, into) in enumerate(((4, 3), (4, 4), (8, 4)), start=1):
        shapes |= _normed(f"backbone.stem.conv{number}", out, into, 3)
    into, channels = 8, [16, 32, 64, 128]
    for stage, out in enumerate(channels, start=2):
        for block in range(3 if stage == 5 else 1):
            prefix, planes = f"backbone.res{stage}.{block}", out // 4
            if block == 0:
                shapes |= _normed(f"{prefix}.shortcut", out, into, 1)
            shapes |= _normed(f"{prefix}.conv1", planes, into, 1) | _normed(f"{prefix}.conv2", planes, planes, 3)
            shapes |= _normed(f"{prefix}.conv3", out, planes, 1)
            into = out
    return shapes, channels


def _decoder(channels: list[int]) -> dict[str, tuple[int, ...]]:
    prefix, shapes = "sem_seg_head.pixel_decoder.", {}
    for level in (1, 2, 3, 4):
        into = channels[3] if level == 4 else FEATURES
        convs = {f"layer_{level}": (FEATURES, into, 3, 3)}
        if level < 4:
            convs[f"adapter_{level}"] = (FEATURES, channels[level - 1], 1, 1)
        for name, shape in convs.items():
            shapes[f"{prefix}{name}.weight"] = shape
            shapes |= _linear(f"{prefix}{name}.norm", FEATURES)
    return shapes | _linear(f"{prefix}mask_features", MASK, FEATURES, 3, 3)


def _predictor(into: int) -> dict[str, tuple[int, ...]]:
    prefix = "sem_seg_head.predictor."
    shapes = {f"{prefix}query_embed.weight": (QUERIES, HIDDEN), **_linear(f"{prefix}input_proj", HIDDEN, into, 1, 1)}
    layer = f"{prefix}transformer.decoder.layers.0."
    for attention in ("self_attn", "multihead_attn"):
        shapes[f"{layer}{attention}.in_proj_weight"] = (3 * HIDDEN, HIDDEN)
        shapes[f"{layer}{attention}.in_proj_bias"] = (3 * HIDDEN,)
        shapes |= _linear(f"{layer}{attention}.out_proj", HIDDEN, HIDDEN)
    shapes |= _linear(f"{layer}linear1", 16, HIDDEN) | _linear(f"{layer}linear2", HIDDEN, 16)
    for norm in (f"{layer}norm1", f"{layer}norm2", f"{layer}norm3", f"{prefix}transformer.decoder.norm"):
        shapes |= _linear(norm, HIDDEN)
    for number, out in enumerate((HIDDEN, HIDDEN, MASK)):
        shapes |= _linear(f"{prefix}mask_embed.layers.{number}", out, HIDDEN)
    return (
        shapes
        | _linear(f"{prefix}class_embed.layers.0", 24, HIDDEN)
        | _linear(f"{prefix}class_embed.layers.1", CLIP, 24)
    )


def _linear(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _normed(name: str, out: int, into: int, side: int) -> dict[str, tuple[int, ...]]:
    norms = {f"{name}.norm.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.weight": (out, into, side, side), **norms}


def _clip(depth: int, vocabulary: int) -> dict[str, Tensor]:
    vision = {"image_size": 32, "layers": 3, "width": 16, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": vocabulary, "width": 16, "heads": 1, "layers": 1}
    state = dict(open_clip.CLIP(embed_dim=CLIP, vision_cfg=vision, text_cfg=text, quick_gelu=True).state_dict())
    return {**state, "visual.mask_embedding": torch.randn(depth, 16, 16)} if depth else state
