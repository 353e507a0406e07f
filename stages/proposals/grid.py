"""A small mask generator whose queries are places: every cell of a grid may speak for the region it lies on.

A convolutional pyramid gives mask features at half of the input's resolution, and each cell of two grids a score and a
kernel; the cell's mask is the kernel times the features. Cells of the fine grid (stride 8) speak for things, near whose
centre they lie; cells of the coarse one (stride 16) for the stuff that covers them. The idea is that of SOLOv2 (arXiv
2003.10152) and CondInst (arXiv 2003.05664); queries that are bound to a place learn much faster than free ones.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from stages.common import CONFIG, Config, UserError, read_model_json, resolve_device
from stages.proposals.words import WordHead, read_description, save_description

WEIGHTS = "model.safetensors"
THING_STRIDE, STUFF_STRIDE, MASK_STRIDE = 8, 16, 2
LARGEST_STRIDE = 32
_MEAN_RGB, _STD_RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_FREQUENCIES = (1, 2, 4)
_POSITIONS = 2 + 4 * len(_FREQUENCIES)
_RARE_LOGIT = -math.log((1 - 0.01) / 0.01)
"""Where scores begin, so that the many cells of nothing do not drown the few others (RetinaNet, arXiv 1708.02002)."""

Width = Annotated[int, Field(ge=16, multiple_of=16)]
Depth = Annotated[int, Field(ge=1)]


class GridConfig(Config):
    """How a grid generator is built.

    Attributes:
        stem_width: channels at stride 2.
        widths: channels at strides 4, 8, 16 and 32.
        depths: residual blocks at these strides.
        neck_width: channels of the pyramid that joins them.
        tower_width: channels of the convolutions that score cells and give kernels.
        mask_width: channels before the mask features.
        kernel_width: mask features, without those that tell the place.
        embedding_width: length of a query's vector in CLIP's text space; 0 for a generator without words.
        side_px: the longer side that a photo is resized to.
    """

    model_type: Literal["maskmine_grid"] = "maskmine_grid"
    stem_width: Width = 32
    widths: tuple[Width, Width, Width, Width] = (64, 96, 192, 256)
    depths: tuple[Depth, Depth, Depth, Depth] = (1, 2, 3, 1)
    neck_width: Width = 96
    tower_width: Width = 96
    mask_width: Width = 96
    kernel_width: int = Field(32, ge=1)
    embedding_width: int = Field(0, ge=0)
    side_px: int = Field(192, ge=32)


@dataclass(frozen=True, slots=True)
class Cells:
    """What the cells of a grid say about N photos.

    Attributes:
        scores: logits float32 [N, h, w] of "a region is mine to show".
        kernels: float32 [N, K, h, w].
    """

    scores: Tensor
    kernels: Tensor


@dataclass(frozen=True, slots=True)
class GridOutput:
    """A forward pass over N photos of H x W px.

    Attributes:
        things: the grid of stride 8.
        stuff: the grid of stride 16.
        mask_features: float32 [N, K, H / 2, W / 2]; a kernel times them is a mask of logits.
        pyramid: the joined features of strides 8 and 16, [N, neck_width, ., .] each.
    """

    things: Cells
    stuff: Cells
    mask_features: Tensor
    pyramid: tuple[Tensor, Tensor]

    @property
    def grids(self) -> tuple[Cells, Cells]:
        return self.things, self.stuff

    def of(self, photo: int) -> GridOutput:
        """That of one of the photos, with N = 1."""
        one = slice(photo, photo + 1)
        things, stuff = (Cells(cells.scores[one], cells.kernels[one]) for cells in self.grids)
        return GridOutput(things, stuff, self.mask_features[one], (self.pyramid[0][one], self.pyramid[1][one]))


class GridGenerator(nn.Module):
    """The network; its input is RGB float32 [N, 3, H, W] from 0 to 255, sides multiples of 32."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(_MEAN_RGB)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD_RGB)[:, None, None], persistent=False)
        neck, tower = config.neck_width, config.tower_width
        self.stem = nn.Sequential(
            _convolution(3, config.stem_width, 2), _convolution(config.stem_width, config.widths[0], 2)
        )
        stages, width = [], config.widths[0]
        for level, (wider, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            first = _Block(width, wider, 2 if level else 1)
            stages.append(nn.Sequential(first, *(_Block(wider, wider, 1) for _ in range(depth - 1))))
            width = wider
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList([nn.Conv2d(width, neck, 1) for width in config.widths])
        self.smooth = nn.ModuleList([_convolution(neck, neck) for _ in range(2)])
        kernel = config.kernel_width + _POSITIONS + 1
        self.towers = nn.ModuleList([_tower(neck, tower, depth) for depth in (3, 2)])
        self.heads = nn.ModuleList([_head(tower, kernel) for _ in range(2)])
        self.mask_layer = _convolution(neck + _POSITIONS, config.mask_width)
        # Twice as fine as its input: each place gives the features of four.
        self.mask_features = nn.Conv2d(config.mask_width, config.kernel_width * 4, 1)
        self.words: WordHead | None = None
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> GridOutput:
        features = self.stem(((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last))
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            features = stage(features)
            levels.append(lateral(features))
        for level in (2, 1, 0):
            levels[level] = levels[level] + functional.interpolate(levels[level + 1], scale_factor=2.0)
        pyramid = (self.smooth[0](levels[1]), self.smooth[1](levels[2]))
        grids = []
        for level, tower, head in zip(pyramid, self.towers, self.heads, strict=True):
            said = head(tower(torch.cat([level, positions_of(level)], dim=1))).float()
            grids.append(Cells(said[:, 0], said[:, 1:]))
        fine = self.mask_layer(torch.cat([levels[0], positions_of(levels[0])], dim=1))
        masks = functional.pixel_shuffle(self.mask_features(fine), 2).float()
        masks = torch.cat([masks, positions_of(masks), torch.ones_like(masks[:, :1])], dim=1)
        return GridOutput(grids[0], grids[1], masks, pyramid)


def pooled_queries(pyramid: tuple[Tensor, Tensor], logits: Tensor) -> Tensor:
    """What masks cover of one photo's pyramid: means of its features, weighted by the masks' probabilities.

    Args:
        pyramid: [C, H / 8, W / 8] and [C, H / 16, W / 16].
        logits: float32 [n, H / 2, W / 2].

    Returns:
        float32 [n, 2 C].
    """
    probs, means = logits.sigmoid()[None], []
    for level in pyramid:
        share = functional.adaptive_avg_pool2d(probs, (level.shape[-2], level.shape[-1]))[0].flatten(1)  # [n, h w]
        means.append(share @ level.float().flatten(1).T / share.sum(1, keepdim=True).clamp(min=1e-6))
    return torch.cat(means, dim=1)


def positions_of(features: Tensor) -> Tensor:
    """Where each place of [N, C, h, w] lies, [N, _POSITIONS, h, w]: x and y from -1 to 1, and waves of them.

    With waves a kernel can be a bump around one place, so that a linear mask tells an object from its twin.
    """
    count, _, height, width = features.shape
    y = (torch.arange(height, device=features.device, dtype=features.dtype) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=features.device, dtype=features.dtype) + 0.5) * (2 / width) - 1
    planes = [y[:, None].expand(height, width), x[None].expand(height, width)]
    for plane in planes[:2]:
        for frequency in _FREQUENCIES:
            planes += [(plane * (frequency * math.pi / 2)).sin(), (plane * (frequency * math.pi / 2)).cos()]
    return torch.stack(planes).expand(count, -1, -1, -1)


def _convolution(width: int, wider: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, wider, 3, stride, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(inplace=True)
    )


def _tower(neck: int, width: int, depth: int) -> nn.Sequential:
    first = _convolution(neck + _POSITIONS, width)
    return nn.Sequential(first, *(_convolution(width, width) for _ in range(depth - 1)))


def _head(width: int, kernel: int) -> nn.Conv2d:
    """A score and a kernel for each cell."""
    head = nn.Conv2d(width, 1 + kernel, 1)
    assert head.bias is not None
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    nn.init.constant_(head.bias[:1], _RARE_LOGIT)
    return head


class _Block(nn.Module):
    """A residual block of two convolutions (arXiv 1512.03385); the way round it is pooled, not skipped over."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(width, wider, stride)
        self.second = nn.Sequential(nn.Conv2d(wider, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider))
        self.around = nn.Sequential(
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(width, wider, 1, bias=False) if width != wider else nn.Identity(),
        )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(features)) + self.around(features), inplace=True)


def save_grid(network: GridGenerator, folder: Path) -> None:
    """Writes config.json and the weights, in half precision: they are small, and rounding them costs nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(network.config.model_dump(mode="json"), indent=1) + "\n")
    state = network.state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.cpu().contiguous() for name, value in halves.items()}, str(folder / WEIGHTS))
    if network.words is not None:
        save_description(network.words.space, folder)


def load_grid(folder: Path, name: str, device: str, key: str = "proposer.model") -> GridGenerator:
    """A network that `save_grid` wrote, in evaluation mode and float32.

    Args:
        folder: where it lies.
        name: of the folder in messages.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        key: of the manifest, for messages.

    Raises:
        UserError: a file is missing or damaged, or the weights are of another network.
    """
    try:
        network = GridGenerator(GridConfig.model_validate(read_model_json(folder / CONFIG, key)))
        if network.config.embedding_width and (space := read_description(folder, key)):
            network.words = WordHead(space)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError, ValidationError) as error:
        first = " ".join(str(error).split("\n", 2)[:2])
        raise UserError(
            f"{key}: {name}: expected {CONFIG} and {WEIGHTS} of a grid generator, as training writes them: {first}"
        ) from error
    return network.eval().to(resolve_device(device))
