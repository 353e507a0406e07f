"""The published system as a whole, from a file of weights: scores of a photo for text features (OVSeg, 2210.04150).

It is the segmenter of train.segmenter.segmenter with the rules that the published configuration has; nothing is
computed in a way of its own. docs/segment.md says where the published code breaks, and what the rule is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common import UserError, resolve_device
from stages.proposals.ovseg import OvsegGenerator
from stages.proposals.ovseg_file import OvsegFile
from train.clip.ovseg import clip_of
from train.segmenter.config import SegmenterConfig
from train.segmenter.masks import MaskSource
from train.segmenter.naming import ClassText, Namer
from train.segmenter.segmenter import Segmenter


class OvsegSegmenter:
    """OVSeg, both stages.

    Args:
        segmenter: made of the file's generator and CLIP, with the rules of the file's configuration.
        clip_alone: whether only masks that CLIP saw have a vote: the published meaning of the weight 0.

    Attributes:
        segmenter: for words, and for every step on its own.
    """

    def __init__(self, segmenter: Segmenter, clip_alone: bool = False) -> None:
        self.segmenter, self._clip_alone = segmenter, clip_alone

    @torch.inference_mode()
    def score_maps(self, photo: NDArray[np.uint8], text_features: Tensor | NDArray[np.float32]) -> Tensor:
        """Final scores of each class at each pixel.

        Args:
            photo: uint8 [H, W, 3] RGB, upright.
            text_features: float [C, D], unit vectors, one a class.

        Returns:
            float32 [C, H, W], on the CPU; the label is the argmax. All are 0 where no mask has a vote.

        Raises:
            UserError: the photo or the text features have another form.
            SampleError: the photo is a sliver of which nothing is left when it is resized.
        """
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
            raise UserError(f"photo: got {photo.dtype} {list(photo.shape)}; expected uint8 [H, W, 3], RGB")
        text, segmenter = self.text(text_features), self.segmenter
        masks = segmenter.propose(photo)
        if segmenter.config.clip_weight > 0:
            p_clip = segmenter.name(photo, masks, text)
        else:
            p_clip = torch.ones(len(masks), text.columns)
        scores = segmenter.combine(masks, p_clip, text)
        if self._clip_alone:
            scores[torch.tensor([rle.area_px == 0 for rle in masks.shown])] = 0.0
        return segmenter.score_maps(masks, scores, *photo.shape[:2])

    def text(self, text_features: Tensor | NDArray[np.float32]) -> ClassText:
        """Text features [C, D] as the segmenter takes them.

        Raises:
            UserError: they have another form.
        """
        features = torch.as_tensor(text_features, dtype=torch.float32, device=self.segmenter.namer.encoder.device)
        if features.ndim != 2 or not len(features):
            raise UserError(f"text_features: got shape {list(features.shape)}; expected [C, D], a vector a class")
        return ClassText.of(features)


def load_ovseg(
    state: Mapping[str, Any] | str | Path, config: Mapping[str, Any] | None = None, device: str = "cpu"
) -> OvsegSegmenter:
    """OVSeg from its weights, in float32.

    Args:
        state: tensors or arrays by their published names; or detectron2's file, or the folder that `maskmine export`
            converts it to.
        config: the published settings by section; what is not in it, and None, is that of the released file of the
            same backbone (Swin-B + ViT-L/14, R101c + ViT-B/16), or of the folder.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: the file cannot be read; tensors are missing, unknown or of another shape; a setting is wrong, or
            cannot be followed.
    """
    file = OvsegFile.of(state, config) if isinstance(state, Mapping) else OvsegFile.read(Path(state), config)
    rules, device = _rules(file), resolve_device(device)
    adapter = file.settings.clip_adapter
    clip_alone = adapter.CLIP_ENSEMBLE and adapter.CLIP_ENSEMBLE_WEIGHT == 0
    masks = MaskSource(rules, OvsegGenerator.of(file, device))
    return OvsegSegmenter(Segmenter(rules, masks, Namer.of(rules, clip_of(file, device), device)), clip_alone)


def _rules(file: OvsegFile) -> SegmenterConfig:
    """The rules of a segmenter that are those of a file's settings."""
    adapter = file.settings.clip_adapter
    weight = adapter.CLIP_ENSEMBLE_WEIGHT or 1.0  # 0 means CLIP alone, which is 1 here
    return SegmenterConfig.model_validate(
        {
            "proposer": {"kind": "ovseg", "model": file.source},
            "rules": {"expand_ratio": adapter.MASK_EXPAND_RATIO, "resize": "torch"},
            "clip_weight": weight if adapter.CLIP_ENSEMBLE else 0.0,
            "use_prompts": adapter.MASK_PROMPT_FWD,
            "mask_threshold": adapter.MASK_THR,
            "limit": file.queries,
            "precision": "fp32",
            **({"templates": file.settings.templates} if file.settings.templates else {}),
        }
    )
