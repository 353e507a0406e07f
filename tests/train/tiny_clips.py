"""Small CLIPs with random weights, and prompts, images and masks for them."""

from __future__ import annotations

from typing import Any

import open_clip
import timm
import torch
from open_clip.transformer import Transformer
from torch import Tensor

from train.clip.model import MaskPromptCLIP

TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8}


def tiny(seed: int = 0, quick_gelu: bool = False, **vision: Any) -> Any:  # noqa: ANN401
    """A CLIP of open_clip's own tower with random weights; keys of `vision` change it."""
    torch.manual_seed(seed)
    clip = open_clip.CLIP(embed_dim=16, vision_cfg={**VISION, **vision}, text_cfg=TEXT, quick_gelu=quick_gelu)
    # As open_clip.create_model sets them.
    clip.visual.image_mean, clip.visual.image_std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return clip.eval()


def tiny_lnd() -> Any:  # noqa: ANN401
    """The same CLIP, whose blocks take tokens first, as older versions of open_clip have it."""
    clip = tiny()
    transformer = Transformer(width=32, layers=4, heads=2, batch_first=False)
    transformer.load_state_dict(clip.visual.transformer.state_dict())
    clip.visual.transformer = transformer
    return clip.eval()


def timm_clip(name: str, image_size: int, pool: str = "", seed: int = 0, **trunk: Any) -> Any:  # noqa: ANN401
    """A CLIP whose tower is timm's; keys of `trunk` change timm's model of that name."""
    torch.manual_seed(seed)
    vision = {"image_size": image_size, "timm_model_name": name, "timm_pool": pool, "timm_proj": "linear"}
    clip = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)
    if trunk:
        clip.visual.trunk = timm.create_model(name, num_classes=0, global_pool=pool, **trunk)
    return clip.eval()


def adapted(clip: Any, depth: int) -> MaskPromptCLIP:  # noqa: ANN401
    """The CLIP with prompts large enough that a wrong place would show."""
    torch.manual_seed(1)
    model = MaskPromptCLIP(clip, depth)
    with torch.no_grad():
        if model.mask_embedding is not None:
            model.mask_embedding.mul_(50)
    return model.eval()


def inputs(size: int = 32, patch: int = 8) -> tuple[Tensor, Tensor]:
    """Images [4, 3, H, W] and masks [4, 1, H, W]: all kept, all blank, one pixel, and a random half of the patches."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(4, 3, size, size, generator=generator)
    masks = torch.ones(4, 1, size, size)
    masks[1:] = 0
    masks[2, 0, patch + 1, 2 * patch - 1] = 1
    half = (torch.rand(size // patch, size // patch, generator=generator) < 0.5).float()
    masks[3, 0] = half.repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    return images, masks


def tiny_timm(seed: int = 0) -> Any:  # noqa: ANN401
    """A CLIP with a small tower of timm."""
    return timm_clip("test_vit", 160, "token", seed)


@torch.no_grad()
def same(left: MaskPromptCLIP, right: MaskPromptCLIP) -> bool:
    """Whether two models give the same features to the bit, with masks."""
    images, masks = inputs(left.tower.grid[0] * left.tower.patch_px)
    return torch.equal(left.encode_image(images, masks), right.encode_image(images, masks))


def published(model: MaskPromptCLIP, prefix: str = "") -> dict[str, Any]:
    """A state dict as others write it, by their names."""
    assert model.mask_embedding is not None
    state = {prefix + name: value for name, value in model.clip.state_dict().items()}
    return {**state, f"{prefix}visual.mask_embedding": model.mask_embedding.detach()}


def foreign_files(model: MaskPromptCLIP) -> dict[str, Any]:
    """What other programs save: with optimisers, OpenAI's extra numbers, and a segmenter around."""
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    extras = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(8), "vocab_size": torch.tensor(64)}
    segmenter = published(model, "clip_adapter.clip_model.")
    segmenter |= {"backbone.conv.weight": torch.ones(2, 2), "clip_adapter.pixel_mean": torch.ones(3)}
    return {
        "training": {"epoch": 5, "name": "run", "state_dict": published(model), "optimizer": optimiser},
        "training-ddp": {"epoch": 5, "state_dict": published(model, "module."), "optimizer": optimiser},
        "clip": {**published(model), **extras},
        "segmenter": {"model": segmenter, "iteration": 9, "optimizer": optimiser},
        "flat segmenter": segmenter,
        "nested segmenter": {"state_dict": {"model": segmenter}},
        "otherwise nested segmenter": {"model": {"state_dict": segmenter}, "iteration": 9},
    }
