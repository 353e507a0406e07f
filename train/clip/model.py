"""Mask prompt tuning: the tokens of blank patches become learnable ones (OVSeg, arXiv 2210.04150, section 3.3).

The tower is neither copied nor changed. A call with masks runs a shallow twin of the CLIP in which the patch
convolution and the first blocks are followed by the replacement; a twin shares every parameter and lives as long as
its call. So nothing is kept between calls: threads do not meet, and gradient checkpointing, which runs the twin's
blocks again in the backward pass, finds the masks of its own forward pass.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from stages.clip_attention import take_detours_away
from stages.clip_tower import at_grid, resize_grid, tower_of, twin
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
        take_detours_away(clip)
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
            clip = twin(clip, self._replacements(masks, self.mask_embedding))
        features: Tensor = clip.encode_image(images, normalize=normalize)
        return features

    def forward(self, images: Tensor, masks: Tensor | None = None, normalize: bool = False) -> Tensor:
        """`encode_image`, so that DistributedDataParallel can wrap the model."""
        return self.encode_image(images, masks, normalize)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """The wrapped model's text features, [N, D]."""
        features: Tensor = self.clip.encode_text(tokens, normalize=normalize)
        return features

    def at_grid(self, rows: int, columns: int) -> MaskPromptCLIP:
        """The same model for images of `rows` x `columns` patches: see `stages.clip_tower.at_grid`."""
        other = MaskPromptCLIP(at_grid(self.clip, rows, columns), 0)
        if self.mask_embedding is not None:
            prompts = resize_grid(self.mask_embedding.detach(), self.tower.grid, other.tower.grid)
            other.depth, other.mask_embedding = self.depth, nn.Parameter(prompts, requires_grad=False)
        return other.train(self.training)

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
            self.mask_embedding.copy_(resize_grid(prompts.float(), grid, tower.grid))

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


class _Then(nn.Module):
    """A module, then `prompt` wherever `keep` is False; both broadcast against the module's output."""

    def __init__(self, module: nn.Module, keep: Tensor, prompt: Tensor) -> None:
        super().__init__()
        self.module, self.keep, self.prompt = module, keep, prompt

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - what the module takes
        features: Tensor = self.module(*args, **kwargs)
        # The rule's x * m + p * (1 - m) for m in {0, 1}, without a product to keep for the backward pass.
        return torch.where(self.keep, features, self.prompt.to(features.dtype))
