"""Parts of crops on their way from the loader's workers to the GPU that cuts them to size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from stages.clip import ClipInput
from stages.clip_config import RegionRules
from stages.gathered_regions import gather_parts
from train.data.samples import Part


class Parts(NamedTuple):
    """Parts of crops that are cut to size where the model is: as bytes, and no larger than they are.

    Attributes:
        pixels: uint8 [sum of h * w, 3], one part after the other.
        masks: bool [sum of h * w].
        sizes: int64 [N, 2], h and w of each.
        mirrored: bool [N].
    """

    pixels: Tensor
    masks: Tensor
    sizes: Tensor
    mirrored: Tensor

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Self:
        """One after the other; at least one."""
        return cls(
            torch.from_numpy(np.concatenate([part.pixels.reshape(-1, 3) for part in parts])),
            torch.from_numpy(np.concatenate([part.mask.ravel() for part in parts])),
            torch.tensor([part.mask.shape for part in parts]),
            torch.tensor([part.is_mirrored for part in parts]),
        )

    def cut(self, clip: ClipInput, rules: RegionRules, device: str) -> tuple[Tensor, Tensor]:
        """Images float32 [N, 3, S, S], normalised, and masks float32 [N, 1, S, S] in {0, 1}, on the device."""
        sizes = self.sizes.tolist()
        flat = np.split(self.masks.numpy(), np.cumsum([height * width for height, width in sizes])[:-1])
        masks = [mask.reshape(size) for mask, size in zip(flat, sizes, strict=True)]
        pixels = self.pixels.to(device, non_blocking=True)
        cut = gather_parts(pixels, masks, clip.size_px, clip.mean_rgb, rules, clip.std_rgb)
        mirrored = self.mirrored.to(device)[:, None, None, None]
        images, keep = (torch.where(mirrored, each.flip(3), each) for each in cut)
        return images, keep
