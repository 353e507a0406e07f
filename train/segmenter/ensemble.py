"""What generator and CLIP say together."""

from __future__ import annotations

import torch
from torch import Tensor


def ensemble(
    p_clip: Tensor, p_generator: Tensor, objectness: Tensor, is_known: Tensor, is_empty: Tensor, clip_weight: float
) -> Tensor:
    """p(class) of each mask.

    For a class that the generator has, p_generator^(1-w) * p_clip^w (OVSeg, arXiv 2210.04150, equation 4). The
    generator's probability is objectness * p(class | an object), so its factor is in truth two: objectness^(1-w), which
    all classes share, and its opinion of the class. A class that it does not have lacks the second, and so CLIP alone
    decides: objectness^(1-w) * p_clip. Of an empty mask CLIP sees nothing: p_clip is 1, and classes that the generator
    does not have get 0.

    Args:
        p_clip: float [N, C].
        p_generator: float [N, C], 'no object' included in the distribution, so that rows sum to at most 1.
        objectness: float [N], 1 - p(no object).
        is_known: bool [C], which classes the generator has.
        is_empty: bool [N].
        clip_weight: w in [0, 1].

    Returns:
        float32 [N, C] in [0, 1].
    """
    rest = 1.0 - clip_weight
    p_clip = torch.where(is_empty[:, None], 1.0, p_clip)
    known = p_generator.pow(rest) * p_clip.pow(clip_weight)
    unknown = torch.where(is_empty, 0.0, objectness.pow(rest))[:, None] * p_clip
    return torch.where(is_known, known, unknown)
