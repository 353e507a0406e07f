"""The manifest of a semantic segmentation's evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.common import DOES_NOT_COUNT, Config, Location, Manifest
from train.evaluate.benchmark_sets import LabelFolder, SetConfig
from train.segmenter import SegmenterConfig


class LabelMaps(Config):
    """Predictions made elsewhere.

    Attributes:
        folder: of PNG label maps, 8 or 16 bits, with the pictures' names.
        first: the value that stands for the set's first class; values below it, and those beyond the last class, mean
            no class. `maskmine segment` writes 1.
    """

    folder: Location = Field(min_length=1)
    first: int = Field(1, ge=0)


class SemanticManifest(Manifest):
    """What is scored on which pictures.

    Attributes:
        set: pictures with labels: a benchmark or a folder.
        segmenter: what is scored. Its proposer may be `ground_truth`: every class of a picture is then one mask, and
            the score is the bound that perfect masks would give.
        predictions: label maps to be scored, in place of a segmenter.
        best_labels: every mask gets the ground-truth class that most of its pixels have: the bound that perfect names
            would give.
        seen: names of classes that training has met, for the seen / unseen split; `generator` for those that the mask
            generator was trained on, as far as its labels tell; None for no split.
        open_metrics: also score with WordNet's similarity of classes: see docs/metrics.md.
        limit: at most so many pictures, the first ones. Figures of a part are no benchmark.
    """

    kind: Literal["semantic_segmentation"]
    set: SetConfig
    segmenter: SegmenterConfig | None = None
    predictions: LabelMaps | None = None
    best_labels: bool = False
    seen: Annotated[tuple[str, ...] | Literal["generator"] | None, DOES_NOT_COUNT] = None
    open_metrics: Annotated[bool, DOES_NOT_COUNT] = True
    limit: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_to_score(self) -> Self:
        if (self.segmenter is None) == (self.predictions is None):
            raise ValueError("expected either 'segmenter' or 'predictions'")
        if self.segmenter is None and (self.best_labels or self.seen == "generator"):
            raise ValueError("'best_labels' and seen: generator need a 'segmenter'")
        return self


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
