"""What a training run reads, and what it does to a sample; loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.clip_config import RegionRules
from stages.common import DOES_NOT_COUNT, Config, Location


class ShardSet(Config):
    """Shards that belong together, such as all of one build.

    Attributes:
        shards: a build's folder (its index.parquet is read), a folder of tars, or tars by name; in a file's name
            ``{00000..00099}`` stands for a range and ``*`` for anything.
        weight: how often an epoch holds each of the set's samples, on average: 1 for once, 0.5 for a random half of
            them, 3 for three times.
    """

    shards: tuple[Location, ...] = Field(min_length=1)
    weight: float = Field(1.0, gt=0, le=1000)


class Augmentation(Config):
    """What is drawn anew each time that a sample is seen; the defaults are the published ones.

    Attributes:
        crop_scale: least and greatest share of the region's box that a random crop keeps, by area; (1, 1) for none.
        crop_ratio: least and greatest aspect ratio of the crop in units of the box's own. Of it, what fits into the
            box at the scale drawn.
        flip: mirrors every second sample, left to right.
        mask_noise: the mask is dilated or eroded by up to this, in units of the longer side of its tight box.
    """

    crop_scale: tuple[float, float] = (0.9, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    mask_noise: float = Field(0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale: expected 0 < least <= greatest <= 1, found {list(self.crop_scale)}")
        if not 0 < self.crop_ratio[0] <= 1 <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio: expected 0 < least <= 1 <= greatest, found {list(self.crop_ratio)}")
        return self


NO_AUGMENTATION = Augmentation(crop_scale=(1.0, 1.0))


class DataConfig(Config):
    """Shard sets, and the way from their samples to batches.

    Attributes:
        sets: mixed by their weights.
        region: box, fill and antialiasing, as in mining; a box ends at the sample's crop, so that `expand_ratio` has
            no effect beyond the margin that the shards were built with.
        augment: of the training samples.
        repeat_threshold: nouns (canonical forms) whose share of the pairs is below it are repeated sqrt(threshold /
            share) times as often; None for no balance. Gupta et al. 2019 (LVIS) take 0.001.
        on_bad: what to do about a sample that cannot be used: stop with an error, or put another one in its place.
        workers: processes that decode; 0 for none beside the trainer's own.
    """

    sets: tuple[ShardSet, ...] = Field(min_length=1)
    region: RegionRules = RegionRules()
    augment: Augmentation = Augmentation()
    repeat_threshold: float | None = Field(None, gt=0, le=1)
    on_bad: Literal["error", "skip"] = "error"
    workers: Annotated[int, DOES_NOT_COUNT] = Field(2, ge=0)
