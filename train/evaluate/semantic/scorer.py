"""One picture of a set: segmented, or somebody's label map of it read."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common import Folder, Rle, SampleError, UserError
from stages.proposals import GroundTruthProposals, ModelConfig, PrecomputedProposals
from train.evaluate.benchmark_sets import IGNORED, Item, SegmentationSet, decode_labels, overlap_warning, read_data
from train.evaluate.metrics.oracle import best_labels, regions_of
from train.evaluate.semantic.config import LabelMaps
from train.segmenter import NOTHING, Masks, Segmenter, SegmenterConfig


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
    names = (f"{item.key}.png", f"{item.key}.labels.png")
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
