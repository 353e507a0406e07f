"""CLIP as a judge of (region, noun) pairs: any open_clip model by name and tag, from the hub or from a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.clip_files import ClipConfig, clip_files, local_model, pretrained_file, pretrained_tag
from stages.common import Precision, UserError, autocast
from stages.records import Rle
from stages.region_rules import RegionRules
from stages.regions import masked_region, normalise


@dataclass(frozen=True, slots=True)
class ClipInput:
    """What a CLIP's image tower takes: side in pixels, mean and standard deviation of the colours in [0, 1]."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, clip: Any) -> ClipInput:  # noqa: ANN401 - any of open_clip's classes
        """That of an open_clip model."""
        visual = clip.visual
        size = visual.image_size
        return cls(
            int(size[0] if isinstance(size, tuple | list) else size), *map(tuple, (visual.image_mean, visual.image_std))
        )

    @property
    def mean_rgb(self) -> tuple[float, float, float]:
        """The mean colour in [0, 255], to fill with."""
        return self.mean[0] * 255, self.mean[1] * 255, self.mean[2] * 255


class ClipJudge:
    """A CLIP that encodes masked regions and nouns.

    Args:
        config: which model.
        rules: how a region becomes an input.
        templates: prompts with one ``{}`` each; a noun's embedding is the normalised mean over them.
        device: torch device.
        precision: fp32, or fp16 / bf16 for autocast in the image tower.

    Raises:
        UserError: the model or its weights cannot be found or loaded.
    """

    def __init__(
        self, config: ClipConfig, rules: RegionRules, templates: tuple[str, ...], device: str, precision: Precision
    ) -> None:
        self._model, self._tokenize = load_clip(config, device)
        self._batch_size = config.batch_size
        self._rules = rules
        self._templates = templates
        self._device = torch.device(device)
        self._precision: Precision = precision
        self._input = ClipInput.of(self._model)
        self._nouns: dict[str, Tensor] = {}

    @torch.inference_mode()
    def encode_regions(self, regions: Iterable[tuple[NDArray[np.uint8], Rle]]) -> Tensor:
        """Unit vectors float32 [N, D], on the CPU; batches of `batch_size` in the order given.

        Raises:
            UserError: the model gives NaN or infinity, as some do in half precision.
        """
        features = [self._encode(batch) for batch in self._batches(regions)]
        return torch.cat(features) if features else torch.empty(0, 0)

    @torch.inference_mode()
    def encode_noun(self, noun: str) -> Tensor:
        """Unit vector float32 [D], on the CPU.

        One noun a call: its floats then do not depend on which other nouns are asked for, nor when, so that the
        cache of this process cannot change a build's bytes.
        """
        if noun not in self._nouns:
            tokens = self._tokenize([template.format(noun) for template in self._templates]).to(self._device)
            each = torch.nn.functional.normalize(self._model.encode_text(tokens).float(), dim=-1)
            self._nouns[noun] = torch.nn.functional.normalize(each.mean(dim=0), dim=-1).cpu()
        return self._nouns[noun]

    def _batches(self, regions: Iterable[tuple[NDArray[np.uint8], Rle]]) -> Iterator[Tensor]:
        size_px, mean_rgb = self._input.size_px, self._input.mean_rgb
        batch: list[Tensor] = []
        for image, rle in regions:
            batch.append(masked_region(image, rle.decode(), size_px, mean_rgb, self._rules)[0])
            if len(batch) == self._batch_size:
                yield torch.stack(batch)
                batch = []
        if batch:
            yield torch.stack(batch)

    def _encode(self, pixels: Tensor) -> Tensor:
        with autocast(self._device.type, self._precision):
            features = self._model.encode_image(normalise(pixels.to(self._device), self._input.mean, self._input.std))
        remedy = "Set compute.precision to bf16 or fp32, or check the weights."
        return unit_vectors(features, "clip", self._precision, remedy).cpu()


def unit_vectors(features: Tensor, key: str, precision: str, remedy: str) -> Tensor:
    """What an image tower gave as unit vectors, float32 [N, D].

    Args:
        features: [N, D], of any precision.
        key: of the CLIP in the manifest, for the message.
        precision: that the tower ran in, for the message.
        remedy: what to do, a sentence.

    Raises:
        UserError: there is NaN or infinity in it, which would pass for a poor likeness with every word.
    """
    if not torch.isfinite(features).all():
        raise UserError(
            f"{key}: the image tower gives NaN or infinity in {precision}; expected finite numbers. {remedy}"
        )
    return torch.nn.functional.normalize(features.float(), dim=-1)


def load_clip(config: ClipConfig, device: str) -> tuple[Any, Any]:
    """Loads an open_clip model in evaluation mode, and its tokenizer.

    OpenAI's weights were trained with quick-GELU: where the tag says so, it is switched on, whatever the name says.

    Raises:
        UserError: the model or its weights cannot be found or loaded.
    """
    import open_clip

    clip_files(config)
    try:
        model = open_clip.create_model(
            local_model(config),
            pretrained=str(pretrained_file(config) or config.pretrained or "") or None,
            device=device,
            force_quick_gelu=bool(pretrained_tag(config).get("quick_gelu", False)),
            require_pretrained=True,
        )
        tokenizer = open_clip.get_tokenizer(local_model(config))
    except Exception as error:  # damaged files raise errors of many libraries
        raise UserError(
            f"clip: cannot load {config.model!r} (pretrained: {config.pretrained!r}): "
            f"{type(error).__name__}: {error}\n"
            "Check that the weights belong to the model's config."
        ) from error
    return model.eval().requires_grad_(False), tokenizer
