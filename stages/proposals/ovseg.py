"""OVSeg's mask generator, from a published file, without its CLIP (OVSeg, arXiv 2210.04150; MaskFormer, 2107.06278).

Every size comes from the tensors' shapes. Input as published: Pillow's bilinear resize of the uint8 photo, normalised,
and only then padded with zeros at the right and bottom; the transformer sees the padding as content.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from stages.common import Precision, SampleError, autocast, local_path, resolve_device
from stages.proposals.ovseg_file import OvsegFile
from stages.proposals.ovseg_network import OvsegNetwork
from stages.proposals.ovseg_settings import InputSettings, OvsegSettings
from stages.proposals.query_masks import QueryMasks, Window, WordEmbeddings


class OvsegGenerator:
    """The mask generator: a `QueryGenerator` with an opinion on any word.

    Args:
        network: in evaluation mode; its parameters say on which device.
        no_object: float32 [D], the vector of 'no object'.
        settings: how a photo becomes an input.
        precision: ``fp32``, or ``fp16`` or ``bf16`` under autocast.

    Attributes:
        class_names: none; see `QueryMasks.words`.
        network, settings: as given.
    """

    class_names: tuple[str, ...] = ()

    def __init__(
        self, network: OvsegNetwork, no_object: Tensor, settings: OvsegSettings, precision: Precision = "fp32"
    ) -> None:
        self.network, self.settings = network, settings
        self._no_object = no_object
        self._precision: Precision = precision

    @classmethod
    def of(cls, file: OvsegFile, device: str = "cpu", precision: Precision = "fp32") -> OvsegGenerator:
        """The generator of a checkpoint.

        Raises:
            UserError: tensors are missing, of another shape, or unknown.
        """
        device = resolve_device(device)
        return cls(OvsegNetwork.of(file).to(device), file.no_object.to(device), file.settings, precision)

    def resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A photo [H, W, 3] RGB as the generator is given it, uint8 [h, w, 3]: its size and its channels' order.

        Crops for CLIP are cut from it, so that they have this order, too (published: RGB).

        Raises:
            SampleError: ``unusable_shape``, of a sliver of which nothing would be left.
        """
        height, width = resized_hw(image.shape[0], image.shape[1], self.settings.input)
        if not height or not width:
            sides = " x ".join(str(side) for side in image.shape[:2])
            raise SampleError("unusable_shape", f"nothing of {sides} px is left when it is resized")
        resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        return resized if self.settings.input.FORMAT == "RGB" else np.ascontiguousarray(resized[..., ::-1])

    @torch.inference_mode()
    def queries(self, image: NDArray[np.uint8]) -> QueryMasks:
        """What the generator says about a photo, [H, W, 3] RGB uint8; SampleError for a sliver, see `resized`.

        `class_probs` has one class: how sure a query is of its mask, the mean probability of the mask's own pixels.
        What it is sure of is a matter of words: see `QueryMasks.words`.
        """
        resized = self.resized(image)
        pixels, (height, width) = self._input(resized), resized.shape[:2]
        with autocast(str(pixels.device), self._precision):
            masks, embeddings = self.network(pixels)
        mask_logits = masks.float()[0]
        confidence = _confidence(mask_logits, self.settings.clip_adapter.MASK_THR)
        padded_h, padded_w = pixels.shape[-2:]
        window = Window((padded_h, padded_w), (height, width), (height, width))
        words = WordEmbeddings(embeddings.float()[0], self._no_object)
        probs = torch.stack([confidence, 1 - confidence], dim=1)
        return QueryMasks(mask_logits, probs, (window,), words, resized)

    def _input(self, resized: NDArray[np.uint8]) -> Tensor:
        """Normalised and padded, float32 [1, 3, padded h, padded w]."""
        settings = self.settings
        pixels = torch.tensor(resized, device=self._no_object.device).permute(2, 0, 1).float()
        mean, std = (pixels.new_tensor(each).view(3, 1, 1) for each in (settings.pixel_mean, settings.pixel_std))
        height, width = resized.shape[:2]
        multiple = settings.multiple_px
        return pad((pixels - mean) / std, (0, -width % multiple, 0, -height % multiple))[None]


def resized_hw(height: int, width: int, rules: InputSettings) -> tuple[int, int]:
    """Sides of a resized photo, in pixels; each step as detectron2 has it, since another order rounds another way."""
    short, longest = float(rules.MIN_SIZE_TEST), float(rules.MAX_SIZE_TEST)
    scale = short / min(height, width)
    sides = (short, scale * width) if height < width else (scale * height, short)
    if max(sides) > longest:
        scale = longest / max(sides)
        sides = (sides[0] * scale, sides[1] * scale)
    return int(sides[0] + 0.5), int(sides[1] + 0.5)


def _confidence(mask_logits: Tensor, threshold: float) -> Tensor:
    """Mean probability of a mask's pixels, [Q] in [0, 1], for logits [Q, h, w]; 0 for an empty mask."""
    soft = mask_logits.sigmoid()
    inside = soft > threshold
    return (soft * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)


def load_ovseg_generator(location: str, device: str, precision: Precision = "fp32") -> OvsegGenerator:
    """The generator of a file or a converted folder, a path or URL.

    Raises:
        UserError: it cannot be read, or is no OVSeg.
    """
    with local_path(location) as path:
        return OvsegGenerator.of(OvsegFile.read(path), device, precision)
