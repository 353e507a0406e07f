"""Masks of one photo, soft or binary, as the segmenter takes them from any proposer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common import ImageRecord, Rle, resolve_precision
from stages.proposals import (
    GroundTruthProposals,
    OvsegProposals,
    PrecomputedProposals,
    Proposer,
    QueryProposals,
    build_generator,
    build_proposer,
)
from stages.proposals.query_masks import QueryGenerator, QueryMasks, WordEmbeddings
from stages.proposals.words import WordHead
from train.segmenter.config import SegmenterConfig

NO_CLASSES = ("object",)
"""The class of a generator that was trained to tell objects from nothing, and no more."""


@dataclass(frozen=True, slots=True)
class Masks:
    """N masks of a photo of `height` x `width` pixels.

    Attributes:
        rles: binary masks, which cut the regions; soft masks above the threshold, some maybe empty.
        scores: float32 [N] in [0, 1], the proposer's own; 1 - p(no object) of a model with classes.
        label_probs: float32 [N, L], probabilities of the proposer's own L classes, 'no object' left out; None where it
            has none, or `words`.
        queries: what a model with soft masks said; None for binary masks.
        chosen: which of the queries these masks are.
        words: these masks in CLIP's text space, of a generator that has an opinion on any word.
        cut: the masks at the size of the queries' frame, if they have one: CLIP is shown regions of that.
    """

    height: int
    width: int
    rles: tuple[Rle, ...]
    scores: Tensor
    label_probs: Tensor | None = None
    queries: QueryMasks | None = field(default=None, repr=False)
    chosen: tuple[int, ...] = ()
    words: WordEmbeddings | None = None
    cut: tuple[Rle, ...] | None = None

    @classmethod
    def of(cls, rles: Sequence[Rle], height: int, width: int, scores: Sequence[float] | None = None) -> Masks:
        """Binary masks from anywhere, such as ground truth; scores are 1 if not given."""
        given = torch.ones(len(rles)) if scores is None else torch.tensor(scores, dtype=torch.float32)
        return cls(height, width, tuple(rles), given)

    def __len__(self) -> int:
        return len(self.rles)

    def weights(self, clip_weight: float) -> Tensor:
        """What each mask counts beside p_clip, float32 [N]: 1, but for soft masks, as a generator of these says at
        least how sure it is of each; other proposers' scores mean less."""
        return torch.ones(len(self)) if self.queries is None else self.scores.pow(1.0 - clip_weight)

    @property
    def shown(self) -> tuple[Rle, ...]:
        """The masks whose regions CLIP is shown, some maybe empty."""
        return self.rles if self.cut is None else self.cut

    def shown_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What these regions are cut from: the photo [H, W, 3], or the queries' frame."""
        frame = None if self.queries is None else self.queries.frame
        return image if frame is None else frame


class MaskSource:
    """Any proposer, as a source of at most `limit` masks.

    Args:
        config: how many masks, and where soft ones are cut.
        proposer: what gives binary masks, or a model that gives soft ones.

    Attributes:
        labels: names of the proposer's own classes; none for SAM, classical and given masks, and for a generator that
            has an opinion on any word.
        has_opinion: whether the proposer has an opinion on classes, its own or any.
        needs_record: whether the masks come with the photo's record.
        words: a trained generator's head for words, if it has one.
    """

    def __init__(self, config: SegmenterConfig, proposer: Proposer | QueryGenerator) -> None:
        self._config, self._proposer = config, proposer
        self.words: WordHead | None = getattr(proposer, "words", None)
        self.labels: tuple[str, ...] = ()
        if isinstance(proposer, QueryGenerator) and self.words is None and proposer.class_names != NO_CLASSES:
            self.labels = proposer.class_names
        self.has_opinion = isinstance(proposer, QueryGenerator)
        self.needs_record = isinstance(config.proposer, GroundTruthProposals | PrecomputedProposals)

    @classmethod
    def load(cls, config: SegmenterConfig, device: str) -> Self:
        """With the proposer that is configured.

        Raises:
            UserError: its model cannot be found or loaded.
        """
        precision = resolve_precision(config.precision, device)
        if isinstance(config.proposer, QueryProposals | OvsegProposals):
            return cls(config, build_generator(config.proposer, device, precision))
        return cls(config, build_proposer(config.proposer, device, precision))

    def propose(self, image: NDArray[np.uint8], record: ImageRecord | None) -> Masks:
        """Masks of a photo [H, W, 3] RGB uint8, best first by the proposer's score.

        Raises:
            SampleError: this one photo cannot be used.
        """
        height, width = image.shape[:2]
        if isinstance(self._proposer, QueryGenerator):
            return self.soft(self._proposer.queries(image), height, width)
        found = self._proposer.propose(record or ImageRecord("", "", ()), image)
        found = sorted((one for one in found if one.rle.area_px), key=lambda one: -one.score)[: self._config.limit]
        return Masks.of([one.rle for one in found], height, width, [one.score for one in found])

    @torch.inference_mode()
    def soft(self, queries: QueryMasks, height: int, width: int) -> Masks:
        """The masks of a photo of `height` x `width` pixels from what a model said."""
        objectness = queries.objectness
        chosen = objectness.argsort(descending=True, stable=True)[: self._config.limit]
        numbers = tuple(int(number) for number in chosen)
        rles = self._cut(queries, numbers, height, width)
        cut = None if queries.frame is None else self._cut(queries, numbers, *queries.frame.shape[:2])
        words = None if queries.words is None else queries.words.take(numbers)
        probs = queries.class_probs[chosen, :-1].cpu() if words is None and self.labels else None
        return Masks(height, width, rles, objectness[chosen].cpu(), probs, queries, numbers, words, cut)

    def _cut(self, queries: QueryMasks, numbers: tuple[int, ...], height: int, width: int) -> tuple[Rle, ...]:
        return tuple(rle for rle, _ in queries.binary_masks(numbers, self._config.mask_threshold, height, width))
