"""OVSeg's arithmetic once more, in plain torch from its description: what the code is held against.

It equals the published system's reference numbers (tests/train/segmenter/test_published.py), and can be asked for
any size and setting. Nothing of the code that it checks is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as fn

_DECODER, _PREDICTOR, _VISUAL = (
    "sem_seg_head.pixel_decoder.",
    "sem_seg_head.predictor.",
    "clip_adapter.clip_model.visual.",
)
_CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]


@dataclass(frozen=True)
class Weights:
    """A state dict, with layers by name."""

    of: Mapping[str, Tensor]

    def has(self, name: str) -> bool:
        return name in self.of

    def count(self, prefix: str, suffix: str) -> range:
        """Numbers from 0 on for which PREFIX.number.SUFFIX is there."""
        number = 0
        while f"{prefix}{number}{suffix}" in self.of:
            number += 1
        return range(number)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return fn.linear(x, self.of[f"{name}.weight"], self.of.get(f"{name}.bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        return fn.layer_norm(x, x.shape[-1:], self.of[f"{name}.weight"], self.of[f"{name}.bias"])

    def group_conv(self, x: Tensor, name: str, padding: int) -> Tensor:
        x = fn.conv2d(x, self.of[f"{name}.weight"], padding=padding)
        return fn.group_norm(x, 32, self.of[f"{name}.norm.weight"], self.of[f"{name}.norm.bias"])

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
        weight = self.of[f"{name}.weight"]
        x = fn.conv2d(x, weight, None, stride, padding, dilation, x.shape[1] // weight.shape[1])
        parts = (self.of[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return fn.batch_norm(x, *parts)

    def mlp(self, x: Tensor, name: str) -> Tensor:
        for number in self.count(f"{name}.layers.", ".weight"):
            x = self.linear(x.relu() if number else x, f"{name}.layers.{number}")
        return x

    def attention(self, query: Tensor, key: Tensor, value: Tensor, name: str, heads: int) -> Tensor:
        """Of [n, C] and [m, C]."""
        weights = self.of[f"{name}.in_proj_weight"].chunk(3)
        biases = self.of[f"{name}.in_proj_bias"].chunk(3)
        q, k, v = (
            fn.linear(x, weight, bias).unflatten(1, (heads, -1)).transpose(0, 1)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        share = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.linear((share @ v).transpose(0, 1).flatten(1), f"{name}.out_proj")


def resized_hw(height: int, width: int, short: float, longest: float) -> tuple[int, int]:
    """detectron2's ResizeShortestEdge."""
    scale = short / min(height, width)
    new_h, new_w = (short, scale * width) if height < width else (scale * height, short)
    if max(new_h, new_w) > longest:
        scale = longest / max(new_h, new_w)
        new_h, new_w = new_h * scale, new_w * scale
    return int(new_h + 0.5), int(new_w + 0.5)


def swin(x: Tensor, w: Weights) -> list[Tensor]:
    """Feature maps of [1, 3, h, w]."""
    patch = w.of["backbone.patch_embed.proj.weight"].shape[-1]
    x = fn.pad(x, (0, -x.shape[3] % patch, 0, -x.shape[2] % patch))
    x = fn.conv2d(
        x, w.of["backbone.patch_embed.proj.weight"], w.of["backbone.patch_embed.proj.bias"], stride=patch
    ).permute(0, 2, 3, 1)
    x = w.norm(x, "backbone.patch_embed.norm")
    maps = []
    for level in w.count("backbone.layers.", ".blocks.0.norm1.weight"):
        layer = f"backbone.layers.{level}."
        for block in w.count(f"{layer}blocks.", ".norm1.weight"):
            name = f"{layer}blocks.{block}."
            x = x + _windows(w.norm(x, f"{name}norm1"), w, f"{name}attn.", bool(block % 2))
            x = x + w.linear(
                fn.gelu(w.linear(w.norm(x, f"{name}norm2"), f"{name}mlp.fc1")),
                f"{name}mlp.fc2",
            )
        maps.append(w.norm(x, f"backbone.norm{level}").permute(0, 3, 1, 2))
        if w.has(f"{layer}downsample.reduction.weight"):
            x = fn.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)
            x = w.linear(w.norm(x, f"{layer}downsample.norm"), f"{layer}downsample.reduction")
    return maps


def _windows(x: Tensor, w: Weights, name: str, is_shifted: bool) -> Tensor:
    """Attention in (shifted) windows of [1, h, w, C]."""
    table = w.of[f"{name}relative_position_bias_table"]
    side, heads = (math.isqrt(len(table)) + 1) // 2, table.shape[1]
    shift = side // 2 if is_shifted else 0
    height, width, channels = x.shape[1:]
    x = fn.pad(x, (0, 0, 0, -width % side, 0, -height % side)).roll((-shift, -shift), (1, 2))
    rows, columns = x.shape[1] // side, x.shape[2] // side

    def parted(plane: Tensor) -> Tensor:
        return plane.view(rows, side, columns, side, -1).transpose(1, 2).reshape(rows * columns, side * side, -1)

    q, k, v = w.linear(parted(x[0]), f"{name}qkv").unflatten(2, (3, heads, channels // heads)).permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(2, 3) / math.sqrt(channels // heads)
    logits = logits + table[w.of[f"{name}relative_position_index"].long()].permute(2, 0, 1)
    if shift:
        zones = torch.zeros(1, *x.shape[1:3], 1)
        cuts = (slice(-side), slice(-side, -shift), slice(-shift, None))
        for number, (row, column) in enumerate((row, column) for row in cuts for column in cuts):
            zones[:, row, column] = number
        zone = parted(zones[0])[..., 0]
        logits = logits + torch.where(zone[:, None] == zone[:, :, None], 0.0, -100.0)[:, None]
    out = w.linear((logits.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{name}proj")
    out = out.view(rows, columns, side, side, channels).transpose(1, 2).reshape(1, *x.shape[1:])
    return out.roll((shift, shift), (1, 2))[:, :height, :width]


def resnet(x: Tensor, w: Weights, config: Mapping[str, Any], has_grid: bool) -> list[Tensor]:
    """Feature maps of [1, 3, h, w]."""
    if w.has("backbone.stem.conv2.weight"):
        for number in (1, 2, 3):
            x = w.conv(x, f"backbone.stem.conv{number}", 2 if number == 1 else 1, 1).relu()
    else:
        x = w.conv(x, "backbone.stem.conv1", 2, 3).relu()
    x = fn.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage in (2, 3, 4, 5):
        dilated = {4: config.get("RES4_DILATION", 1), 5: config.get("RES5_DILATION", 1)}.get(stage, 1)
        for block in w.count(f"backbone.res{stage}.", ".conv1.weight"):
            name = f"backbone.res{stage}.{block}."
            stride = 2 if stage > 2 and block == 0 and dilated == 1 else 1
            first, middle = (stride, 1) if config.get("STRIDE_IN_1X1") else (1, stride)
            side = dilated
            if stage == 5 and has_grid:
                side *= config.get("RES5_MULTI_GRID", (1, 2, 4))[block]
            inner = w.conv(w.conv(x, f"{name}conv1", first).relu(), f"{name}conv2", middle, side, side).relu()
            around = w.conv(x, f"{name}shortcut", stride) if w.has(f"{name}shortcut.weight") else x
            x = (w.conv(inner, f"{name}conv3") + around).relu()
        maps.append(x)
    return maps


def mask_features(maps: list[Tensor], w: Weights) -> Tensor:
    x = w.group_conv(maps[3], f"{_DECODER}layer_4", 1).relu()
    for level in (3, 2, 1):
        lateral = w.group_conv(maps[level - 1], f"{_DECODER}adapter_{level}", 0)
        x = lateral + fn.interpolate(x, lateral.shape[-2:], mode="nearest")
        x = w.group_conv(x, f"{_DECODER}layer_{level}", 1).relu()
    last = f"{_DECODER}mask_features"
    return fn.conv2d(x, w.of[f"{last}.weight"], w.of[f"{last}.bias"], padding=1)


def _sines(height: int, width: int, channels: int) -> Tensor:
    half = channels // 2
    steps = 10000 ** (2 * torch.arange(half).div(2, rounding_mode="floor") / half)

    def waves(length: int) -> Tensor:
        place = torch.arange(1, length + 1) / (length + 1e-6) * 2 * math.pi
        angle = place[:, None] / steps
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(1)

    y, x = waves(height)[:, None].expand(-1, width, -1), waves(width)[None].expand(height, -1, -1)
    return torch.cat([y, x], -1).reshape(height * width, channels)


def queries(res5: Tensor, w: Weights, heads: int) -> Tensor:
    """The decoder's output, [Q, C]."""
    x = res5
    if w.has(f"{_PREDICTOR}input_proj.weight"):
        x = fn.conv2d(x, w.of[f"{_PREDICTOR}input_proj.weight"], w.of[f"{_PREDICTOR}input_proj.bias"])
    channels, height, width = x.shape[1:]
    memory = x[0].flatten(1).T
    keys, own = memory + _sines(height, width, channels), w.of[f"{_PREDICTOR}query_embed.weight"]
    out = torch.zeros_like(own)
    for number in w.count(f"{_PREDICTOR}transformer.decoder.layers.", ".linear1.weight"):
        name = f"{_PREDICTOR}transformer.decoder.layers.{number}."
        out = w.norm(out + w.attention(out + own, out + own, out, f"{name}self_attn", heads), f"{name}norm1")
        out = w.norm(out + w.attention(out + own, keys, memory, f"{name}multihead_attn", heads), f"{name}norm2")
        out = w.norm(
            out + w.linear(w.linear(out, f"{name}linear1").relu(), f"{name}linear2"),
            f"{name}norm3",
        )
    return w.norm(out, f"{_PREDICTOR}transformer.decoder.norm")


def clip_features(pixels: Tensor, masks: Tensor | None, w: Weights, heads: int, quick_gelu: bool) -> Tensor:
    """Unit vectors [N, D] of normalised regions [N, 3, side, side] and their masks [N, 1, side, side]."""
    patch = w.of[f"{_VISUAL}conv1.weight"].shape[-1]
    x = fn.conv2d(pixels, w.of[f"{_VISUAL}conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    keep = None if masks is None else fn.avg_pool2d(masks, patch).ceil().flatten(2).transpose(1, 2)
    prompts = w.of.get(f"{_VISUAL}mask_embedding", torch.zeros(0))
    if keep is not None:
        x = x * keep + prompts[0] * (1 - keep)
    x = torch.cat([w.of[f"{_VISUAL}class_embedding"].expand(len(x), 1, -1), x], 1)
    x = w.norm(x + w.of[f"{_VISUAL}positional_embedding"], f"{_VISUAL}ln_pre")
    for number in w.count(f"{_VISUAL}transformer.resblocks.", ".ln_1.weight"):
        name = f"{_VISUAL}transformer.resblocks.{number}."
        normed = w.norm(x, f"{name}ln_1")
        x = x + torch.stack([w.attention(one, one, one, f"{name}attn", heads) for one in normed])
        inner = w.linear(w.norm(x, f"{name}ln_2"), f"{name}mlp.c_fc")
        inner = inner * (1.702 * inner).sigmoid() if quick_gelu else fn.gelu(inner)
        x = x + w.linear(inner, f"{name}mlp.c_proj")
        if keep is not None and number + 1 < len(prompts):
            x = torch.cat([x[:, :1], x[:, 1:] * keep + prompts[number + 1] * (1 - keep)], 1)
    return fn.normalize(w.norm(x[:, 0], f"{_VISUAL}ln_post") @ w.of[f"{_VISUAL}proj"], dim=-1)


def crop(frame: Tensor, cut: Tensor, ratio: float, side: int) -> tuple[Tensor, Tensor]:
    """A region [3, side, side] in [0, 255], and its mask [1, side, side], from [3, h, w] and bool [h, w]."""
    ys, xs = cut.any(1).nonzero().flatten(), cut.any(0).nonzero().flatten()
    spans = []
    for low, high, most in ((int(ys[0]), int(ys[-1]) + 1, cut.shape[0]), (int(xs[0]), int(xs[-1]) + 1, cut.shape[1])):
        middle, half = 0.5 * (low + high), 0.5 * ratio * (high - low)
        spans.append(slice(max(int(middle - half), 0), min(int(middle + half), most)))
    rows, columns = spans
    mask = cut[rows, columns].float()
    pixels = frame[:, rows, columns] * mask + (1 - mask) * _CLIP_MEAN * 255
    squashed = fn.interpolate(pixels[None], (side, side), mode="bicubic")[0]
    return squashed, fn.interpolate(mask[None, None], (side, side))[0]


@torch.no_grad()
def score_maps(
    state: Mapping[str, Any], config: Mapping[str, Any], photo: NDArray[np.uint8], text: Tensor, side: int = 224
) -> Tensor:
    """Scores [C, H, W] of a photo for text features [C, D]; every key of the configuration must be there.

    Args:
        state: tensors or arrays by their published names.
        config: the published settings.
        photo: uint8 [H, W, 3].
        text: unit vectors.
        side: of CLIP's input, in pixels.
    """
    tensors = {name: torch.as_tensor(np.asarray(value)) for name, value in state.items()}
    w = Weights({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
    adapter, given = config["clip_adapter"], config["input"]
    height, width = resized_hw(*photo.shape[:2], float(given["MIN_SIZE_TEST"]), float(given["MAX_SIZE_TEST"]))
    resized = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    frame = torch.from_numpy(resized).permute(2, 0, 1).float()
    if given["FORMAT"] == "BGR":
        frame = frame.flip(0)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("pixel_mean", "pixel_std"))
    is_swin, multiple = w.has("backbone.patch_embed.proj.weight"), config["mask_former"]["SIZE_DIVISIBILITY"]
    multiple = max(1, (32 if is_swin else 1) if multiple < 0 else multiple)
    pixels = fn.pad((frame - mean) / std, (0, -width % multiple, 0, -height % multiple))[None]
    maps = swin(pixels, w) if is_swin else resnet(pixels, w, config["resnets"], "deeplab" in config["backbone"])
    said = queries(maps[3], w, config["mask_former"]["NHEADS"])
    logits = torch.einsum("qc,chw->qhw", w.mlp(said, f"{_PREDICTOR}mask_embed"), mask_features(maps, w)[0])
    logits = fn.interpolate(logits[None], pixels.shape[-2:], mode="bilinear")[0][:, :height, :width]
    soft = logits.sigmoid()
    rows = torch.cat([text, fn.normalize(w.of["clip_adapter.non_object_embedding"], dim=-1)])
    p = (100 * fn.normalize(w.mlp(said, f"{_PREDICTOR}class_embed"), dim=-1) @ rows.T).softmax(-1)[:, :-1]
    if adapter["CLIP_ENSEMBLE"]:
        cut = soft > adapter["MASK_THR"]
        seen, p_clip = cut.flatten(1).any(1), torch.ones_like(p)
        if seen.any():
            p_clip[seen] = _clip_probs(w, config, frame, cut[seen], rows, side)
        weight = adapter["CLIP_ENSEMBLE_WEIGHT"]
        p = p ** (1 - weight) * p_clip**weight if weight else p_clip * seen[:, None]
    return fn.interpolate(torch.einsum("qc,qhw->chw", p, soft)[None], photo.shape[:2], mode="bilinear")[0]


def _clip_probs(w: Weights, config: Mapping[str, Any], frame: Tensor, cut: Tensor, rows: Tensor, side: int) -> Tensor:
    adapter = config["clip_adapter"]
    regions, masks = zip(*(crop(frame, mask, adapter["MASK_EXPAND_RATIO"], side) for mask in cut), strict=True)
    mean, std = (w.of[f"clip_adapter.pixel_{name}"] for name in ("mean", "std"))
    shown = torch.stack(masks) if adapter["MASK_PROMPT_FWD"] and w.has(f"{_VISUAL}mask_embedding") else None
    heads = config["clip"]["vision_heads"]
    features = clip_features((torch.stack(regions) - mean) / std, shown, w, heads, config["clip"]["quick_gelu"])
    return (100 * features @ rows.T)[:, :-1].softmax(-1)
