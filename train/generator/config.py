"""The manifest of a mask generator's training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stages.clip_config import VILD_TEMPLATES, Templates
from stages.common import DOES_NOT_COUNT, Config, Device, Manifest, ModelLocation, Name
from train.clip.source import ClipSource
from train.evaluate.proposals import MaskTruth

Side = Annotated[int, Field(ge=32, multiple_of=32)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class MaskSet(MaskTruth):
    """Pictures with masks in COCO's form: polygons, RLE or panoptic PNGs. Crowds are left out of the loss.

    Attributes:
        leave_out: names of categories whose masks are not used, such as COCO-Stuff's "other".
        weight: how often an epoch holds each picture, on average.
    """

    leave_out: tuple[Name, ...] = ()
    weight: float = Field(1.0, gt=0)


class MaskAugmentation(Config):
    """What is drawn anew whenever a picture is met.

    Attributes:
        flip: half of the pictures are mirrored.
        scale: range of the factor on a size that fits the square, drawn evenly in its logarithm; what then sticks out
            is cropped, what is left is padded (large scale jitter, arXiv 2012.07177, has (0.1, 2)).
        color: strength of changes of brightness, contrast, saturation and cast; 0 for none.
        min_area_px: a mask of which a crop leaves fewer pixels is left out.
    """

    flip: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    color: Share = 0.2
    min_area_px: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: expected (lowest, highest), both above 0, got {self.scale}")
        return self


class MaskData(Config):
    """What a generator trains on.

    Attributes:
        sets: one or more, mixed by their weights.
        held_out: share of the pictures, drawn by their ids, that is never trained on but scored.
        names: categories whose masks are trained on, as if the others had not been annotated; None for all.
        unlabelled: what pixels are that no mask covers: `background`, where no region is, or `ignored`: nobody
            knows, so that a region which is found there costs nothing.
        one_mask_per_name: a picture's masks of one name become one, as in semantic segmentation.
        sides_px: sides of the square inputs; each step draws one, of `final_side_px` near the end.
        final_side_px: the side of the last steps; the largest of `sides_px` if not given.
        final_share: share of the steps that have it.
        augment: what is drawn for each picture.
        workers: processes that read pictures; 0 for none beside the training's.
    """

    sets: tuple[MaskSet, ...] = Field(min_length=1)
    held_out: float = Field(0.01, ge=0.0, lt=1.0)
    names: tuple[Name, ...] | None = Field(None, min_length=1)
    unlabelled: Literal["background", "ignored"] = "background"
    one_mask_per_name: bool = False
    sides_px: tuple[Side, ...] = Field((640,), min_length=1)
    final_side_px: Side | None = None
    final_share: Share = 0.3
    augment: MaskAugmentation = MaskAugmentation()
    workers: Annotated[int, DOES_NOT_COUNT] = Field(2, ge=0)

    @property
    def last_side_px(self) -> int:
        """The side of the last steps."""
        return self.final_side_px or max(self.sides_px)


class GridNetwork(Config):
    """A small generator of our own, whose queries are the cells of a grid: see stages.proposals.grid.

    Attributes:
        init: a folder that an earlier training wrote; None for one from scratch.
        config: fields of stages.proposals.grid.GridConfig that are not as they are by default; only from scratch.
        masks_per_region: so many of a region's cells, drawn at random, show their mask in a step.
    """

    kind: Literal["grid"]
    init: Annotated[ModelLocation | None, DOES_NOT_COUNT] = None
    config: dict[str, Any] = Field(default_factory=dict)
    masks_per_region: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.init is not None and self.config:
            raise ValueError("'config' is for a network from scratch; 'init' has its own")
        return self


class QueryNetwork(Config):
    """One of transformers' models with one mask a query.

    Attributes:
        kind: MaskFormer (arXiv 2107.06278), Mask2Former (arXiv 2112.01527) or EoMT (arXiv 2503.19108).
        init: a hub id or folder to begin with, as `stages.proposals` has it; None for one from scratch.
        revision: commit of a hub id.
        config: transformers' configuration of the model, that of its backbone included; only from scratch.
        backbone_weights: a hub id or folder whose weights the backbone begins with; only from scratch, not for EoMT.
        backbone_revision: commit of a hub id.
        classes: ``object``: one class, whatever the name; ``names``: one for each name of the sets, as a closed list.
        backbone_lr_factor: share of the learning rate that the backbone has; if not given, 0.1 where it has weights,
            and 1 from scratch.
    """

    kind: Literal["maskformer", "mask2former", "eomt"]
    init: Annotated[ModelLocation | None, DOES_NOT_COUNT] = None
    revision: Annotated[str | None, DOES_NOT_COUNT] = Field(None, min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    backbone_weights: Annotated[ModelLocation | None, DOES_NOT_COUNT] = None
    backbone_revision: Annotated[str | None, DOES_NOT_COUNT] = Field(None, min_length=1)
    classes: Literal["object", "names"] = "object"
    backbone_lr_factor: float | None = Field(None, ge=0.0)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.init is not None and (self.config or self.backbone_weights):
            raise ValueError("'config' and 'backbone_weights' are for a network from scratch; 'init' has its own")
        if self.init is None and not self.config:
            raise ValueError("expected 'init' (a hub id or folder) or 'config' (transformers' configuration)")
        if self.kind == "eomt" and self.backbone_weights is not None:
            raise ValueError("'backbone_weights': an EoMT has none of its own; name a whole EoMT under 'init'")
        return self

    @property
    def backbone_share(self) -> float:
        """`backbone_lr_factor`, or what it is if not given."""
        if self.backbone_lr_factor is not None:
            return self.backbone_lr_factor
        return 1.0 if self.init is None and self.backbone_weights is None else 0.1


AnyNetwork = Annotated[GridNetwork | QueryNetwork, Field(discriminator="kind")]


class OpenVocabulary(Config):
    """A second head: queries as vectors in CLIP's text space, so that the generator has an opinion on any word.

    Attributes:
        clip: whose text features are learned; they do not change.
        templates: prompts that the names are put in.
        weight: of its loss.
        names: of those of the sets, the ones that are learned; regions of others have no loss of words. None for all.
        only: all but this head stays as it is.
    """

    clip: Annotated[ClipSource, DOES_NOT_COUNT]  # its files are hashed instead
    templates: Templates = VILD_TEMPLATES
    weight: float = Field(2.0, gt=0)
    names: tuple[Name, ...] | None = Field(None, min_length=1)
    only: bool = False


class HeldOutScores(Config):
    """Scores of the pictures that are held out; see train.evaluate.proposals.

    Attributes:
        every: steps between scores; there is one at the end besides.
        limit: at most so many pictures.
        max_proposals: proposals per picture that count.
        metric: what is best is kept in DIR/best.
    """

    every: int = Field(ge=1)
    limit: int | None = Field(None, ge=1)
    max_proposals: int = Field(100, ge=1)
    metric: Literal["ar", "recall_50", "recall_75"] = "ar"


class GeneratorManifest(Manifest):
    """Which generator is trained, on what, and how.

    Attributes:
        network: which one, from scratch or from weights.
        data: pictures with masks.
        open_vocabulary: a head for words; None for none.
        batch_size: pictures per step, of all processes together.
        steps: of the whole run.
        lr: peak learning rate of AdamW.
        weight_decay: of matrices and convolutions; vectors have none.
        warmup_steps: linear warm-up; then a cosine to zero.
        max_grad_norm: longer gradients are shortened to it.
        ema_decay: the weights that are kept are an exponential moving average over steps; None for the last ones.
        precision: autocast of the network; `auto` is bf16 where the device has units for it, else fp32.
        scores: of what is held out, while training, and the best of the run.
        device: `auto` takes a GPU where there is one.
        seed: of weights, orders and augmentation.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        tensorboard: whether DIR/tensorboard is written, too.
    """

    kind: Literal["generator"]
    network: AnyNetwork
    data: MaskData
    open_vocabulary: OpenVocabulary | None = None
    batch_size: int = Field(16, ge=1)
    steps: int = Field(ge=1)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(100, ge=0)
    max_grad_norm: float | None = Field(5.0, gt=0)
    ema_decay: float | None = Field(0.998, gt=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    scores: HeldOutScores | None = None
    device: Annotated[Device, DOES_NOT_COUNT] = "auto"
    seed: int = Field(0, ge=0)
    checkpoint_every: Annotated[int, DOES_NOT_COUNT] = Field(500, ge=1)
    log_every: Annotated[int, DOES_NOT_COUNT] = Field(20, ge=1)
    tensorboard: Annotated[bool, DOES_NOT_COUNT] = False

    @model_validator(mode="after")
    def _network_can_follow(self) -> Self:
        if isinstance(self.network, QueryNetwork) and self.data.unlabelled == "ignored":
            raise ValueError("data.unlabelled: 'ignored' is for network.kind 'grid'; set background")
        if isinstance(self.network, QueryNetwork) and self.network.classes == "names" and self.data.names is not None:
            raise ValueError("network.classes: 'names' has a class for every name; leave data.names out")
        return self
