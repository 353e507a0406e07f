"""The rules by which a masked region becomes CLIP's input; loads no torch, so that planning stays light."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.common import Config


class RegionRules(Config):
    """How a masked region becomes CLIP's input; the defaults are the published ones.

    Attributes:
        expand_ratio: the tight box's sides are multiplied by it about its centre, then clipped to the image.
        fill: what stands outside the mask: CLIP's mean colour, or the photo itself.
        antialias: low-pass filter when shrinking; False as published, True helps a CLIP of small input size.
    """

    expand_ratio: float = Field(1.0, gt=0)
    fill: Literal["mean", "photo"] = "mean"
    antialias: bool = False
