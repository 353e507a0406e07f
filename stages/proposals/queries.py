"""Mask proposals from models that give one mask and one class distribution a query.

MaskFormer, Mask2Former, OneFormer and EoMT share this form: C classes and "no object", and a mask of logits for each
of Q queries. `QueryModel.queries` gives both as the model says them; proposals are a thin step on top of it, for any
`QueryGenerator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoModelForUniversalSegmentation, AutoTokenizer

from stages.common import ImageRecord, Precision, Proposal, SampleError, autocast, one_of, tried
from stages.proposals.local_model import LocalModel, preprocessing_of
from stages.proposals.models import EomtProposals, OneFormerProposals, QueryProposals, QueryRules
from stages.proposals.query_masks import BatchGenerator, QueryGenerator, QueryMasks, Window, WordEmbeddings
from stages.proposals.words import WordHead, class_queries, last_queries, load_words


@dataclass(frozen=True, slots=True)
class _Input:
    """A photo as the model takes it: pixels [windows, 3, h, w], which of them show it [windows, h, w], and where."""

    pixels: Tensor
    mask: Tensor | None
    windows: tuple[Window, ...]

    def padded(self, height: int, width: int) -> _Input:
        rest = (0, width - self.pixels.shape[-1], 0, height - self.pixels.shape[-2])
        windows = tuple(replace(window, input_hw_px=(height, width)) for window in self.windows)
        return _Input(pad(self.pixels, rest), None if self.mask is None else pad(self.mask, rest), windows)


class QueryModel:
    """A MaskFormer, Mask2Former, OneFormer or EoMT with its preprocessing.

    Args:
        model: one of transformers' for universal segmentation, in evaluation mode; its device is where it runs.
        processor: its image processor.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.
        windowed: whether the model looks through windows, as EoMT does.
        task_tokens: OneFormer's task token ids, [1, length] int64, padding 0.
        words: its head for words, on the model's device, if it has one.

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
        words: WordHead | None = None,
    ) -> None:
        self._model, self._processor = model, processor
        self._device, self._precision = str(model.device), precision
        self._windowed, self._task_tokens = windowed, task_tokens
        self.words = words
        names = model.config.id2label
        self.class_names: tuple[str, ...] = tuple(str(names[number]) for number in sorted(names))

    def queries(self, image: NDArray[np.uint8]) -> QueryMasks:
        """Runs the model on one photo, [H, W, 3] RGB uint8; SampleError for a sliver that cannot be resized."""
        return one_of(self.queries_of([image]))

    @torch.inference_mode()
    def queries_of(self, images: Sequence[NDArray[np.uint8]]) -> list[QueryMasks | SampleError]:
        """`queries` of each photo, in one forward pass: smaller inputs are padded at the right and bottom."""
        inputs = [tried(partial(self._input, image)) for image in images]
        usable = [one for one in inputs if not isinstance(one, SampleError)]
        said = iter(self._asked(usable) if usable else [])
        return [one if isinstance(one, SampleError) else next(said) for one in inputs]

    def _input(self, image: NDArray[np.uint8]) -> _Input:
        with preprocessing_of(image):
            inputs = self._processor(images=image, return_tensors="pt", input_data_format="channels_last")
            windows = self._windows(inputs, image)
        return _Input(inputs["pixel_values"], inputs.get("pixel_mask"), windows)

    def _asked(self, inputs: list[_Input]) -> list[QueryMasks]:
        """What the model says of each input."""
        height, width = (max(one.pixels.shape[side] for one in inputs) for side in (-2, -1))
        padded = [one.padded(height, width) for one in inputs]
        counts = [len(one.pixels) for one in padded]
        named = {"pixel_values": torch.cat([one.pixels for one in padded]).to(self._device)}
        shown = [one.mask for one in padded if one.mask is not None]
        if shown:
            named["pixel_mask"] = torch.cat(shown).to(self._device)
        if self._task_tokens is not None:
            named["task_inputs"] = self._task_tokens.to(self._device).expand(sum(counts), -1)
        reading: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self.words is not None:
            reading = class_queries(self._model)
        with autocast(self._device, self._precision), reading as read:
            outputs = self._model(**named)
        masks = torch.split(outputs.masks_queries_logits.float(), counts)
        classes = torch.split(outputs.class_queries_logits.float().softmax(-1), counts)
        words: list[WordEmbeddings | None] = [None] * len(inputs)
        if self.words is not None:
            # [windows, queries, ...] -> [windows * queries, ...]
            read_of = torch.split(last_queries(read).float(), counts)
            words = [self.words.embeddings(one.flatten(0, 1)) for one in read_of]
        return [
            QueryMasks(mask.flatten(0, 1), probs.flatten(0, 1), one.windows, embeddings)
            for mask, probs, one, embeddings in zip(masks, classes, padded, words, strict=True)
        ]

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
        is_eomt, words = isinstance(config, EomtProposals), load_words(local.folder, str(model.device))
        return QueryModel(model, local.image_processor(), precision, is_eomt, words=words)
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


class QueryProposer:
    """One proposal per query: pixels above the mask threshold, scored by the query's objectness.

    Args:
        config: where masks are cut, and how they are scored.
        model: what is asked.
    """

    def __init__(self, config: QueryRules, model: QueryGenerator) -> None:
        self._config, self._model = config, model

    @torch.inference_mode()
    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """All queries' masks, in the model's order; some may be empty. See `Proposer.propose`."""
        return self._cut(self._model.queries(image), image)

    @torch.inference_mode()
    def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Proposal] | SampleError]:
        """See `BatchProposer.propose_batch`; a model that takes one photo at a time is asked for each."""
        model = self._model
        if isinstance(model, BatchGenerator):
            said = model.queries_of(images)
        else:
            said = [tried(partial(model.queries, image)) for image in images]
        return [
            one if isinstance(one, SampleError) else self._cut(one, image)
            for one, image in zip(said, images, strict=True)
        ]

    def _cut(self, queries: QueryMasks, image: NDArray[np.uint8]) -> list[Proposal]:
        scores = queries.objectness.tolist()
        names = self._model.class_names
        labels = [names[best] if names else None for best in queries.class_probs[:, :-1].argmax(1).tolist()]
        masks = queries.binary_masks(range(len(scores)), self._config.mask_threshold, *image.shape[:2])
        proposals = []
        for (rle, logits), score, label in zip(masks, scores, labels, strict=True):
            if self._config.weigh_by_mask_confidence and rle.area_px:
                inside = torch.from_numpy(rle.decode()).to(logits.device)
                score *= float(logits[inside].sigmoid().mean())
            proposals.append(Proposal(rle, score, self._config.kind, label))
        return proposals
