"""Settings of a published OVSeg file, by their published names: what the weights' shapes do not tell.

The file itself has none. Those of the two released files are the defaults (Swin-B + ViT-L/14, R101c + ViT-B/16); which
they are follows from the backbone. A setting that this code cannot follow is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.common import UserError

_R101C: dict[str, dict[str, float]] = {
    "input": {"MIN_SIZE_TEST": 512, "MAX_SIZE_TEST": 2048},
    "clip_adapter": {"MASK_THR": 0.5},
}
Rgb = tuple[float, float, float]


class _Section(BaseModel):
    """Other keys are of training, or follow from the shapes."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class InputSettings(_Section):
    """How a photo is resized: the short side to the one, the long side to at most the other."""

    MIN_SIZE_TEST: int = Field(640, ge=1)
    MAX_SIZE_TEST: int = Field(2560, ge=1)
    FORMAT: Literal["RGB", "BGR"] = "RGB"


class ClipAdapterSettings(_Section):
    """Crops, mask prompts and the ensemble; other templates than ViLD's are given in full, as `templates`."""

    TEXT_TEMPLATES: str = "vild"
    MASK_FILL: Literal["mean"] = "mean"
    MASK_EXPAND_RATIO: float = Field(1.0, gt=0)
    MASK_THR: float = Field(0.4, gt=0, lt=1)
    MASK_MATTING: Literal[False] = False
    REGION_RESIZED: Literal[True] = True
    CLIP_ENSEMBLE: bool = True
    CLIP_ENSEMBLE_WEIGHT: float = Field(0.7, ge=0, le=1)
    MASK_PROMPT_DEPTH: int | None = Field(None, ge=0)
    MASK_PROMPT_FWD: bool = True


class MaskFormerSettings(_Section):
    """The predictor, and the multiple that sides are padded to: none for 0, the backbone's own below."""

    NHEADS: int = Field(8, ge=1)
    ENC_LAYERS: Literal[0] = 0
    PRE_NORM: Literal[False] = False
    SIZE_DIVISIBILITY: int = 32
    TRANSFORMER_IN_FEATURE: Literal["res5"] = "res5"


class PixelDecoderSettings(_Section):
    """The pixel decoder."""

    PIXEL_DECODER_NAME: Literal["BasePixelDecoder"] = "BasePixelDecoder"
    NORM: Literal["GN"] = "GN"


class SwinSettings(_Section):
    """A Swin."""

    APE: Literal[False] = False
    PROJECTION: Literal[False] = False
    PATCH_NORM: Literal[True] = True
    QK_SCALE: None = None
    NORM_INDICES: None = None


class ResnetSettings(_Section):
    """A ResNet of detectron2's."""

    STRIDE_IN_1X1: bool = False
    RES4_DILATION: Literal[1, 2] = 1
    RES5_DILATION: Literal[1, 2, 4] = 1
    RES5_MULTI_GRID: tuple[int, ...] = (1, 2, 4)
    DEFORM_ON_PER_STAGE: tuple[Literal[False], ...] = ()


class ClipSettings(_Section):
    """CLIP; heads are width / 64 where they are not given."""

    quick_gelu: bool = True
    vision_heads: int | None = Field(None, ge=1)
    text_heads: int | None = Field(None, ge=1)


class OvsegSettings(_Section):
    """All of them, in the form of the published configuration's sections."""

    pixel_mean: Rgb = (123.675, 116.28, 103.53)
    pixel_std: Rgb = (58.395, 57.12, 57.375)
    backbone: str = "build_resnet_deeplab_backbone"
    input: InputSettings = InputSettings()
    clip_adapter: ClipAdapterSettings = ClipAdapterSettings()
    mask_former: MaskFormerSettings = MaskFormerSettings()
    sem_seg_head: PixelDecoderSettings = PixelDecoderSettings()
    swin: SwinSettings = SwinSettings()
    resnets: ResnetSettings = ResnetSettings()
    clip: ClipSettings = ClipSettings()
    templates: tuple[str, ...] | None = None

    @property
    def multiple_px(self) -> int:
        """The multiple that an input's sides are padded to; 1 for none."""
        asked = self.mask_former.SIZE_DIVISIBILITY
        own = 32 if "Swin" in self.backbone else 1
        return own if asked < 0 else max(1, asked)

    @classmethod
    def of(cls, config: Mapping[str, Any] | None, swin: bool, source: str) -> Self:
        """Those of a file.

        Args:
            config: sections by name; None, or what is not in it, for those of the released file.
            swin: whether the backbone is a Swin; else it is a ResNet.
            source: the file, for messages.

        Raises:
            UserError: a setting is wrong, or cannot be followed.
        """
        given = dict(config or {})
        given.pop("resnets" if swin else "swin", None)  # a configuration has both sections, and one is in use
        if swin:
            given.setdefault("backbone", "D2SwinTransformer")
        else:
            for section, values in _R101C.items():
                given[section] = {**values, **(given.get(section) or {})}
        try:
            found = cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"{source}: {key}: {first['msg']}, got {first['input']!r}; "
                "expected the settings of an OVSeg that is run as published"
            ) from error
        if found.templates is None and found.clip_adapter.TEXT_TEMPLATES != "vild":
            raise UserError(
                f"{source}: clip_adapter.TEXT_TEMPLATES: {found.clip_adapter.TEXT_TEMPLATES!r} is not known; expected "
                "'vild', or the prompts themselves as 'templates'"
            )
        return found
