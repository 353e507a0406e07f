"""The manifest of an adaptation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stages.clip_config import VILD_TEMPLATES, RegionRules, Templates
from stages.common import DOES_NOT_COUNT, AskedPrecision, Config, Device, Manifest, Name, UserError, resolve_precision
from train.clip.source import ClipSource
from train.data.samples import DataConfig
from train.evaluate.classify.run import ClassifyManifest, RegionInput, RegionsConfig


class LossConfig(Config):
    """What is minimised.

    Attributes:
        kind: `in_batch`, CLIP's own, in which two pairs with one noun are each other's negatives (as published);
            `multi_positive`, in which pairs with the same canonical noun share the target; `noun_bank`, each region
            against every canonical noun of the shards.
        templates: prompts with one ``{}`` each, averaged; the noun as it is by default (as published).
        logit_scale: factor of the cosines; the CLIP's own if not given. It is never trained.
    """

    kind: Literal["in_batch", "multi_positive", "noun_bank"] = "noun_bank"
    templates: Templates = ("{}",)
    logit_scale: float | None = Field(None, gt=0)


class Phase(Config):
    """A part of the run with its own optimiser and schedule; the rates are the published ones.

    Attributes:
        train: `tower` (FT), `prompts` (MPT), or `both` (joint).
        epochs, steps: how long; one of them.
        tower_lr, prompts_lr: peak learning rates of AdamW.
        tower_weight_decay: of the tower's matrices; vectors have none.
        prompts_weight_decay: of the prompts.
        warmup_steps: linear warm-up; then a cosine to zero.
    """

    train: Literal["tower", "prompts", "both"]
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    tower_lr: float = Field(5e-6, gt=0)
    prompts_lr: float = Field(2e-2, gt=0)
    tower_weight_decay: float = Field(0.2, ge=0)
    prompts_weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(100, ge=0)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("expected either 'epochs' or 'steps'")
        return self


class Validation(Config):
    """Ground-truth regions that the run is scored on; see train.evaluate.classify.

    Attributes:
        every: steps between scores; there is one at the end besides.
        regions, classes, seen, region_input, rules, templates, limit: as in a mask classification.
        metric: the best of the run is kept in DIR/best; `harmonic` is that of seen and unseen top-1.
    """

    every: int = Field(ge=1)
    regions: RegionsConfig
    classes: tuple[Name, ...] | None = None
    seen: tuple[Name, ...] | None = None
    region_input: RegionInput = "prompted"
    rules: RegionRules = RegionRules()
    templates: Templates = VILD_TEMPLATES
    limit: int | None = Field(None, ge=1)
    metric: Literal["top1", "mean_class", "harmonic"] = "top1"

    def manifest(self, weights: str, device: str) -> ClassifyManifest:
        values: dict[str, Any] = self.model_dump(exclude={"every", "metric"})
        return ClassifyManifest.model_validate(
            {**values, "kind": "mask_classification", "clip": {"weights": weights}, "device": device}
        )

    @model_validator(mode="after")
    def _a_split_for_the_harmonic_mean(self) -> Self:
        if self.metric == "harmonic" and self.seen is None:
            raise ValueError("metric 'harmonic' needs 'seen', the names that training meets")
        return self


class AdaptManifest(Manifest):
    """What is adapted, to what, and how. The text tower never trains.

    Attributes:
        init: the CLIP to begin with: plain, or adapted by an earlier run (then its prompts go on).
        data: shards.
        phases: one after the other: FT, MPT and joint are a phase each; FT then MPT are two.
        prompt_depth: layers with prompts, where a phase trains them.
        loss: what is minimised.
        batch_size: pairs per step, of all processes together.
        micro_batch: pairs per forward pass in a process; all of its share if not given. It bounds memory and changes
            no gradient: see docs/training.md.
        precision: autocast of the tower; `auto` is bf16 where the device has units for it, else fp16 on a GPU and fp32
            on a CPU. fp16 scales the loss, and needs a GPU.
        gradient_checkpointing: the tower's activations are computed anew in the backward pass.
        max_grad_norm: longer gradients are shortened to it.
        ema_decay: the weights that are kept are an exponential moving average over steps.
        wise_ft_alpha: share of the tuned tower in the one that is kept, beside the original: WiSE-FT's alpha
            (Wortsman et al., CVPR 2022); 1 for the tuned one alone.
        validation: scores while training, and the best of the run.
        device: `auto` takes a GPU where there is one.
        seed: of prompts, orders and augmentation.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        tensorboard: whether DIR/tensorboard is written, too.
    """

    kind: Literal["adapt"]
    init: Annotated[ClipSource, DOES_NOT_COUNT]  # its weights are hashed instead
    data: DataConfig
    phases: tuple[Phase, ...] = Field(min_length=1)
    prompt_depth: int = Field(3, ge=1)
    loss: LossConfig = LossConfig()
    batch_size: int = Field(256, ge=2)
    micro_batch: int | None = Field(None, ge=1)
    precision: AskedPrecision = "auto"
    gradient_checkpointing: bool = False
    max_grad_norm: float | None = Field(None, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    wise_ft_alpha: float = Field(1.0, gt=0, le=1)
    validation: Validation | None = None
    device: Annotated[Device, DOES_NOT_COUNT] = "auto"
    seed: int = Field(0, ge=0)
    checkpoint_every: Annotated[int, DOES_NOT_COUNT] = Field(500, ge=1)
    log_every: Annotated[int, DOES_NOT_COUNT] = Field(20, ge=1)
    tensorboard: Annotated[bool, DOES_NOT_COUNT] = False

    def resolved(self, device: str) -> Self:
        """The same with the precision that `auto` stands for on a device.

        Raises:
            UserError: fp16 without a GPU.
        """
        precision = resolve_precision(self.precision, device)
        if precision == "fp16" and not device.startswith("cuda"):
            raise UserError("precision: fp16 needs a GPU; expected auto, bf16 or fp32 on this device")
        return self.model_copy(update={"precision": precision})
