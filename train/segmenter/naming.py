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

from stages.cascade import first_for_pixels
from stages.clip import RegionEncoder, in_batches
from stages.coarse_clip import coarse_encoder
from stages.common import resolve_precision
from train.class_names import ClassName
from train.clip.source import LoadedClip, OvsegClip, resolve
from train.segmenter.config import SegmenterConfig
from train.segmenter.masks import Masks

_LISTS_KEPT = 16
_USUAL_WEIGHT = 0.7
"""`clip_weight` by which a cascade chooses: its choice is the same for all weights, so that one may be tuned alone."""


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

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """That of C classes without names, from a unit vector of each, float32 [C, D]."""
        names = tuple(ClassName((str(number),)) for number in range(len(features)))
        return cls(names, features, torch.arange(len(features), device=features.device), len(features))


class Namer:
    """A CLIP and the rules by which it names masked regions.

    Args:
        config: temperature, everything else, the smallest mask that is named, naming, and regions per forward pass.
        encoder: the CLIP.

    Raises:
        UserError: a cascade is asked for, and the CLIP's image tower cannot have one.
    """

    def __init__(self, config: SegmenterConfig, encoder: RegionEncoder) -> None:
        self._config, self.encoder = config, encoder
        self._coarse = None if config.naming.kind == "exact" else coarse_encoder(encoder, config.naming.side)
        self._texts: dict[tuple[ClassName, ...], ClassText] = {}

    @classmethod
    def load(cls, config: SegmenterConfig, device: str) -> Self:
        """With the CLIP that is configured, or else the proposer's own.

        Raises:
            UserError: it cannot be found or loaded.
        """
        if config.clip is not None:
            return cls.of(config, resolve(config.clip).load(device), device)
        assert config.proposer.kind == "ovseg"
        return cls.of(config, OvsegClip(config.proposer.model).load(device), device)

    @classmethod
    def of(cls, config: SegmenterConfig, clip: LoadedClip, device: str) -> Self:
        """With a CLIP that is there."""
        model, tokenize = clip
        precision = resolve_precision(config.precision, device)
        rules, templates, size = config.rules, config.templates, config.batch_size
        return cls(config, RegionEncoder(model, tokenize, rules, templates, size, precision, config.use_prompts))

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
                classes, self.encode_forms(forms), torch.tensor(numbers, device=self.encoder.device), len(listed)
            )
        return self._texts[classes]

    def encode_forms(self, forms: list[str]) -> Tensor:
        """Unit vectors float32 [len(forms), D]."""
        return self.encoder.encode_names(forms)

    @torch.inference_mode()
    def probabilities(self, features: Tensor, text: ClassText) -> Tensor:
        """Softmax over the classes, float32 [n, columns]; a class's logit is the highest of its forms.

        The highest over synonyms, as FC-CLIP (arXiv 2308.02487) has it, and not their mean: a region is a couch or a
        sofa, and need not look like both words.
        """
        logits = self._config.temperature * features @ text.features.T  # [n, F]
        return _best_forms(logits, text).softmax(dim=-1)

    def generator_opinion(self, masks: Masks, text: ClassText) -> Tensor:
        """p_segmenter of a generator that knows any word, float32 [N, columns], on the CPU; rows sum to at most 1.

        The softmax is over the classes and 'no object', which is left out (OVSeg, arXiv 2210.04150); synonyms count as
        CLIP counts them.

        Raises:
            UserError: the generator was trained with another CLIP.
        """
        assert masks.words is not None
        logits = masks.words.logits(text.features.cpu())  # [N, F + 1]
        with_nothing = torch.cat([_best_forms(logits[:, :-1], text), logits[:, -1:]], dim=1)
        return with_nothing.softmax(dim=-1)[:, :-1]

    def name(self, image: NDArray[np.uint8], masks: Masks, text: ClassText) -> Tensor:
        """Probabilities float32 [N, columns], on the CPU; a mask that is empty or too small has 1 for every class."""
        return self.name_encoded(self.encode(image, masks), len(masks), text)

    def numbers(self, masks: Masks) -> list[int]:
        """Of the masks that are large enough to be named."""
        return [number for number, rle in enumerate(masks.shown) if rle.area_px >= self._config.min_area_px]

    def encode(self, image: NDArray[np.uint8], masks: Masks) -> Iterator[tuple[list[int], Tensor]]:
        """Numbers of the masks that are not empty and their unit vectors, float32 [n, D], a batch at a time.

        With a cascade a mask may have a coarse vector, or that of another mask that it is like.

        Raises:
            UserError: the image tower gives NaN or infinity.
        """
        naming, numbers = self._config.naming, self.numbers(masks)
        if naming.kind == "exact":
            yield from self._encoded(self.encoder, image, masks, numbers)
            return
        shown = [masks.shown[number] for number in numbers]
        weights = masks.weights(_USUAL_WEIGHT)[numbers].numpy()
        chosen, like = first_for_pixels(shown, weights, naming.keep)
        assert self._coarse is not None
        yield from self._encoded(self._coarse, image, masks, [numbers[one] for one in np.flatnonzero(like < 0)])
        exact = [part for _, part in self._encoded(self.encoder, image, masks, [numbers[one] for one in chosen])]
        if exact:
            named = np.flatnonzero(like >= 0)
            yield [numbers[one] for one in named], torch.cat(exact)[like[named]]

    def _encoded(
        self, encoder: RegionEncoder, image: NDArray[np.uint8], masks: Masks, numbers: list[int]
    ) -> Iterator[tuple[list[int], Tensor]]:
        shown = masks.shown_image(image)
        for some in in_batches(numbers, self._config.batch_size):
            yield some, encoder.encode_batch((shown, masks.shown[number]) for number in some)

    def name_encoded(self, encoded: Iterable[tuple[list[int], Tensor]], count: int, text: ClassText) -> Tensor:
        """`name` of `count` masks, from what `encode` gave."""
        named = torch.ones(count, text.columns)
        for numbers, features in encoded:
            named[numbers] = self.probabilities(features, text).cpu()
        return named


def _best_forms(logits: Tensor, text: ClassText) -> Tensor:
    """A column per class, [n, columns], of logits of all forms [n, F]: the highest of each class's forms."""
    best = logits.new_full((len(logits), text.columns), -torch.inf)
    return best.scatter_reduce(1, text.class_of_form.to(logits.device).expand(len(logits), -1), logits, "amax")
