"""What is scored, and one picture of it: segmented, or somebody's label map of it read."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from stages.common import DOES_NOT_COUNT, Config, Folder, Location, Manifest, Name, Rle, SampleError, UserError
from stages.proposals import GroundTruthProposals, ModelConfig, PrecomputedProposals
from train.evaluate.benchmark_sets import (
    IGNORED,
    Item,
    LabelFolder,
    SegmentationSet,
    SetConfig,
    decode_labels,
    overlap_warning,
    read_data,
)
from train.evaluate.metrics.oracle import best_labels, regions_of
from train.segmenter import NOTHING, Masks, Segmenter, SegmenterConfig


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
    seen: Annotated[tuple[Name, ...] | Literal["generator"] | None, DOES_NOT_COUNT] = None
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


class Scorer:
    """A segmenter on the pictures of a set.

    Args:
        segmenter: the one that is scored; of the proposer `ground_truth` every class of a picture is one mask.
        pictures: the set.
    """

    def __init__(self, segmenter: Segmenter, pictures: SegmentationSet) -> None:
        self.segmenter, self._pictures = segmenter, pictures
        self._perfect_masks = isinstance(segmenter.config.proposer, GroundTruthProposals)

    @classmethod
    def load(cls, config: SegmenterConfig, pictures: SegmentationSet) -> Self:
        """With the segmenter that is configured.

        Raises:
            UserError: a model cannot be loaded, or the masks would have to come with the pictures.
        """
        if isinstance(config.proposer, PrecomputedProposals):
            raise UserError("segmenter.proposer: 'precomputed' masks are for mining; choose another kind")
        return cls(Segmenter.load(config), pictures)

    def known(self) -> set[str]:
        """Names of the classes that the mask generator has labels for."""
        classes = self._pictures.classes
        matches = self.segmenter.label_matches(classes)
        return {one.name for one, match in zip(classes, matches, strict=True) if match.how}

    def warning(self) -> str | None:
        """That the mask generator was trained on this set, if it was."""
        proposer = self.segmenter.config.proposer
        if not isinstance(proposer, ModelConfig):
            return None
        return overlap_warning(proposer.model, dict(enumerate(self.segmenter.masks.labels)), self._pictures.name)

    def predict(self, item: Item, truth: NDArray[np.int32], perfect_names: bool = False) -> NDArray[np.int32]:
        """The label map of a picture.

        Args:
            item: the picture.
            truth: its ground truth [H, W]: for masks or names that come from it.
            perfect_names: give every mask the class that most of its pixels have.

        Raises:
            UserError: the picture cannot be read or used.
        """
        image, masks = self.masks(item, truth)
        classes = self._pictures.classes
        if perfect_names:
            return self.labels(self.segmenter, masks, _perfect_names(masks, truth, len(classes)))
        text = self.segmenter.text(classes)
        scores = self.segmenter.combine(masks, self.segmenter.name(image, masks, text), text)
        return self.labels(self.segmenter, masks, scores)

    def masks(self, item: Item, truth: NDArray[np.int32]) -> tuple[NDArray[np.uint8], Masks]:
        """The picture, [H, W, 3] RGB uint8, and its masks.

        Raises:
            UserError: the picture cannot be read or used.
        """
        image = self._pictures.picture(item)
        try:
            return image, true_masks(truth) if self._perfect_masks else self.segmenter.propose(image)
        except SampleError as error:
            raise UserError(f"{item.picture}: cannot be segmented: {error.message}") from error

    def labels(self, segmenter: Segmenter, masks: Masks, scores: Tensor) -> NDArray[np.int32]:
        """Label map of scores [N, columns], assembled by the rules of a segmenter; everything else is nothing."""
        labels = segmenter.assemble(masks, scores, masks.height, masks.width)
        labels[labels == len(self._pictures.classes)] = NOTHING
        return labels


def nothing_to_score(pictures: SegmentationSet, images: int, notes: list[str]) -> UserError:
    """The error where every pixel of so many pictures is ignored; `notes` may say why."""
    of = f"of the {images:,} pictures of {pictures.name}"
    told = f"no pixel {of} has a label among the {len(pictures.classes):,} classes; expected ground truth to score by"
    return UserError(". ".join([told, *notes]))


def true_masks(truth: NDArray[np.int32]) -> Masks:
    """One mask for each class of a ground truth [H, W]."""
    return Masks.of([Rle.encode(mask) for _, mask in regions_of(truth)], *truth.shape)


def _perfect_names(masks: Masks, truth: NDArray[np.int32], classes: int) -> Tensor:
    """float32 [N, classes]: 1 for the right class; masks on ignored pixels alone speak for none."""
    right = best_labels((rle.decode() for rle in masks.rles), truth)
    scores = torch.zeros(len(masks), classes)
    named = np.flatnonzero(right != IGNORED)
    scores[named, right[named]] = 1.0
    return scores


def prediction_of(maps: LabelMaps, item: Item) -> str:
    """Where somebody's label map of a picture lies: KEY.png, or KEY.labels.png, as `maskmine segment` writes it."""
    tree = Folder(maps.folder)
    names = (f"{item.key}.png", f"{item.key}.labels.png", f"{item.key}.PNG")
    return tree.location(next((name for name in names if tree.is_file(name)), names[0]))


def read_prediction(maps: LabelMaps, item: Item, truth: NDArray[np.int32], classes: int) -> NDArray[np.int32]:
    """Somebody's label map of a picture, int32 [H, W]; -1 for values that are no class.

    Raises:
        UserError: it is missing, no label map, or of another size than the ground truth [H, W].
    """
    file = prediction_of(maps, item)
    labels = decode_labels(read_data(file), file).astype(np.int64) - maps.first
    if labels.shape != truth.shape:
        raise UserError(
            f"{file}: is {labels.shape[1]}x{labels.shape[0]}, its ground truth {truth.shape[1]}x{truth.shape[0]}; "
            "expected one label for each pixel"
        )
    labels[(labels < 0) | (labels >= classes)] = NOTHING
    return labels.astype(np.int32)
