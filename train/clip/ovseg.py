"""The CLIP of a published OVSeg file, with its mask prompts; every size comes from the tensors' shapes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.clip_weights import load_clip_weights
from stages.common import UserError
from stages.proposals.ovseg_file import OvsegFile
from train.clip.checkpoint.layouts import Weights, unwrap
from train.clip.model import MaskPromptCLIP

_HEAD_WIDTH = 64


def clip_of(file: OvsegFile, device: str = "cpu") -> tuple[MaskPromptCLIP, Any]:
    """The CLIP, frozen and in evaluation mode, and its tokenizer, which is OpenAI's.

    Args:
        file: the checkpoint; with a prompt depth of 0 in its settings the prompts are left out.
        device: torch device.

    Raises:
        UserError: tensors are missing, or of shapes that do not belong together.
    """
    weights = unwrap(file.state, file.source)
    if file.settings.clip_adapter.MASK_PROMPT_DEPTH == 0:
        weights = replace(weights, prompts=None)
    clip = _empty_clip(file, weights)
    load_clip_weights(clip, weights.clip, file.source)
    for name in ("mean", "std"):
        colours = file.state.get(f"clip_adapter.pixel_{name}")
        if colours is not None:
            setattr(clip.visual, f"image_{name}", tuple((colours.flatten().double() / 255).tolist()))
    try:
        model = MaskPromptCLIP(clip, 0 if weights.prompts is None else len(weights.prompts))
        if weights.prompts is not None:
            model.set_prompts(weights.prompts)
    except UserError as error:
        raise UserError(f"{file.source}: {error}") from error
    vocabulary, context = len(weights.clip["token_embedding.weight"]), len(weights.clip["positional_embedding"])
    return model.to(device).eval().requires_grad_(False), _tokenizer(vocabulary, context, file.source)


def read_clip(path: Path, device: str = "cpu") -> tuple[MaskPromptCLIP, Any]:
    """`clip_of` a file or a converted folder.

    Raises:
        UserError: as `clip_of`; or it cannot be read.
    """
    return clip_of(OvsegFile.read(path), device)


def _empty_clip(file: OvsegFile, weights: Weights) -> Any:  # noqa: ANN401 - open_clip's model
    import open_clip

    def shape(name: str) -> tuple[int, ...]:
        if name not in weights.clip:
            raise UserError(f"{file.source}: its CLIP lacks {name}; expected OpenAI's names, as those of ViT-L/14")
        return tuple(weights.clip[name].shape)

    width, _, patch, _ = shape("visual.conv1.weight")
    grid = math.isqrt(shape("visual.positional_embedding")[0] - 1)
    vocabulary, text_width = shape("token_embedding.weight")
    rules = file.settings.clip
    vision = {
        "image_size": grid * patch,
        "patch_size": patch,
        "width": width,
        "head_width": width // (rules.vision_heads or max(1, width // _HEAD_WIDTH)),
        "layers": _layers(weights, "visual.transformer.resblocks."),
        "mlp_ratio": shape("visual.transformer.resblocks.0.mlp.c_fc.weight")[0] / width,
    }
    text = {
        "context_length": shape("positional_embedding")[0],
        "vocab_size": vocabulary,
        "width": text_width,
        "heads": rules.text_heads or max(1, text_width // _HEAD_WIDTH),
        "layers": _layers(weights, "transformer.resblocks."),
        "mlp_ratio": shape("transformer.resblocks.0.mlp.c_fc.weight")[0] / text_width,
    }
    embed = shape("visual.proj")[1]
    clip: Any = open_clip.CLIP(embed_dim=embed, vision_cfg=vision, text_cfg=text, quick_gelu=rules.quick_gelu)
    clip.visual.image_mean, clip.visual.image_std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return clip


def _layers(weights: Weights, prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in weights.clip if name.startswith(prefix)})


def _tokenizer(vocabulary: int, context: int, source: str) -> Any:  # noqa: ANN401
    import open_clip

    tokenize = open_clip.SimpleTokenizer(context_length=context)
    if tokenize.vocab_size == vocabulary:
        return tokenize

    def refuse(texts: list[str]) -> Tensor:
        raise UserError(
            f"{source}: its CLIP has {vocabulary:,} tokens; expected {tokenize.vocab_size:,}, OpenAI's, to encode "
            f"{texts[0]!r}. Text features from elsewhere can be given to OvsegSegmenter.score_maps"
        )

    return refuse
