"""Mask prompt tuning: the tokens of blank patches become learnable ones (OVSeg, arXiv 2210.04150, section 3.3).

The tower is neither copied nor changed. A call with masks runs a shallow twin of the CLIP in which the patch
convolution and the first blocks are followed by the replacement; a twin shares every parameter and lives as long as
its call. So nothing is kept between calls: threads do not meet, and gradient checkpointing, which runs the twin's
blocks again in the backward pass, finds the masks of its own forward pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stages.common import UserError
from stages.regions import patch_mask

Part = Literal["prompts", "tower", "both"]


class MaskPromptCLIP(nn.Module):
    """An open_clip model whose image tower heeds masks.

    The only new parameter is `mask_embedding`, float32 [depth, grid_h * grid_w, width], patches in row-major order,
    drawn from N(0, 0.02) with torch's global generator; None when depth is 0.

    Args:
        clip: an open_clip model whose tower is a vision transformer of open_clip's own or of timm.
        depth: number of layers with prompts, at most the number of blocks; 0 for none, so that masks change nothing.

    Raises:
        UserError: the tower is of another kind, or the depth is not between 0 and the number of blocks.
    """

    mask_embedding: nn.Parameter | None

    def __init__(self, clip: Any, depth: int) -> None:  # noqa: ANN401 - any of open_clip's classes
        super().__init__()
        self.tower = tower_of(clip)
        if not 0 <= depth <= self.tower.num_blocks:
            raise UserError(f"depth: got {depth}; expected 0 to {self.tower.num_blocks}, the tower's number of blocks")
        self.clip = clip
        self.depth = depth
        if depth:
            shape = (depth, self.tower.num_patches, self.tower.width)
            device = clip.get_submodule(self.tower.patch_conv).weight.device
            self.mask_embedding = nn.Parameter(torch.empty(shape, device=device).normal_(std=0.02))
        else:
            self.register_parameter("mask_embedding", None)

    @property
    def visual(self) -> Any:  # noqa: ANN401 - a tower of open_clip's own or of timm
        """The image tower with its input size and colours, where open_clip has it."""
        return self.clip.visual

    def encode_image(self, images: Tensor, masks: Tensor | None = None, normalize: bool = False) -> Tensor:
        """Image features, [N, D].

        Patch tokens x become x * m + prompt[0] * (1 - m) after the patch convolution, before the positional
        embedding, and x * m + prompt[d] * (1 - m) after block d (1-based) for d < depth; m is 0 for the patches that
        are blank everywhere. Class and register tokens stay.

        Args:
            images: float [N, 3, H, W], normalised as the CLIP wants it.
            masks: [N, 1, H, W] of any dtype, 0 = blank, else keep; None gives exactly the wrapped model.
            normalize: whether to scale the features to length 1.

        Raises:
            ValueError: shapes do not fit each other or the tower.
            UserError: the model trains with patch dropout, which would shuffle the prompts.
        """
        clip = self.clip
        if masks is not None and self.mask_embedding is not None:
            self._check(images, masks)
            clip = _twin(clip, self._replacements(masks, self.mask_embedding))
        features: Tensor = clip.encode_image(images, normalize=normalize)
        return features

    def forward(self, images: Tensor, masks: Tensor | None = None, normalize: bool = False) -> Tensor:
        """`encode_image`, so that DistributedDataParallel can wrap the model."""
        return self.encode_image(images, masks, normalize)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """The wrapped model's text features, [N, D]."""
        features: Tensor = self.clip.encode_text(tokens, normalize=normalize)
        return features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether the image tower computes its activations anew in the backward pass."""
        self.clip.visual.set_grad_checkpointing(enable)

    def train_only(self, part: Part) -> dict[str, list[nn.Parameter]]:
        """Freezes all but the given part: MPT trains ``prompts``, FT the ``tower``, joint training ``both``.

        Returns:
            Parameters that train, by part (``prompts``, ``tower``): groups for the optimiser. The text tower and the
            temperature are in no part.

        Raises:
            UserError: prompts are asked for, and the depth is 0.
        """
        if part != "tower" and self.mask_embedding is None:
            raise UserError(f"trainable: {part!r} needs prompts, and the model has depth 0; set a depth of 1 or more")
        groups: dict[str, list[nn.Parameter]] = {}
        if part != "tower" and self.mask_embedding is not None:
            groups["prompts"] = [self.mask_embedding]
        if part != "prompts":
            groups["tower"] = list(self.clip.visual.parameters())
        self.requires_grad_(False)
        nn.ParameterList([value for group in groups.values() for value in group]).requires_grad_(True)
        return groups

    @torch.no_grad()
    def set_prompts(self, prompts: Tensor, grid: tuple[int, int] | None = None) -> None:
        """Takes prompts over, interpolated if they come from another input resolution.

        Args:
            prompts: float [depth, patches, width].
            grid: patches per column and row that they come from; None for this tower's grid, or a square one.

        Raises:
            UserError: depth, width, or number of patches do not fit.
        """
        tower = self.tower
        expected = f"[{self.depth}, {tower.num_patches}, {tower.width}] (depth, patches, width)"
        wrong = f"mask prompts: got shape {list(prompts.shape)}; expected {expected}"
        if prompts.ndim != 3 or (prompts.shape[0], prompts.shape[2]) != (self.depth, tower.width):
            raise UserError(f"{wrong}; check the depth and the model")
        side = round(prompts.shape[1] ** 0.5)
        grid = grid or (tower.grid if prompts.shape[1] == tower.num_patches else (side, side))
        if grid[0] * grid[1] != prompts.shape[1]:
            raise UserError(f"{wrong}, or the patches of a grid {list(grid)}")
        if self.mask_embedding is not None:
            self.mask_embedding.copy_(resize_prompts(prompts.float(), grid, tower.grid))

    def _check(self, images: Tensor, masks: Tensor) -> None:
        tower = self.tower
        height, width = images.shape[-2:]
        if masks.shape != (images.shape[0], 1, height, width):
            raise ValueError(f"masks: got shape {list(masks.shape)}; expected {[len(images), 1, height, width]}")
        if (height // tower.patch_px, width // tower.patch_px) != tower.grid:
            size = [side * tower.patch_px for side in tower.grid]
            raise ValueError(f"images: got {height} x {width} px; expected {size[0]} x {size[1]} px, the tower's input")
        if self.training and tower.patch_dropout:
            raise UserError("patch dropout cannot train with mask prompts; build the CLIP with force_patch_dropout=0")

    def _replacements(self, masks: Tensor, prompts: Tensor) -> dict[str, nn.Module]:
        """The modules that are followed by a replacement, by name."""
        tower, (rows, columns) = self.tower, self.tower.grid
        # Any value above 0 is kept, so that masks in {0, 255} mean what they say.
        keep = patch_mask(masks, tower.patch_px) > 0  # [N, patches, 1]
        conv, keep_grid = self.clip.get_submodule(tower.patch_conv), keep.view(-1, 1, rows, columns)
        prompt_grid = prompts[0].T.reshape(tower.width, rows, columns)
        replaced: dict[str, nn.Module] = {tower.patch_conv: _Then(conv, keep_grid, prompt_grid)}
        prefix = (0, 0, tower.num_prefix_tokens, 0)
        keep = functional.pad(keep, prefix, value=True)  # [N, tokens, 1]; class and register tokens are kept
        prompts = functional.pad(prompts, prefix)[:, None]  # [depth, 1, tokens, width]
        if not tower.batch_first:
            keep, prompts = keep.transpose(0, 1), prompts.transpose(1, 2)
        for depth in range(1, self.depth):
            name = f"{tower.blocks}.{depth - 1}"
            replaced[name] = _Then(self.clip.get_submodule(name), keep, prompts[depth])
        return replaced


@dataclass(frozen=True)
class Tower:
    """Where a vision transformer's parts are, as module names in the CLIP, and their sizes.

    Attributes:
        patch_conv: the convolution that makes patch tokens.
        blocks: the list of transformer blocks.
        num_blocks: their number.
        grid: patches per column and row.
        patch_px: side of a patch.
        width: channels of a token.
        num_prefix_tokens: class and register tokens before the patch tokens.
        batch_first: whether blocks take [N, tokens, width]; else [tokens, N, width].
        patch_dropout: whether training drops patches.
    """

    patch_conv: str
    blocks: str
    num_blocks: int
    grid: tuple[int, int]
    patch_px: int
    width: int
    num_prefix_tokens: int
    batch_first: bool
    patch_dropout: bool

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]


def tower_of(clip: Any) -> Tower:  # noqa: ANN401 - any of open_clip's classes
    """The vision transformer in an open_clip model.

    Raises:
        UserError: its image tower is none that mask prompts know.
    """
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer
    from timm.layers.patch_embed import PatchEmbed
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    visual = getattr(clip, "visual", None)
    found = type(visual).__name__
    if isinstance(visual, VisionTransformer):
        return _tower(clip, "visual.conv1", "visual.transformer.resblocks", 1, visual.transformer.batch_first, visual)
    if isinstance(visual, TimmModel):
        trunk = visual.trunk
        found = f"timm's {type(trunk).__name__}"
        is_vit = isinstance(trunk, (TimmVisionTransformer, VisionTransformerRelPos, Eva))
        # A convolutional stem in place of one patch convolution would mix patches.
        if is_vit and isinstance(trunk.patch_embed, PatchEmbed):
            prefix_tokens = trunk.num_prefix_tokens
            return _tower(clip, "visual.trunk.patch_embed.proj", "visual.trunk.blocks", prefix_tokens, True, trunk)
    raise UserError(
        f"the CLIP's image tower is {found}; mask prompts need a vision transformer with square patches: "
        "open_clip's own (ViT-B-16, ViT-L-14, ...) or timm's (EVA, SigLIP, ...), not a ResNet, ConvNeXt, Swin, hybrid, "
        "or a TorchScript model"
    )


def _tower(clip: Any, patch_conv: str, blocks: str, prefix_tokens: int, batch_first: bool, vit: Any) -> Tower:  # noqa: ANN401
    conv = clip.get_submodule(patch_conv)
    grid = getattr(vit, "grid_size", None) or vit.patch_embed.grid_size
    sides = {*conv.kernel_size, *conv.stride}
    if len(sides) != 1 or grid is None:
        raise UserError(
            f"the CLIP's image tower has patches of {conv.kernel_size} px every {conv.stride} px, grid {grid}; "
            "mask prompts need square patches side by side, and a fixed input size"
        )
    dropout = getattr(vit, "patch_dropout", None) or getattr(vit, "patch_drop", None) or nn.Identity()
    return Tower(
        patch_conv=patch_conv,
        blocks=blocks,
        num_blocks=len(clip.get_submodule(blocks)),
        grid=(int(grid[0]), int(grid[1])),
        patch_px=sides.pop(),
        width=conv.out_channels,
        num_prefix_tokens=prefix_tokens,
        batch_first=batch_first,
        patch_dropout=not isinstance(dropout, nn.Identity),
    )


def resize_prompts(prompts: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Interpolates prompts to another grid: bicubic with antialiasing, as open_clip does positional embeddings.

    Args:
        prompts: float [depth, old rows * old columns, width].
        old_grid: rows and columns of patches they come from.
        new_grid: rows and columns wanted.

    Returns:
        float [depth, new rows * new columns, width]; the input itself where the grids are equal.
    """
    if old_grid == new_grid:
        return prompts
    depth, _, width = prompts.shape
    grids = prompts.reshape(depth, *old_grid, width).permute(0, 3, 1, 2)  # [depth, width, rows, columns]
    grids = functional.interpolate(grids, new_grid, mode="bicubic", antialias=True, align_corners=False)
    return grids.flatten(2).transpose(1, 2)


class _Then(nn.Module):
    """A module, then `prompt` wherever `keep` is False; both broadcast against the module's output."""

    def __init__(self, module: nn.Module, keep: Tensor, prompt: Tensor) -> None:
        super().__init__()
        self.module, self.keep, self.prompt = module, keep, prompt

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - what the module takes
        features: Tensor = self.module(*args, **kwargs)
        # The rule's x * m + p * (1 - m) for m in {0, 1}, without a product to keep for the backward pass.
        return torch.where(self.keep, features, self.prompt.to(features.dtype))


def _twin(module: nn.Module, replaced: Mapping[str, nn.Module]) -> Any:  # noqa: ANN401 - the module's own type
    """A shallow copy with other modules at dotted names; parameters and all other modules are shared."""
    twin = module.__new__(type(module))
    twin.__dict__ = module.__dict__.copy()
    twin._modules = module._modules.copy()
    children: dict[str, dict[str, nn.Module]] = defaultdict(dict)
    for name, new in replaced.items():
        child, _, inside = name.partition(".")
        children[child][inside] = new
    for child, inner in children.items():
        twin._modules[child] = inner[""] if "" in inner else _twin(module.get_submodule(child), inner)
    return twin
