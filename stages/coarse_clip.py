"""The cheap pass of a cascade: the same CLIP on smaller pictures of the same regions."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch.nn.functional as functional
from torch import Tensor, nn

from stages.clip import RegionEncoder
from stages.clip_tower import at_grid, tower_of
from stages.common import UserError


class CoarseClip(nn.Module):
    """A CLIP whose image tower sees its input shrunk: an eighth of the patches takes an eighth of the time.

    The weights are the CLIP's own; its positions, and its mask prompts if it has them, are interpolated.

    Args:
        clip: an open_clip model, or one that wraps it and has ``at_grid``.
        side: share of the input's side that is left, in (0, 1); at least two patches are.

    Raises:
        UserError: its image tower is no vision transformer with square patches.
    """

    def __init__(self, clip: Any, side: float) -> None:  # noqa: ANN401 - any of open_clip's classes
        super().__init__()
        tower = tower_of(getattr(clip, "clip", clip))
        rows, columns = (min(max(2, round(side * patches)), patches) for patches in tower.grid)
        self._size_px = rows * tower.patch_px, columns * tower.patch_px
        self._clip = clip.at_grid(rows, columns) if hasattr(clip, "at_grid") else at_grid(clip, rows, columns)
        self._input = (clip.visual,)  # in a tuple, so that the tower is no part of this module

    @property
    def visual(self) -> Any:  # noqa: ANN401 - a tower of open_clip's own or of timm
        """The image tower as it was: what `encode_image` takes is of its size."""
        return self._input[0]

    def encode_image(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """Image features [N, D] of normalised images [N, 3, H, W] of full size, and of masks [N, 1, H, W] if given."""
        small = functional.adaptive_avg_pool2d(images, self._size_px)
        shown = [small] if masks is None else [small, functional.adaptive_max_pool2d(masks, self._size_px)]
        features: Tensor = self._clip.encode_image(*shown)
        return features


def coarse_encoder(encoder: RegionEncoder, side: float) -> RegionEncoder:
    """The same regions by a `CoarseClip`.

    Raises:
        UserError: as `CoarseClip`.
    """
    other = copy(encoder)
    try:
        other.clip = CoarseClip(encoder.clip, side)
    except UserError as error:
        raise UserError(
            f"naming: kind 'cascade' needs a CLIP that can look at smaller pictures: {error}. "
            "Take such a CLIP, or naming: {kind: exact}"
        ) from error
    return other
