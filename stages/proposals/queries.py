"""Mask proposals from models that give one mask and one class distribution a query.

MaskFormer, Mask2Former, OneFormer and EoMT share this form: C classes and "no object", and a mask of logits for each
of Q queries. `QueryModel.queries` gives both as the model says them; proposals are a thin step on top of it, for any
`QueryGenerator`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForUniversalSegmentation, AutoTokenizer

from stages.common import ImageRecord, Precision, Proposal, autocast
from stages.proposals.models import (
    EomtProposals,
    LocalModel,
    OneFormerProposals,
    QueryProposals,
    QueryRules,
    preprocessing_of,
)
from stages.proposals.query_masks import QueryGenerator, QueryMasks, Window
from stages.proposals.words import WordHead, class_queries, last_queries, load_words


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
        reading: AbstractContextManager[list[Tensor]] = nullcontext([])
        if self.words is not None:
            reading = class_queries(self._model)
        with autocast(self._device, self._precision), reading as read:
            outputs = self._model(**named)
        # [windows, queries, ...] -> [windows * queries, ...]
        mask_logits = outputs.masks_queries_logits.float().flatten(0, 1)
        class_probs = outputs.class_queries_logits.float().softmax(-1).flatten(0, 1)
        words = None if self.words is None else self.words.embeddings(last_queries(read).float().flatten(0, 1))
        return QueryMasks(mask_logits, class_probs, windows, words)

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
        queries = self._model.queries(image)
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
