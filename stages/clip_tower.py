"""The vision transformer in a CLIP: where its parts are, and other forms of it that share its weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stages.common import UserError


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
        UserError: its image tower is none whose patches are known.
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
        f"the CLIP's image tower is {found}; expected a vision transformer with square patches: open_clip's own "
        "(ViT-B-16, ViT-L-14, ...) or timm's (EVA, SigLIP, ...), not a ResNet, ConvNeXt, Swin, hybrid, or a "
        "TorchScript model"
    )


def _tower(clip: Any, patch_conv: str, blocks: str, prefix_tokens: int, batch_first: bool, vit: Any) -> Tower:  # noqa: ANN401
    conv = clip.get_submodule(patch_conv)
    grid = getattr(vit, "grid_size", None) or vit.patch_embed.grid_size
    sides = {*conv.kernel_size, *conv.stride}
    if len(sides) != 1 or grid is None:
        raise UserError(
            f"the CLIP's image tower has patches of {conv.kernel_size} px every {conv.stride} px, grid {grid}; "
            "expected square patches side by side, and a fixed input size"
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


def resize_grid(tokens: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Interpolates learned tokens of patches to another grid: bicubic with antialiasing, as open_clip does positions.

    Args:
        tokens: float [n, old rows * old columns, width].
        old_grid: rows and columns of patches they come from.
        new_grid: rows and columns wanted.

    Returns:
        float [n, new rows * new columns, width]; the input itself where the grids are equal.
    """
    if old_grid == new_grid:
        return tokens
    count, _, width = tokens.shape
    grids = tokens.reshape(count, *old_grid, width).permute(0, 3, 1, 2)  # [n, width, rows, columns]
    grids = functional.interpolate(grids, new_grid, mode="bicubic", antialias=True, align_corners=False)
    return grids.flatten(2).transpose(1, 2)


def twin(module: nn.Module, replaced: Mapping[str, nn.Module]) -> Any:  # noqa: ANN401 - the module's own type
    """A shallow copy with other modules at dotted names; parameters and all other modules are shared."""
    shallow = module.__new__(type(module))
    shallow.__dict__ = module.__dict__.copy()
    shallow._modules = module._modules.copy()
    children: dict[str, dict[str, nn.Module]] = defaultdict(dict)
    for name, new in replaced.items():
        child, _, inside = name.partition(".")
        children[child][inside] = new
    for child, inner in children.items():
        shallow._modules[child] = inner[""] if "" in inner else twin(module.get_submodule(child), inner)
    return shallow


def at_grid(clip: Any, rows: int, columns: int) -> Any:  # noqa: ANN401 - the model's own type
    """The same CLIP for images of another size: its positions are interpolated, every other weight is shared.

    Args:
        clip: an open_clip model whose tower `tower_of` knows.
        rows: patches per column of the images that its ``encode_image`` takes then.
        columns: patches per row.

    Raises:
        UserError: as `tower_of`.
    """
    tower = tower_of(clip)
    size = (rows * tower.patch_px, columns * tower.patch_px)
    shared = {id(weight): weight for weight in (*clip.visual.parameters(), *clip.visual.buffers())}
    visual = deepcopy(clip.visual, shared)
    if hasattr(visual, "trunk"):
        visual.trunk.set_input_size(img_size=size)
    else:
        positions = visual.positional_embedding.detach()
        prefix, patches = positions[: tower.num_prefix_tokens], positions[tower.num_prefix_tokens :]
        patches = resize_grid(patches[None].float(), tower.grid, (rows, columns))[0].to(positions.dtype)
        visual.positional_embedding = nn.Parameter(torch.cat([prefix, patches]), requires_grad=False)
        visual.grid_size = (rows, columns)
    visual.image_size = size
    return twin(clip, {"visual": visual})
