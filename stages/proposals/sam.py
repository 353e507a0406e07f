"""Mask proposals from SAM and its relatives, asked with a grid of points.

The steps are those of transformers' mask-generation pipeline, and use the same public parts of its image processors.
Two things differ. Points are laid over each crop as the model sees it: the pipeline scales both axes by the longer
side, which misses a part of every photo that is not square where a model squashes its input (SAM2 and later). And
masks with a low predicted IoU go before they are enlarged, the rest in chunks, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import nms
from transformers import AutoModelForMaskGeneration

from stages.common import ImageRecord, Precision, Proposal, Rle, SampleError, autocast, one_of, tried
from stages.proposals.local_model import LocalModel, preprocessing_of
from stages.proposals.models import SamProposals

# Float32 mask pixels that are enlarged at once: 128 MB, plus what the processor needs beside them.
_CHUNK_PX = 1 << 25


@dataclass(frozen=True, slots=True)
class _Crop:
    """A part of a photo, its box there, and what the image processor made of it."""

    box: Tensor
    inputs: Mapping[str, Any]


class SamProposer:
    """Masks around a grid of points, scored by the model's predicted IoU, after box NMS; highest score first.

    Args:
        config: how to ask the model.
        model: one of transformers' for mask generation, in evaluation mode; its device is where it runs.
        processor: its image processor.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.
    """

    def __init__(self, config: SamProposals, model: Any, processor: Any, precision: Precision = "fp32") -> None:  # noqa: ANN401
        self._config, self._model, self._processor = config, model, processor
        self._device, self._precision = str(model.device), precision

    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """See `Proposer.propose`."""
        return one_of(self.propose_batch([image]))

    @torch.inference_mode()
    def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Proposal] | SampleError]:
        """See `BatchProposer.propose_batch`: the image encoder looks at so many crops at once as there are photos."""
        cropped = [tried(partial(self._crops, image)) for image in images]
        crops = [crop for some in cropped if not isinstance(some, SampleError) for crop in some]
        embedded = self._embedded(crops, len(images))
        return [
            some if isinstance(some, SampleError) else self._found(image, some, embedded)
            for some, image in zip(cropped, images, strict=True)
        ]

    def _found(
        self, image: NDArray[np.uint8], crops: list[_Crop], embedded: Iterator[dict[str, Any]]
    ) -> list[Proposal]:
        rles: list[Rle] = []
        scores, boxes = [torch.zeros(0)], [torch.zeros(0, 4)]
        for crop, embeddings in zip(crops, embedded, strict=False):
            for crop_rles, crop_scores, crop_boxes in self._masks(crop, embeddings, image.shape[:2]):
                rles += [_compressed(rle) for rle in crop_rles]
                scores.append(crop_scores.float().cpu())
                boxes.append(crop_boxes.float().cpu())
        all_scores = torch.cat(scores)
        kept = nms(torch.cat(boxes), all_scores, self._config.crops_nms_thresh).tolist()
        return [
            Proposal(rles[index], min(max(float(all_scores[index]), 0.0), 1.0), self._config.kind) for index in kept
        ]

    def _crops(self, image: NDArray[np.uint8]) -> list[_Crop]:
        """The photo, and its crops if there are any, as the model takes them."""
        config = self._config
        photo = np.ascontiguousarray(image.transpose(2, 0, 1))  # the processors cut crops from [3, H, W]
        with preprocessing_of(image):
            boxes, _, crops, _ = self._processor.generate_crop_boxes(
                photo, _target_side_px(self._processor), config.crops_n_layers, config.crop_overlap_ratio, 1
            )
            ask = {"return_tensors": "pt", "input_data_format": "channels_first"}
            return [_Crop(box, self._processor(images=crop, **ask)) for box, crop in zip(boxes, crops, strict=True)]

    def _embedded(self, crops: list[_Crop], at_once: int) -> Iterator[dict[str, Any]]:
        """What the image encoder makes of each crop, in the order of the crops."""
        for start in range(0, len(crops), at_once):
            some = crops[start : start + at_once]
            with autocast(self._device, self._precision):
                embeddings = self._model.get_image_embeddings(
                    torch.cat([crop.inputs["pixel_values"] for crop in some]).to(self._device)
                )
            for number in range(len(some)):
                if isinstance(embeddings, tuple):  # SAM-HQ
                    first, others = (_only(part, number) for part in embeddings)
                    yield {"image_embeddings": first, "intermediate_embeddings": others}
                else:
                    yield {"image_embeddings": _only(embeddings, number)}

    def _masks(
        self, crop: _Crop, embeddings: dict[str, Any], photo_hw_px: tuple[int, ...]
    ) -> Iterator[tuple[list[dict[str, Any]], Tensor, Tensor]]:
        """Uncompressed RLEs at the photo's size, predicted IoUs [n], boxes [n, 4] xyxy px; a batch of points each."""
        config, inputs = self._config, crop.inputs
        shown_hw_px = inputs.get("reshaped_input_sizes")
        shown_h, shown_w = shown_hw_px[0].tolist() if shown_hw_px is not None else inputs["pixel_values"].shape[-2:]
        points = (_unit_grid(config.points_per_side) * torch.tensor([shown_w, shown_h])).to(self._device)
        for batch in torch.split(points, config.points_per_batch):
            with autocast(self._device, self._precision):
                outputs = self._model(
                    **embeddings,
                    input_points=batch[None, :, None],  # [1, points, 1, 2]
                    input_labels=torch.ones((1, len(batch), 1), dtype=torch.int64, device=self._device),
                )
            # [1, points, 3, ...] -> [points * 3, ...]
            masks, ious = outputs.pred_masks.float()[0].flatten(0, 1), outputs.iou_scores.float().flatten()
            chosen = ious > config.pred_iou_thresh
            yield from self._enlarged(masks[chosen], ious[chosen], crop.box, inputs, photo_hw_px)

    def _enlarged(
        self,
        masks: Tensor,
        ious: Tensor,
        crop_box: Tensor,
        inputs: Mapping[str, Any],
        photo_hw_px: tuple[int, ...],
    ) -> Iterator[tuple[list[dict[str, Any]], Tensor, Tensor]]:
        """Brings logits [n, h, w] to the photo's size, a chunk at a time, and drops unstable and cut-off masks."""
        crop_h, crop_w = inputs["original_sizes"][0].tolist()
        # SAM enlarges to its input's size first, which may be the larger one.
        side_px = _target_side_px(self._processor)
        chunk = max(1, _CHUNK_PX // max(crop_h * crop_w, side_px * side_px))
        sizes = {"original_sizes": [(crop_h, crop_w)]}
        if "reshaped_input_sizes" in inputs:
            sizes["reshaped_input_sizes"] = inputs["reshaped_input_sizes"].tolist()
        for some, scores in zip(torch.split(masks, chunk), torch.split(ious, chunk), strict=True):
            if not len(some):
                return
            # [1, n, 1, h, w]: one image, n points, one mask each
            large = self._processor.post_process_masks(some[None, :, None], binarize=False, **sizes)[0]
            yield self._processor.filter_masks(
                large,
                scores[:, None],
                photo_hw_px,
                crop_box.tolist(),
                self._config.pred_iou_thresh,
                self._config.stability_score_thresh,
            )


def load_sam(config: SamProposals, device: str, precision: Precision = "fp32") -> SamProposer:
    """Loads the model that is configured.

    Args:
        config: which model and how to ask it.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.

    Raises:
        UserError: the model cannot be found or loaded, or is of another kind.
    """
    local = LocalModel.find(config)
    model = local.load(AutoModelForMaskGeneration, device)
    return SamProposer(config, model, local.image_processor(), precision)


def _only(embeddings: Any, number: int) -> Any:  # noqa: ANN401 - a tensor, or tensors of several levels
    """Those of one image of a batch."""
    if isinstance(embeddings, Tensor):
        return embeddings[number : number + 1]
    return [_only(level, number) for level in embeddings]


def _target_side_px(processor: Any) -> int:  # noqa: ANN401
    return int(processor.size.get("longest_edge") or processor.size.get("height"))


def _unit_grid(points_per_side: int) -> Tensor:
    """Centres of a square grid over [0, 1]^2 as x, y: [points_per_side^2, 2] float32, row by row."""
    ticks = (torch.arange(points_per_side, dtype=torch.float32) + 0.5) / points_per_side
    rows, columns = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def _compressed(rle: dict[str, Any]) -> Rle:
    height_px, width_px = rle["size"]
    coded = coco_mask.frPyObjects(rle, height_px, width_px)
    return Rle(height_px, width_px, coded["counts"].decode("ascii"))
