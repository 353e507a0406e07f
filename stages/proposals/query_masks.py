"""What a generator with one mask a query says about a photo: soft masks, and what it takes them for.

A generator has classes of its own, or an opinion on any word (`WordEmbeddings`): each query is a vector in CLIP's text
space, held against the text features of whatever words are asked for, and against a trained vector that stands for 'no
object' (OVSeg, arXiv 2210.04150, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from stages.common import Rle, SampleError, UserError

PUBLISHED_SCALE = 100.0
"""Cosines are multiplied by it, whatever temperature a CLIP's file has."""
# A logit whose probability is 0 at any threshold; finite, because resizing mixes it with its neighbours.
_OUTSIDE_LOGIT = -20.0


@dataclass(frozen=True, slots=True)
class Window:
    """Where one input of the model lies in the resized photo; all in the model's input pixels.

    Attributes:
        input_hw_px: size of the input, with its padding (right and bottom).
        valid_hw_px: size of the part of the input that shows the photo: its upper left corner.
        frame_hw_px: size of the whole resized photo.
        top_px, left_px: the valid part's corner in the frame.
    """

    input_hw_px: tuple[int, int]
    valid_hw_px: tuple[int, int]
    frame_hw_px: tuple[int, int]
    top_px: int = 0
    left_px: int = 0

    def on_photo(self, logits: Tensor, height_px: int, width_px: int) -> Tensor:
        """Brings masks from the model's resolution [n, h, w] to the photo's [n, height_px, width_px], bilinear.

        Padding is cut off at the input's size, before the frame is resized to the photo: cutting at the coarser size
        of the logits would move the border by a fraction of a patch.
        """
        valid_h, valid_w = self.valid_hw_px
        valid = interpolate(logits[None], self.input_hw_px, mode="bilinear", align_corners=False)
        frame = valid[..., :valid_h, :valid_w]
        if self.valid_hw_px != self.frame_hw_px:
            frame = frame.new_full((1, len(logits), *self.frame_hw_px), _OUTSIDE_LOGIT)
            rows = slice(self.top_px, self.top_px + valid_h)
            frame[..., rows, self.left_px : self.left_px + valid_w] = valid[..., :valid_h, :valid_w]
        return interpolate(frame, (height_px, width_px), mode="bilinear", align_corners=False)[0]

    def rows_on_photo(self, logits: Tensor, first: int, last: int, height_px: int, width_px: int) -> Tensor:
        """Rows `first` to `last` (exclusive) of `on_photo`, [n, last - first, width_px], without the other rows."""
        (valid_h, valid_w), (frame_h, frame_w) = self.valid_hw_px, self.frame_hw_px
        upper, lower, share = _between(torch.arange(first, last), frame_h, height_px)
        needed = torch.arange(int(upper[0]), int(lower[-1]) + 1)
        frame = logits.new_full((len(logits), len(needed), frame_w), _OUTSIDE_LOGIT)
        shown = (needed >= self.top_px) & (needed < self.top_px + valid_h)
        if shown.any():
            valid = _rows(logits, *_between(needed[shown] - self.top_px, logits.shape[1], self.input_hw_px[0]))
            frame[:, shown, self.left_px : self.left_px + valid_w] = _widen(valid, self.input_hw_px[1])[..., :valid_w]
        return _widen(_rows(frame, upper - needed[0], lower - needed[0], share), width_px)


def _between(rows: Tensor, from_px: int, to_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two rows of `from_px` that rows of `to_px` lie between, and the lower one's share, as `interpolate` does."""
    place = ((rows + 0.5) * (from_px / to_px) - 0.5).clamp(min=0)
    upper = place.long().clamp(max=from_px - 1)
    return upper, (upper + 1).clamp(max=from_px - 1), place - upper


def _rows(logits: Tensor, upper: Tensor, lower: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(logits[:, upper], logits[:, lower], share.to(logits)[:, None])


def _widen(logits: Tensor, width_px: int) -> Tensor:
    return interpolate(logits[None], (logits.shape[1], width_px), mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True, slots=True)
class WordEmbeddings:
    """Q queries in the text space of the CLIP that the generator was trained against.

    Attributes:
        queries: float32 [Q, D], of any length; normalised at use.
        no_object: float32 [D], the vector of 'no object'; normalised at use.
        scale: cosines are multiplied by it before the softmax.
    """

    queries: Tensor
    no_object: Tensor
    scale: float = PUBLISHED_SCALE

    def take(self, chosen: Sequence[int]) -> Self:
        """Those of some queries, on the CPU."""
        return replace(self, queries=self.queries.cpu()[list(chosen)], no_object=self.no_object.cpu())

    def logits(self, text_features: Tensor) -> Tensor:
        """Logits float32 [Q, F + 1]; the last column is 'no object'.

        Args:
            text_features: float [F, D], unit vectors of the same CLIP.

        Raises:
            UserError: the text features have another length, so that they are another CLIP's.
        """
        if text_features.shape[-1] != self.no_object.shape[-1]:
            raise UserError(
                f"proposer: the generator knows words as vectors of {self.no_object.shape[-1]} numbers, and the CLIP's "
                f"have {text_features.shape[-1]}; expected the CLIP that the generator was trained with"
            )
        rows = torch.cat([text_features.to(self.queries), self.no_object[None]])
        return self.scale * normalize(self.queries, dim=-1) @ normalize(rows, dim=-1).T

    def probs(self, text_features: Tensor) -> Tensor:
        """p(word) float32 [Q, F + 1]: rows sum to 1; the last column is 'no object'. See `logits`."""
        return self.logits(text_features).softmax(dim=-1)


@dataclass(frozen=True, slots=True)
class QueryMasks:
    """What a model says about one photo; a model that looks through windows has Q = windows * queries.

    Attributes:
        mask_logits: [Q, h, w] float32, at the model's own resolution, on the model's device.
        class_probs: [Q, C + 1] float32, rows sum to 1; the last column is "no object". A model without classes of its
            own has C = 1: how sure it is that there is an object.
        windows: where the inputs lie; each has Q / len(windows) queries, in order.
        words: the queries in CLIP's text space, [Q, D], of a model that has an opinion on any word.
        frame: the resized photo, uint8 [h, w, 3] RGB, of a model whose soft masks are probabilities at that size, and
            are cut, shown to CLIP and summed there, as published (OVSeg); None where all that happens at the photo's.
    """

    mask_logits: Tensor
    class_probs: Tensor
    windows: tuple[Window, ...]
    words: WordEmbeddings | None = None
    frame: NDArray[np.uint8] | None = None

    @property
    def objectness(self) -> Tensor:
        """[Q] float32 in [0, 1]: 1 - p(no object)."""
        return (1.0 - self.class_probs[:, -1]).clamp(0.0, 1.0)

    def logits_on_photo(self, query: int, height_px: int, width_px: int) -> Tensor:
        """Mask logits [height_px, width_px] of one query; one at a time, so that memory stays bounded."""
        window = self.windows[query * len(self.windows) // len(self.mask_logits)]
        return window.on_photo(self.mask_logits[query : query + 1], height_px, width_px)[0]

    def binary_masks(
        self, chosen: Sequence[int], threshold: float, height_px: int, width_px: int
    ) -> Iterator[tuple[Rle, Tensor]]:
        """Masks of some queries on the photo, some maybe empty, one at a time.

        Args:
            chosen: numbers of the queries.
            threshold: a pixel belongs to the mask where its probability is above this, in (0, 1).
            height_px: of the photo.
            width_px: of the photo.

        Yields:
            The mask, and the logits that it is cut from, float32 [height_px, width_px], or none of an empty mask.
        """
        least_logit = math.log(threshold / (1.0 - threshold))
        peaks = self.mask_logits[list(chosen)].amax((1, 2)).tolist()
        empty = Rle.encode(np.zeros((height_px, width_px), dtype=bool))
        for query, peak in zip(chosen, peaks, strict=True):
            if peak <= least_logit:  # resizing never raises the highest logit
                yield empty, self.mask_logits.new_empty(0, 0)
                continue
            logits = self.logits_on_photo(query, height_px, width_px)
            yield Rle.encode((logits > least_logit).cpu().numpy()), logits

    def rows_on_photo(self, chosen: Sequence[int], first: int, last: int, height_px: int, width_px: int) -> Tensor:
        """Rows `first` to `last` (exclusive) of some queries' logits on the photo, [len(chosen), rows, width_px]."""
        numbers = torch.tensor(chosen)
        of_window = numbers * len(self.windows) // len(self.mask_logits)
        found = self.mask_logits.new_empty((len(numbers), last - first, width_px))
        for number, window in enumerate(self.windows):
            mine = of_window == number
            logits = self.mask_logits[numbers[mine]]
            found[mine] = window.rows_on_photo(logits, first, last, height_px, width_px)
        return found

    def soft_rows_on_photo(self, chosen: Sequence[int], first: int, last: int, height_px: int, width_px: int) -> Tensor:
        """Rows `first` to `last` (exclusive) of some queries' soft masks, [len(chosen), rows, width_px] in [0, 1].

        With a frame the sigmoid is taken at the frame's size, and its result resized, bilinear; else at the photo's.
        """
        if self.frame is None:
            return self.rows_on_photo(chosen, first, last, height_px, width_px).sigmoid_()
        frame_h, frame_w = self.frame.shape[:2]
        upper, lower, share = _between(torch.arange(first, last), frame_h, height_px)
        top = int(upper[0])
        soft = self.rows_on_photo(chosen, top, int(lower[-1]) + 1, frame_h, frame_w).sigmoid_()
        return _widen(_rows(soft, upper - top, lower - top, share), width_px)


@runtime_checkable
class QueryGenerator(Protocol):
    """A model that gives soft masks of a photo.

    Attributes:
        class_names: of its C classes, in the order of their numbers; none for one that knows no classes.
    """

    class_names: tuple[str, ...]

    def queries(self, image: NDArray[np.uint8]) -> QueryMasks:
        """Runs the model on one photo, [H, W, 3] RGB uint8; SampleError for one that it cannot use."""
        ...


@runtime_checkable
class BatchGenerator(QueryGenerator, Protocol):
    """One that takes several photos in one forward pass."""

    def queries_of(self, images: Sequence[NDArray[np.uint8]]) -> list[QueryMasks | SampleError]:
        """`queries` of each photo; the error, in place of masks, of one that cannot be used."""
        ...
