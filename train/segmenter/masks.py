"""Masks of one photo, soft or binary, as the segmenter takes them from any proposer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common import resolve_precision
from stages.proposals import build_proposer
from stages.proposals.base import Proposer
from stages.proposals.configs import GroundTruthProposals, PrecomputedProposals, QueryProposals
from stages.proposals.queries import QueryMasks, QueryModel
from stages.records import ImageRecord, Rle
from train.segmenter.config import SegmenterConfig


@dataclass(frozen=True, slots=True)
class Masks:
    """N masks of a photo of `height` x `width` pixels.

    Attributes:
        rles: binary masks, which cut the regions; soft masks above the threshold, some maybe empty.
        scores: float32 [N] in [0, 1], the proposer's own; 1 - p(no object) of a model with classes.
        label_probs: float32 [N, L], probabilities of the proposer's own L classes, 'no object' left out; None where it
            has none.
        queries: what a model with soft masks said; None for binary masks.
        chosen: which of the queries these masks are.
    """

    height: int
    width: int
    rles: tuple[Rle, ...]
    scores: Tensor
    label_probs: Tensor | None = None
    queries: QueryMasks | None = field(default=None, repr=False)
    chosen: tuple[int, ...] = ()

    @classmethod
    def of(cls, rles: Sequence[Rle], height: int, width: int, scores: Sequence[float] | None = None) -> Masks:
        """Binary masks from anywhere, such as ground truth; scores are 1 if not given."""
        given = torch.ones(len(rles)) if scores is None else torch.tensor(scores, dtype=torch.float32)
        return cls(height, width, tuple(rles), given)

    def __len__(self) -> int:
        return len(self.rles)


class MaskSource:
    """Any proposer, as a source of at most `limit` masks.

    Attributes:
        labels: names of the proposer's own classes; none for SAM, classical and given masks.
    """

    def __init__(self, config: SegmenterConfig, device: str) -> None:
        self._limit = config.limit
        self._threshold_logit = math.log(config.mask_threshold / (1.0 - config.mask_threshold))
        self._model: QueryModel | None = None
        precision = resolve_precision(config.precision, device)
        self._proposer: Proposer | None = None
        self.needs_record = isinstance(config.proposer, GroundTruthProposals | PrecomputedProposals)
        if isinstance(config.proposer, QueryProposals):
            self._model = QueryModel(config.proposer, device, precision)
        else:
            self._proposer = build_proposer(config.proposer, device, precision)
        self.labels: tuple[str, ...] = self._model.class_names if self._model is not None else ()

    def propose(self, image: NDArray[np.uint8], record: ImageRecord | None) -> Masks:
        """Masks of a photo [H, W, 3] RGB uint8, best first by the proposer's score.

        Raises:
            SampleError: this one photo cannot be used.
        """
        height, width = image.shape[:2]
        if self._model is not None:
            return self._soft(self._model.queries(image), height, width)
        assert self._proposer is not None
        found = self._proposer.propose(record or ImageRecord("", "", ()), image)
        found = sorted((one for one in found if one.rle.area_px), key=lambda one: -one.score)[: self._limit]
        return Masks.of([one.rle for one in found], height, width, [one.score for one in found])

    @torch.inference_mode()
    def _soft(self, queries: QueryMasks, height: int, width: int) -> Masks:
        objectness = queries.objectness
        chosen = objectness.argsort(descending=True, stable=True)[: self._limit]
        peaks = queries.mask_logits[chosen].amax((1, 2)).tolist()
        empty = Rle.encode(np.zeros((height, width), dtype=bool))
        rles = []
        for query, peak in zip(chosen.tolist(), peaks, strict=True):
            if peak <= self._threshold_logit:  # resizing never raises the highest logit
                rles.append(empty)
                continue
            mask = queries.logits_on_photo(query, height, width) > self._threshold_logit
            rles.append(Rle.encode(mask.cpu().numpy()))
        probs = queries.class_probs[chosen, :-1].cpu()
        return Masks(
            height, width, tuple(rles), objectness[chosen].cpu(), probs, queries, tuple(int(one) for one in chosen)
        )
