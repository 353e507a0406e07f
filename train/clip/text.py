"""Class names as CLIP's text features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from stages.common import UserError

VILD_TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)
"""The 14 prompts of the published system, from ViLD (Gu et al., ICLR 2022, appendix)."""


@torch.inference_mode()
def encode_names(
    clip: Any,  # noqa: ANN401 - any open_clip model
    tokenize: Callable[[list[str]], Tensor],
    names: Sequence[str],
    templates: Sequence[str],
    batch_size: int = 256,
) -> Tensor:
    """A unit vector a name: the normalised mean over the templates' normalised features (as published).

    Args:
        clip: gives text features by ``encode_text``.
        tokenize: its tokenizer.
        names: what to encode, at least one.
        templates: prompts with one ``{}`` each.
        batch_size: prompts a forward pass.

    Returns:
        float32 [len(names), D], on the CLIP's device.

    Raises:
        UserError: the text tower gives NaN or infinity.
    """
    device = next(clip.parameters()).device
    prompts = [template.format(name) for name in names for template in templates]
    each = []
    for start in range(0, len(prompts), batch_size):
        tokens = tokenize(prompts[start : start + batch_size]).to(device)
        each.append(functional.normalize(clip.encode_text(tokens).float(), dim=-1))
    features = torch.cat(each).view(len(names), len(templates), -1).mean(dim=1)
    if not torch.isfinite(features).all():
        raise UserError("CLIP's text tower gives NaN or infinity; expected finite numbers. Check the weights.")
    return functional.normalize(features, dim=-1)
