"""CLIP names regions: text features of classes, crops of masks, probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.clip import ClipInput, encode_names, unit_vectors
from stages.common import autocast, resolve_precision
from stages.regions import masked_region, normalise
from train.clip.source import load_judge
from train.segmenter.classes import ClassName
from train.segmenter.config import SegmenterConfig
from train.segmenter.masks import Masks

_LISTS_KEPT = 16


@dataclass(frozen=True, slots=True)
class ClassText:
    """Classes as CLIP's text features.

    Attributes:
        classes: the C classes asked for.
        features: float32 [F, D], a unit vector for every form of every class, and of 'everything else' at the end.
        class_of_form: int64 [F], number of the form's class; C is 'everything else'.
        columns: C, or C + 1 with 'everything else'.
    """

    classes: tuple[ClassName, ...]
    features: Tensor
    class_of_form: Tensor
    columns: int


@dataclass(frozen=True, slots=True)
class RegionBatch:
    """CLIP's input: numbers of the masks, pixels float32 [n, 3, S, S] in about [0, 255], masks [n, 1, S, S]."""

    numbers: list[int]
    pixels: Tensor
    keep: Tensor


class Namer:
    """A CLIP and the rules by which it names masked regions.

    Raises:
        UserError: the CLIP cannot be found or loaded.
    """

    def __init__(self, config: SegmenterConfig, device: str) -> None:
        self._config = config
        self._precision = resolve_precision(config.precision, device)
        self._model, self._tokenize = load_judge(config.judge, device)
        self._device = torch.device(device)
        self._input = ClipInput.of(self._model.clip)
        self._texts: dict[tuple[ClassName, ...], ClassText] = {}

    def with_config(self, config: SegmenterConfig) -> Self:
        """The same CLIP under another temperature."""
        other = copy(self)
        other._config = config
        return other

    def text(self, classes: tuple[ClassName, ...]) -> ClassText:
        """Text features of a list of classes, and of everything else where the configuration has it; cached."""
        if classes not in self._texts:
            if len(self._texts) == _LISTS_KEPT:
                self._texts.pop(next(iter(self._texts)))
            listed = [one.forms for one in classes]
            if self._config.everything_else is not None:
                listed.append(self._config.everything_else)
            forms = [form for group in listed for form in group]
            numbers = [number for number, group in enumerate(listed) for _ in group]
            self._texts[classes] = ClassText(
                classes, self.encode_forms(forms), torch.tensor(numbers, device=self._device), len(listed)
            )
        return self._texts[classes]

    def encode_forms(self, forms: list[str]) -> Tensor:
        """Unit vectors float32 [len(forms), D]."""
        return encode_names(self._model.clip, self._tokenize, forms, self._config.templates)

    def regions(self, image: NDArray[np.uint8], masks: Masks) -> Iterator[RegionBatch]:
        """Cuts the masks that are not empty out of the photo, a batch at a time."""
        size_px, mean_rgb, rules = self._input.size_px, self._input.mean_rgb, self._config.rules
        numbers = [at for at, rle in enumerate(masks.rles) if rle.area_px >= self._config.min_area_px]
        for start in range(0, len(numbers), self._config.batch_size):
            some = numbers[start : start + self._config.batch_size]
            cut = []
            for number in some:
                mask = masks.rles[number].decode()
                cut.append(masked_region(image, mask, size_px, mean_rgb, rules))
            yield RegionBatch(some, torch.stack([pixels for pixels, _ in cut]), torch.stack([keep for _, keep in cut]))

    @torch.inference_mode()
    def features(self, batch: RegionBatch) -> Tensor:
        """Unit vectors float32 [n, D].

        Raises:
            UserError: the image tower gives NaN or infinity.
        """
        pixels = normalise(batch.pixels.to(self._device), self._input.mean, self._input.std)
        keep = batch.keep.to(self._device) if self._config.use_prompts else None
        with autocast(self._device.type, self._precision):
            features = self._model.encode_image(pixels, keep).float()
        remedy = "Set precision to bf16 or fp32, or check the weights."
        return unit_vectors(features, "judge", self._precision, remedy)

    @torch.inference_mode()
    def probabilities(self, features: Tensor, text: ClassText) -> Tensor:
        """Softmax over the classes, float32 [n, columns]; a class's logit is the highest of its forms.

        The highest over synonyms, as FC-CLIP (arXiv 2308.02487) has it, and not their mean: a region is a couch or a
        sofa, and need not look like both words.
        """
        logits = self._config.temperature * features @ text.features.T  # [n, F]
        best = logits.new_full((len(logits), text.columns), -torch.inf)
        best = best.scatter_reduce(1, text.class_of_form.expand(len(logits), -1), logits, "amax")
        return best.softmax(dim=-1)

    def name(self, image: NDArray[np.uint8], masks: Masks, text: ClassText) -> Tensor:
        """Probabilities float32 [N, columns], on the CPU; a mask that is empty or too small has 1 for every class."""
        return self.name_encoded(self.encode(image, masks), len(masks), text)

    def encode(self, image: NDArray[np.uint8], masks: Masks) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers and `features` of the masks that are not empty, a batch at a time."""
        for batch in self.regions(image, masks):
            yield batch.numbers, self.features(batch)

    def name_encoded(self, encoded: Iterable[tuple[list[int], Tensor]], count: int, text: ClassText) -> Tensor:
        """`name` of `count` masks, from what `encode` gave."""
        named = torch.ones(count, text.columns)
        for numbers, features in encoded:
            named[numbers] = self.probabilities(features, text).cpu()
        return named
