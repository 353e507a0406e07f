"""The manifest of a mask classification."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.clip_config import VILD_TEMPLATES, RegionRules, Templates
from stages.common import DOES_NOT_COUNT, Config, Location, Manifest
from train.clip.source import ClipSource
from train.evaluate.benchmark_sets.config import LabelFiles


class CocoRegions(Config):
    """Ground truth of COCO's form; crowds are left out.

    Attributes:
        images: folder of the pictures.
        annotations: instances, stuff, or both.
    """

    kind: Literal["coco"] = "coco"
    images: Location
    annotations: tuple[Location, ...] = Field(min_length=1)


class LabelMapRegions(LabelFiles):
    """Semantic label maps: every class of a picture is one region."""

    kind: Literal["labels"]


RegionsConfig = Annotated[CocoRegions | LabelMapRegions, Field(discriminator="kind")]
RegionInput = Literal["picture", "crop", "masked", "prompted"]


class ClassifyManifest(Manifest):
    """What is classified by which CLIP, among which classes.

    Attributes:
        clip: which CLIP.
        regions: ground truth.
        classes: names to choose from; those of the ground truth if not given. Regions of other classes are left out
            and counted.
        seen: names that training has met, for the seen / unseen split; none if not given.
        region_input: what CLIP sees: the whole picture; the region's box, as it is (`crop`), or with the rest of it
            filled (`masked`); or that, and the mask for its prompts (`prompted`). A CLIP without prompts takes
            `prompted` as `masked`.
        rules: how regions are cut.
        templates: prompts with one ``{}`` each.
        min_area_px: smaller regions are left out and counted.
        limit: at most so many regions, the first ones in the order of pictures' ids and annotations.
    """

    kind: Literal["mask_classification"]
    clip: ClipSource
    regions: RegionsConfig
    classes: tuple[str, ...] | None = None
    seen: tuple[str, ...] | None = None
    region_input: RegionInput = "prompted"
    rules: RegionRules = RegionRules()
    templates: Templates = VILD_TEMPLATES
    min_area_px: int = Field(1, ge=1)
    limit: int | None = Field(None, ge=1)
    batch_size: int = Field(64, ge=1)
    device: Annotated[str, DOES_NOT_COUNT] = "cpu"
