"""Tiny OVSeg checkpoints with random weights of a fixed seed, by the published names; their masks mean nothing."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

CLIP, CLIP_SIDE_PX = 16, 32
QUERIES = 5
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Small photos, and a decoder of two heads; all else is as released.
CONFIG: dict[str, Any] = {"input": {"MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 96}, "mask_former": {"NHEADS": 2}}


@dataclass(frozen=True)
class Sizes:
    """Of everything that a file's tensors tell by their shapes.

    Attributes:
        width, depths, heads, window, mlp, qkv_bias: of a Swin.
        stem, deep, groups, group_width, res2, blocks: of a ResNet; `deep` is the DeepLab stem.
        features, mask: channels of the pixel decoder, and of the masks.
        hidden, queries, layers, ffn: of the decoder.
        project: whether there is a projection even of a map that has the decoder's width.
        embed: width and number of layers of the classes' head.
        clip_width, clip_layers: of CLIP's image tower.
    """

    width: int = 8
    depths: tuple[int, int, int, int] = (1, 1, 1, 1)
    heads: tuple[int, int, int, int] = (2, 2, 2, 2)
    window: int = 4
    mlp: float = 4.0
    qkv_bias: bool = True
    stem: int = 8
    deep: bool = True
    groups: int = 1
    group_width: int = 4
    res2: int = 16
    blocks: tuple[int, int, int, int] = (1, 1, 1, 3)
    features: int = 32
    mask: int = 16
    hidden: int = 32
    queries: int = QUERIES
    layers: int = 1
    ffn: int = 16
    project: bool = True
    embed: tuple[int, int] = (24, 2)
    clip_width: int = 16
    clip_layers: int = 3


def ovseg_state(
    swin: bool = True, depth: int = 2, vocabulary: int = 49408, seed: int = 0, sizes: Sizes | None = None
) -> OrderedDict[str, Tensor]:
    """A state dict with versions of its modules, as detectron2 saves it.

    Args:
        swin: whether the backbone is a Swin; else it is a ResNet.
        depth: of the mask prompts; 0 for none.
        vocabulary: tokens of the CLIP.
        seed: of the weights.
        sizes: of all else; small ones if not given.
    """
    sizes = sizes or Sizes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shapes, channels = _swin(sizes) if swin else _resnet(sizes)
        shapes |= _decoder(sizes, channels) | _predictor(sizes, channels[-1])
        state = OrderedDict((name, _drawn(name, shape)) for name, shape in shapes.items())
        if swin:
            for level, depth_of_level in enumerate(sizes.depths):
                for block in range(depth_of_level):
                    name = f"backbone.layers.{level}.blocks.{block}.attn.relative_position_index"
                    state[name] = _positions(sizes.window)
        state["clip_adapter.non_object_embedding"] = torch.randn(1, CLIP)
        for name, colours in (("mean", _MEAN), ("std", _STD)):
            state[f"clip_adapter.pixel_{name}"] = torch.tensor(colours).view(1, 3, 1, 1) * 255
        state |= {f"clip_adapter.clip_model.{name}": value for name, value in _clip(sizes, depth, vocabulary).items()}
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


def _swin(sizes: Sizes) -> tuple[dict[str, tuple[int, ...]], list[int]]:
    into = sizes.width
    shapes = {"backbone.patch_embed.proj.weight": (into, 3, 4, 4), **_linear("backbone.patch_embed.norm", into)}
    shapes["backbone.patch_embed.proj.bias"] = (into,)
    channels = [into * 2**level for level in range(4)]
    for level, width in enumerate(channels):
        for number in range(sizes.depths[level]):
            block, inner = f"backbone.layers.{level}.blocks.{number}", int(sizes.mlp * width)
            for name, shape in {
                **{"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width)},
                **{"mlp.fc1": (inner, width), "mlp.fc2": (width, inner)},
            }.items():
                shapes |= _linear(f"{block}.{name}", *shape)
            if not sizes.qkv_bias:
                del shapes[f"{block}.attn.qkv.bias"]
            rows = (2 * sizes.window - 1) ** 2
            shapes[f"{block}.attn.relative_position_bias_table"] = (rows, sizes.heads[level])
        shapes |= _linear(f"backbone.norm{level}", width)
        if level < 3:
            shapes[f"backbone.layers.{level}.downsample.reduction.weight"] = (2 * width, 4 * width)
            shapes |= _linear(f"backbone.layers.{level}.downsample.norm", 4 * width)
    return shapes, channels


def _positions(window: int) -> Tensor:
    """Row of the table of biases for each two pixels of a window."""
    places = torch.arange(window)
    rows, columns = (axis.flatten() for axis in torch.meshgrid(places, places, indexing="ij"))
    down, right = rows[:, None] - rows + window - 1, columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def _resnet(sizes: Sizes) -> tuple[dict[str, tuple[int, ...]], list[int]]:
    stem, half = "backbone.stem.conv", sizes.stem // 2
    shapes = _normed(f"{stem}1", half, 3, 3) if sizes.deep else _normed(f"{stem}1", sizes.stem, 3, 7)
    if sizes.deep:
        shapes |= _normed(f"{stem}2", half, half, 3) | _normed(f"{stem}3", sizes.stem, half, 3)
    into, channels = sizes.stem, [sizes.res2 * 2**level for level in range(4)]
    for stage, (out, blocks) in enumerate(zip(channels, sizes.blocks, strict=True), start=2):
        planes = sizes.groups * sizes.group_width * 2 ** (stage - 2)
        for block in range(blocks):
            prefix = f"backbone.res{stage}.{block}"
            if into != out:
                shapes |= _normed(f"{prefix}.shortcut", out, into, 1)
            shapes |= _normed(f"{prefix}.conv1", planes, into, 1)
            shapes |= _normed(f"{prefix}.conv2", planes, planes // sizes.groups, 3)
            shapes |= _normed(f"{prefix}.conv3", out, planes, 1)
            into = out
    return shapes, channels


def _decoder(sizes: Sizes, channels: list[int]) -> dict[str, tuple[int, ...]]:
    prefix, width, shapes = "sem_seg_head.pixel_decoder.", sizes.features, {}
    for level in (1, 2, 3, 4):
        into = channels[3] if level == 4 else width
        convs = {f"layer_{level}": (width, into, 3, 3)}
        if level < 4:
            convs[f"adapter_{level}"] = (width, channels[level - 1], 1, 1)
        for name, shape in convs.items():
            shapes[f"{prefix}{name}.weight"] = shape
            shapes |= _linear(f"{prefix}{name}.norm", width)
    return shapes | _linear(f"{prefix}mask_features", sizes.mask, width, 3, 3)


def _predictor(sizes: Sizes, into: int) -> dict[str, tuple[int, ...]]:
    prefix, hidden = "sem_seg_head.predictor.", sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}query_embed.weight": (sizes.queries, hidden)}
    if sizes.project or into != hidden:
        shapes |= _linear(f"{prefix}input_proj", hidden, into, 1, 1)
    for number in range(sizes.layers):
        layer = f"{prefix}transformer.decoder.layers.{number}."
        for attention in ("self_attn", "multihead_attn"):
            shapes[f"{layer}{attention}.in_proj_weight"] = (3 * hidden, hidden)
            shapes[f"{layer}{attention}.in_proj_bias"] = (3 * hidden,)
            shapes |= _linear(f"{layer}{attention}.out_proj", hidden, hidden)
        shapes |= _linear(f"{layer}linear1", sizes.ffn, hidden) | _linear(f"{layer}linear2", hidden, sizes.ffn)
        for norm in ("norm1", "norm2", "norm3"):
            shapes |= _linear(f"{layer}{norm}", hidden)
    shapes |= _linear(f"{prefix}transformer.decoder.norm", hidden)
    width, layers = sizes.embed
    heads = {"mask_embed": [hidden] * 3 + [sizes.mask], "class_embed": [hidden] + [width] * (layers - 1) + [CLIP]}
    for head, widths in heads.items():
        for number, (before, after) in enumerate(pairwise(widths)):
            shapes |= _linear(f"{prefix}{head}.layers.{number}", after, before)
    return shapes


def _linear(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _normed(name: str, out: int, into: int, side: int) -> dict[str, tuple[int, ...]]:
    norms = {f"{name}.norm.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.weight": (out, into, side, side), **norms}


def _clip(sizes: Sizes, depth: int, vocabulary: int) -> dict[str, Tensor]:
    width = sizes.clip_width
    vision = {"layers": sizes.clip_layers, "width": width, "head_width": min(width, 64), "patch_size": 8}
    text = {"context_length": 77, "vocab_size": vocabulary, "width": 16, "heads": 1, "layers": 1}
    clip = open_clip.CLIP(
        embed_dim=CLIP, vision_cfg={**vision, "image_size": CLIP_SIDE_PX}, text_cfg=text, quick_gelu=True
    )
    state = dict(clip.state_dict())
    return {**state, "visual.mask_embedding": torch.randn(depth, 16, width)} if depth else state
