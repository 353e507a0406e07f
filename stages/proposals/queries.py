"""Mask proposals from models that give one mask and one class distribution a query.

MaskFormer, Mask2Former, OneFormer and EoMT share this form: C classes and "no object", and a mask of logits for each
of Q queries. `QueryModel.queries` gives both as the model says them; proposals are a thin step on top of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoModelForUniversalSegmentation, AutoTokenizer

from stages.common import ImageRecord, Precision, Proposal, Rle, autocast
from stages.proposals.models import EomtProposals, LocalModel, OneFormerProposals, QueryProposals, preprocessing_of

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
class QueryMasks:
    """What a model says about one photo; a model that looks through windows has Q = windows * queries.

    Attributes:
        mask_logits: [Q, h, w] float32, at the model's own resolution, on the model's device.
        class_probs: [Q, C + 1] float32, rows sum to 1; the last column is "no object".
        windows: where the inputs lie; each has Q / len(windows) queries, in order.
    """

    mask_logits: Tensor
    class_probs: Tensor
    windows: tuple[Window, ...]

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


class QueryModel:
    """A MaskFormer, Mask2Former, OneFormer or EoMT with its preprocessing.

    Args:
        model: one of transformers' for universal segmentation, in evaluation mode; its device is where it runs.
        processor: its image processor.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.
        windowed: whether the model looks through windows, as EoMT does.
        task_tokens: OneFormer's task token ids, [1, length] int64, padding 0.

    Attributes:
        class_names: of the model's C classes, in the order of their numbers.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - any of transformers' classes
        processor: Any,  # noqa: ANN401
        precision: Precision = "fp32",
        windowed: bool = False,
        task_tokens: Tensor | None = None,
    ) -> None:
        self._model, self._processor = model, processor
        self._device, self._precision = str(model.device), precision
        self._windowed, self._task_tokens = windowed, task_tokens
        names = model.config.id2label
        self.class_names: tuple[str, ...] = tuple(str(names[number]) for number in sorted(names))

    @torch.inference_mode()
    def queries(self, image: NDArray[np.uint8]) -> QueryMasks:
        """Runs the model on one photo, [H, W, 3] RGB uint8; SampleError for a sliver that cannot be resized."""
        with preprocessing_of(image):
            inputs = self._processor(images=image, return_tensors="pt", input_data_format="channels_last")
            windows = self._windows(inputs, image)
        named = {"pixel_values": inputs["pixel_values"].to(self._device)}
        if "pixel_mask" in inputs:
            named["pixel_mask"] = inputs["pixel_mask"].to(self._device)
        if self._task_tokens is not None:
            named["task_inputs"] = self._task_tokens.to(self._device)
        with autocast(self._device, self._precision):
            outputs = self._model(**named)
        # [windows, queries, ...] -> [windows * queries, ...]
        mask_logits = outputs.masks_queries_logits.float().flatten(0, 1)
        class_probs = outputs.class_queries_logits.float().softmax(-1).flatten(0, 1)
        return QueryMasks(mask_logits, class_probs, windows)

    def _windows(self, inputs: Any, image: NDArray[np.uint8]) -> tuple[Window, ...]:  # noqa: ANN401
        input_h, input_w = inputs["pixel_values"].shape[-2:]
        if not self._windowed:
            mask = inputs["pixel_mask"][0]
            valid = (int(mask[:, 0].sum()), int(mask[0].sum()))
            return (Window((input_h, input_w), valid, valid),)
        # EoMT's processor does not tell the size that it resized to, before it pads or cuts windows.
        resized = self._processor(
            images=image, return_tensors="pt", input_data_format="channels_last", do_pad=False, do_split_image=False
        )
        frame_h, frame_w = resized["pixel_values"].shape[-2:]
        offsets = inputs["patch_offsets"] or [(0, 0, max(frame_h, frame_w))]
        windows = []
        for _, start, end in ([int(value) for value in offset] for offset in offsets):
            # Windows lie along the longer side; see EomtImageProcessor.
            tall = frame_h > frame_w
            top, left = (start, 0) if tall else (0, start)
            bottom, right = (end, frame_w) if tall else (frame_h, end)
            valid = (min(bottom, frame_h) - top, min(right, frame_w) - left)
            windows.append(Window((input_h, input_w), valid, (frame_h, frame_w), top, left))
        return tuple(windows)


def load_query_model(config: QueryProposals, device: str, precision: Precision = "fp32") -> QueryModel:
    """Loads the model that is configured.

    Args:
        config: which model.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.

    Raises:
        UserError: the model cannot be found or loaded, or is of another kind.
    """
    local = LocalModel.find(config)
    model = local.load(AutoModelForUniversalSegmentation, device)
    if not isinstance(config, OneFormerProposals):
        return QueryModel(model, local.image_processor(), precision, windowed=isinstance(config, EomtProposals))
    # OneFormer's processor would fetch class names, which only its training texts need, from the hub.
    processor = local.image_processor(class_info_file=None)
    return QueryModel(model, processor, precision, task_tokens=_task_tokens(config.task, model, local.folder))


def _task_tokens(task: str, model: Any, folder: Path) -> Tensor:  # noqa: ANN401
    """OneFormer's task token ids, [1, length] int64, padding 0."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    length = model.config.task_seq_len
    tokens = tokenizer(
        f"the task is {task}", padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    ids: Tensor = tokens["input_ids"] * tokens["attention_mask"]
    return ids


class Asked(Protocol):
    """A model that gives one mask a query.

    Attributes:
        class_names: of its own classes, in the order of their numbers; none for one that has none.
    """

    class_names: tuple[str, ...]

    def queries(self, image: NDArray[np.uint8]) -> QueryMasks:
        """What it says about one photo, [H, W, 3] RGB uint8."""
        ...


class QueryProposer:
    """One proposal per query: pixels above the mask threshold, scored by the query's objectness.

    Args:
        config: where masks are cut, and how they are scored.
        model: what is asked.
    """

    def __init__(self, config: QueryProposals, model: Asked) -> None:
        self._config, self._model = config, model

    @torch.inference_mode()
    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """All queries' masks, in the model's order; some may be empty. See `Proposer.propose`."""
        queries = self._model.queries(image)
        scores = queries.objectness.tolist()
        names = self._model.class_names
        labels = queries.class_probs[:, :-1].argmax(1).tolist() if names else [None] * len(scores)
        masks = queries.binary_masks(range(len(scores)), self._config.mask_threshold, *image.shape[:2])
        proposals = []
        for (rle, logits), score, label in zip(masks, scores, labels, strict=True):
            if self._config.weigh_by_mask_confidence and rle.area_px:
                inside = torch.from_numpy(rle.decode()).to(logits.device)
                score *= float(logits[inside].sigmoid().mean())
            proposals.append(Proposal(rle, score, self._config.kind, None if label is None else names[label]))
        return proposals
