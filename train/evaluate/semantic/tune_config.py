"""The manifest of a tuning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stages.common import Manifest
from train.evaluate.benchmark_sets.config import LabelFolder
from train.segmenter.config import SegmenterConfig

Weights = tuple[Annotated[float, Field(ge=0, le=1)], ...]
Positive = tuple[Annotated[float, Field(gt=0)], ...]
NotNegative = tuple[Annotated[float, Field(ge=0)], ...]


class TuneManifest(Manifest):
    """Which settings of a segmenter are tried, on which part of the training data.

    Attributes:
        set: pictures with labels that the models did not train on and that no result is reported on: a folder. The
            benchmarks are test data, and refused.
        segmenter: what is tuned; its own settings are tried as well.
        held_out: share of the pictures that are taken, drawn by the seed.
        seed: of the draw.
        clip_weight: values of w to try; only a mask generator with classes of its own has a use for them.
        temperature: values to try.
        score_threshold: values to try.
        metric: what is best: mIoU over the classes with ground truth, or with ground truth or prediction.
    """

    kind: Literal["segmenter_tuning"]
    set: LabelFolder
    segmenter: SegmenterConfig
    held_out: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0)
    clip_weight: Weights = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    temperature: Positive = (30.0, 50.0, 100.0)
    score_threshold: NotNegative = ()
    metric: Literal["miou_gt", "miou_gt_or_predicted"] = "miou_gt"

    @field_validator("set", mode="before")
    @classmethod
    def _no_test_data(cls, value: Any) -> Any:  # noqa: ANN401 - any YAML value
        if isinstance(value, dict) and value.get("kind") not in ("folder", None):
            raise ValueError(
                f"{value['kind']} is test data, and what is tuned on it would be reported on it; "
                "expected kind: folder, a part of the training data"
            )
        return value
