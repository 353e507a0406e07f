"""CLIP's features of masked regions and nouns: any open_clip model by name and tag, from the hub or from a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.clip_attention import take_detours_away
from stages.clip_config import (
    ClipConfig,
    RegionRules,
    clip_files,
    local_model,
    needs_quick_gelu,
    pretrained_file,
    transformers_state,
)
from stages.clip_weights import load_clip_weights, no_factory_warnings, shortly
from stages.common import Precision, Rle, UserError, ahead, autocast
from stages.gathered_regions import gather_regions
from stages.packed_weights import packed
from stages.regions import Rgb, cut_each

Item = TypeVar("Item")
Tokenize = Callable[[list[str]], Tensor]
"""Texts to token ids, int64 [N, context length]."""


@dataclass(frozen=True, slots=True)
class ClipInput:
    """What a CLIP's image tower takes: side in pixels, mean and standard deviation of the colours in [0, 1]."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, clip: Any) -> ClipInput:  # noqa: ANN401 - any of open_clip's classes
        """That of an open_clip model, or of one that wraps it and has its ``visual``."""
        visual = clip.visual
        size = visual.image_size
        side_px = int(size[0] if isinstance(size, tuple | list) else size)
        return cls(side_px, *map(tuple, (visual.image_mean, visual.image_std)))

    @property
    def mean_rgb(self) -> Rgb:
        """The mean colour in [0, 255], to fill with."""
        return self.mean[0] * 255, self.mean[1] * 255, self.mean[2] * 255

    @property
    def std_rgb(self) -> Rgb:
        """The standard deviation of the colours in [0, 255]."""
        return self.std[0] * 255, self.std[1] * 255, self.std[2] * 255


PhotoRegion = tuple[NDArray[np.uint8], Rle]
"""A photo [H, W, 3] RGB, and the mask of a region in it."""


class RegionEncoder:
    """Masked regions and nouns as features of a CLIP; mining, evaluation and the segmenter encode alike.

    Args:
        clip: an open_clip model, or one that wraps it, frozen; its parameters say on which device.
        tokenize: the model's tokenizer.
        rules: how a region becomes an input.
        templates: prompts with one ``{}`` each; a noun's embedding is the normalised mean over them.
        batch_size: regions per forward pass of `encode_regions`.
        precision: fp32, or fp16 / bf16 for autocast in the image tower.
        with_masks: whether the image tower gets the regions' masks, too, as one with mask prompts takes them.

    Attributes:
        clip: the model.
        input: what its image tower takes.
    """

    def __init__(
        self,
        clip: Any,  # noqa: ANN401 - any of open_clip's classes
        tokenize: Tokenize,
        rules: RegionRules,
        templates: Sequence[str],
        batch_size: int = 64,
        precision: Precision = "fp32",
        with_masks: bool = False,
    ) -> None:
        self.clip, self._tokenize = packed(clip) if precision == "fp32" else clip, tokenize
        self._rules, self._templates = rules, templates
        self._batch_size, self._with_masks = batch_size, with_masks
        self._precision: Precision = precision
        self.input = ClipInput.of(clip)
        self._nouns: dict[str, Tensor] = {}

    @classmethod
    def load(
        cls,
        config: ClipConfig,
        rules: RegionRules,
        templates: Sequence[str],
        device: str = "cpu",
        precision: Precision = "fp32",
    ) -> Self:
        """One of a plain CLIP.

        Raises:
            UserError: the model or its weights cannot be found or loaded.
        """
        return cls(*load_clip(config, device), rules, templates, config.batch_size, precision)

    @property
    def device(self) -> torch.device:
        """Where the CLIP is."""
        device: torch.device = next(self.clip.parameters()).device
        return device

    def encode_regions(self, regions: Iterable[PhotoRegion]) -> Tensor:
        """Unit vectors float32 [N, D], on the CPU, in the order given; a thread cuts regions ahead of the CLIP.

        Raises:
            UserError: the model gives NaN or infinity, as some do in half precision.
        """
        cuts = (self.cut(batch) for batch in in_batches(regions, self._batch_size))
        with ahead(cuts) as batches:
            features = [self.features(*batch).cpu() for batch in batches]
        return torch.cat(features) if features else torch.empty(0, 0)

    def encode_batch(self, regions: Iterable[PhotoRegion]) -> Tensor:
        """Unit vectors float32 [n, D] of one forward pass, on the CLIP's device; at least one region.

        Raises:
            UserError: as `encode_regions`.
        """
        return self.features(*self.cut(regions))

    def encode_noun(self, noun: str) -> Tensor:
        """Unit vector float32 [D], on the CPU.

        One noun per call: its floats then do not depend on which other nouns are asked for, nor when, so that the
        cache of this process cannot change a build's bytes.

        Raises:
            UserError: the text tower gives NaN or infinity.
        """
        if noun not in self._nouns:
            self._nouns[noun] = self.encode_names([noun])[0].cpu()
        return self._nouns[noun]

    def encode_names(self, names: Sequence[str]) -> Tensor:
        """Unit vectors float32 [len(names), D], on the CLIP's device; many names share a forward pass.

        Raises:
            UserError: the text tower gives NaN or infinity.
        """
        return encode_names(self.clip, self._tokenize, names, self._templates)

    def cut(self, regions: Iterable[PhotoRegion]) -> tuple[Tensor, Tensor]:
        """Regions as the CLIP's input, float32 [n, 3, size, size], normalised, and their masks: see `cut_regions`.

        Where the CLIP is on a GPU they are cut there, unless the rules ask for torch's own resize.
        """
        how = self.input.size_px, self.input.mean_rgb, self._rules, self.input.std_rgb
        if self.device.type == "cpu" or self._rules.resize == "torch":
            return cut_each(list(regions), *how)
        parts = []
        for _, group in groupby(regions, lambda region: id(region[0])):  # of one photo, that follow each other
            same = list(group)
            photo = torch.from_numpy(same[0][0]).to(self.device)
            parts.append(gather_regions(photo, [rle for _, rle in same], *how))
        pixels, masks = zip(*parts, strict=True)
        return torch.cat(pixels), torch.cat(masks)

    @torch.inference_mode()
    def features(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """Unit vectors float32 [n, D], on the CLIP's device, of what `cut` gave: one forward pass.

        Raises:
            UserError: as `encode_regions`.
        """
        shown = [pixels, masks] if self._with_masks else [pixels]
        with autocast(self.device.type, self._precision):
            features = self.clip.encode_image(*(each.to(self.device) for each in shown))
        return _unit_vectors(features, self._precision)


def _unit_vectors(features: Tensor, precision: Precision) -> Tensor:
    """What an image tower gave, [N, D] of any precision, as unit vectors, float32.

    Raises:
        UserError: there is NaN or infinity in it, which would pass for a poor likeness with every word.
    """
    if not torch.isfinite(features).all():
        other = "" if precision == "fp32" else ", or set its precision to bf16 or fp32"
        raise UserError(
            f"clip: the image tower gives NaN or infinity in {precision}; expected finite numbers. "
            f"Check the weights{other}."
        )
    return torch.nn.functional.normalize(features.float(), dim=-1)


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items in their order; the last one may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


@torch.inference_mode()
def encode_names(
    clip: Any,  # noqa: ANN401 - any open_clip model
    tokenize: Tokenize,
    names: Sequence[str],
    templates: Sequence[str],
    batch_size: int = 256,
) -> Tensor:
    """A unit vector per name: the normalised mean over the templates' normalised features (as published).

    Args:
        clip: gives text features by ``encode_text``.
        tokenize: its tokenizer.
        names: what to encode, at least one.
        templates: prompts with one ``{}`` each.
        batch_size: prompts per forward pass.

    Returns:
        float32 [len(names), D], on the CLIP's device.

    Raises:
        UserError: the text tower gives NaN or infinity.
    """
    device = next(clip.parameters()).device
    prompts = [template.format(name) for name in names for template in templates]
    each = []
    for batch in in_batches(prompts, batch_size):
        features = clip.encode_text(tokenize(batch).to(device))
        each.append(torch.nn.functional.normalize(features.float(), dim=-1))
    means = torch.cat(each).view(len(names), len(templates), -1).mean(dim=1)
    if not torch.isfinite(means).all():
        raise UserError("clip: the text tower gives NaN or infinity; expected finite numbers. Check the weights.")
    return torch.nn.functional.normalize(means, dim=-1)


def load_clip(config: ClipConfig, device: str, replaced_by: str | None = None) -> tuple[Any, Any]:
    """Loads an open_clip model in evaluation mode, and its tokenizer.

    OpenAI's weights were trained with quick-GELU: where the tag says so, or transformers' configuration, it is switched
    on, whatever the name says.

    Args:
        config: which.
        device: torch device.
        replaced_by: path or URL of weights that all of the model's are replaced by: none are loaded, or fetched.

    Raises:
        UserError: the model or its weights cannot be found or loaded.
    """
    import open_clip

    if replaced_by is None:
        clip_files(config)
    file = pretrained_file(config)
    state = None if replaced_by is not None else transformers_state(config, file)
    by_open_clip = replaced_by is None and state is None
    try:
        with nullcontext() if by_open_clip else no_factory_warnings():
            model = open_clip.create_model(
                local_model(config),
                pretrained=(str(file or config.pretrained or "") or None) if by_open_clip else None,
                load_weights=by_open_clip,
                device=device,
                force_quick_gelu=needs_quick_gelu(config, replaced_by or (config.pretrained if file else None)),
                require_pretrained=by_open_clip,
            )
        tokenizer = open_clip.get_tokenizer(local_model(config))
    except UserError:
        raise
    except Exception as error:  # damaged files raise errors of many libraries
        raise UserError(
            f"clip: cannot load {config.model!r} (pretrained: {config.pretrained!r}): "
            f"{type(error).__name__}: {shortly(error)}\n"
            "Check that the weights belong to the model's config."
        ) from error
    if state is not None:
        load_clip_weights(model, state, f"clip: {config.pretrained or config.model}")
    take_detours_away(model)
    return model.eval().requires_grad_(False), tokenizer
