"""What a segmenter is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.clip_config import VILD_TEMPLATES, ExactNaming, NamingConfig, RegionRules, Templates
from stages.common import DOES_NOT_COUNT, AskedPrecision, Config, Device, Manifest
from stages.proposals import ProposalsConfig, QueryRules
from train.clip.source import ClipSource

EVERYTHING_ELSE = ("background", "something else")
"""The words for all that is none of the classes, where the user has none of their own."""
PHOTO_SEGMENTER = Path(__file__).parent / "photo.yaml"
"""The manifest of whoever names none: models for photos, which are downloaded at their first use."""


class SegmenterConfig(Config):
    """A two-stage open-vocabulary segmenter: where masks come from, and which CLIP names them, by which rules.

    Attributes:
        proposer: any kind of mask proposals.
        clip: which CLIP, plain or adapted; not needed with a proposer of kind `ovseg`, whose file has its own.
        rules: how a masked region becomes CLIP's input.
        templates: prompts with one ``{}`` each; the 14 published ones by default.
        clip_weight: w in p_segmenter^(1-w) * p_clip^w (OVSeg, arXiv 2210.04150, equation 4; published: 0.7 for ADE20K,
            0.6 for Pascal Context, 0.45 for Pascal VOC 20); used for the classes that the proposer has itself. Of
            these 0 leaves the proposer's opinion alone, as the formula says; in the published code 0 means CLIP alone,
            on masks that are not empty, which is 1 here.
        temperature: cosines are multiplied by it before the softmax over the classes.
        everything_else: words for what is none of the classes; its pixels become 'nothing'. None for no such class.
        naming: whether every mask has a forward pass of CLIP (`exact`), or only those that have most say in the label
            map, and the others are looked at coarsely (`cascade`).
        use_prompts: whether the CLIP gets the masks for its mask prompts; one without prompts ignores them.
        mask_threshold: soft masks are cut here into regions (published: 0.4 for Swin-B, 0.5 for R101c).
        similarity_threshold: an open class with no word in common with the proposer's own classes takes the nearest
            one from this cosine of CLIP's text features on; 1 for never.
        limit: at most so many masks of a photo, the best first by the proposer's own score.
        min_area_px: smaller masks count as empty.
        score_threshold: pixels whose best class has a score of at most this are 'nothing'.
        batch_size: regions per forward pass of CLIP.
        device: `auto` takes a GPU where there is one.
        precision: autocast of proposer and CLIP; `auto` is bf16 where the device has units for it, else fp16 on a GPU
            and fp32 on a CPU.
    """

    proposer: ProposalsConfig
    clip: ClipSource | None = None
    rules: RegionRules = RegionRules()
    templates: Templates = VILD_TEMPLATES
    clip_weight: float = Field(0.7, ge=0.0, le=1.0)
    temperature: float = Field(100.0, gt=0.0)
    everything_else: tuple[str, ...] | None = Field(None, min_length=1)
    naming: NamingConfig = ExactNaming()
    use_prompts: bool = True
    mask_threshold: float = Field(0.4, gt=0.0, lt=1.0)
    similarity_threshold: float = Field(0.95, gt=0.0, le=1.0)
    limit: int = Field(100, ge=1)
    min_area_px: int = Field(1, ge=1)
    score_threshold: float = Field(0.0, ge=0.0)
    batch_size: Annotated[int, DOES_NOT_COUNT] = Field(32, ge=1)
    device: Annotated[Device, DOES_NOT_COUNT] = "auto"
    precision: AskedPrecision = "auto"

    @model_validator(mode="after")
    def _some_clip(self) -> Self:
        if self.clip is None and self.proposer.kind != "ovseg":
            raise ValueError("expected 'clip'; only a proposer of kind 'ovseg' has a CLIP of its own")
        return self

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if isinstance(self.proposer, QueryRules):
            given = self.proposer.model_fields_set & {"mask_threshold", "weigh_by_mask_confidence"}
            if given:
                raise ValueError(
                    f"proposer.{min(given)} is for mining; a segmenter takes soft masks, which mask_threshold cuts"
                )
        return self


class SegmenterManifest(Manifest, SegmenterConfig):
    """A segmenter as a file of its own."""

    kind: Literal["segmenter"] = "segmenter"
