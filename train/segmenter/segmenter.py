"""The two-stage open-vocabulary segmenter: masks are proposed, CLIP names them, a label map is put together.

OVSeg (arXiv 2210.04150, section 3); docs/segment.md says which rules are published and which are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common import ImageRecord, SampleError, UserError, escaped, load, resolve_device
from stages.images import decode_image
from train.class_names import ClassName, class_names
from train.segmenter.assembly import NOTHING, assemble, score_maps
from train.segmenter.config import PHOTO_SEGMENTER, SegmenterConfig, SegmenterManifest
from train.segmenter.ensemble import ensemble
from train.segmenter.generator_labels import LabelMatch, generator_probs, match_labels
from train.segmenter.masks import Masks, MaskSource
from train.segmenter.naming import ClassText, Namer
from train.segmenter.result import NamedRegion, Segmentation

Classes = Sequence[str | ClassName]


class PhotoError(UserError):
    """One file cannot be segmented; the next one may."""


def read_photo(path: Path) -> NDArray[np.uint8]:
    """A photo as [H, W, 3] RGB, uint8, upright.

    Raises:
        PhotoError: the file cannot be read as a photo.
    """
    try:
        return decode_image(path.read_bytes())
    except OSError as error:
        raise PhotoError(f"{escaped(str(path))}: cannot be read: {error.strerror or error}") from error
    except SampleError as error:
        raise PhotoError(f"{escaped(str(path))}: cannot be segmented: {error.message}") from error


class Segmenter:
    """Segments photos by words.

    Args:
        config: the rules; `load` takes what it is made of from there.
        masks: where masks come from.
        namer: what names them.
    """

    def __init__(self, config: SegmenterConfig, masks: MaskSource, namer: Namer) -> None:
        self.config, self.masks, self.namer = config, masks, namer
        self._matches: dict[tuple[ClassName, ...], tuple[LabelMatch, ...]] = {}

    @classmethod
    def load(cls, config: SegmenterConfig, device: str | None = None) -> Self:
        """With the models that are configured.

        Args:
            config: what it is made of.
            device: ``cpu``, ``cuda`` or ``cuda:N``; the configuration's if not given.

        Raises:
            UserError: a model cannot be found or loaded, or the generator knows words by another CLIP.
        """
        device = resolve_device(device or config.device)
        masks, namer = MaskSource.load(config, device), Namer.load(config, device)
        if masks.words is not None:
            masks.words.check(namer.encoder.encode_names(masks.words.space.probes))
        return cls(config, masks, namer)

    @classmethod
    def from_manifest(cls, path: str | Path | None = None, settings: Sequence[str] = ()) -> Self:
        """The segmenter that a manifest describes.

        Args:
            path: YAML; None for the models for photos (see docs/segment.md), which are downloaded at their first use.
            settings: ``key=value`` that take the place of the manifest's.

        Raises:
            UserError: the manifest is wrong, or a model cannot be found or loaded.
        """
        return cls.load(load(SegmenterManifest, PHOTO_SEGMENTER if path is None else Path(path), settings))

    def with_settings(self, **settings: float) -> Self:
        """The same models with another clip_weight, temperature or score_threshold: a cheap copy, for tuning."""
        other = copy(self)
        other.config = self.config.model_copy(update=settings)
        other.namer = self.namer.with_config(other.config)
        return other

    def segment_file(self, path: str | Path, classes: Classes, image: NDArray[np.uint8] | None = None) -> Segmentation:
        """Segments a photo of any format that Pillow reads; see `segment`.

        Args:
            path: of the photo.
            classes: as in `segment`.
            image: what `read_photo` gave of it, if it was read before.

        Raises:
            PhotoError: the file cannot be read as a photo, or the proposer cannot use it.
            UserError: as `segment`.
        """
        path = Path(path)
        try:
            return replace(self.segment(read_photo(path) if image is None else image, classes), file=path)
        except SampleError as error:
            raise PhotoError(f"{escaped(str(path))}: cannot be segmented: {error.message}") from error

    def segment(self, image: NDArray[np.uint8], classes: Classes, record: ImageRecord | None = None) -> Segmentation:
        """Segments a photo.

        Args:
            image: [H, W, 3] RGB, uint8, upright.
            classes: names, with ``|`` between synonyms, or `ClassName`; the best form counts.
            record: the photo's masks, for a proposer that gives those (ground truth, precomputed).

        Raises:
            UserError: no class, a class without a name or twice, or a proposer whose masks come with a record without
                one.
            SampleError: the proposer cannot use this one photo.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UserError(f"image: got {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3], RGB")
        named = class_names(classes)
        names = tuple(one.name for one in named)
        if twice := [name for number, name in enumerate(names) if name in names[:number]]:
            raise UserError(f"classes: {twice[0]!r} stands twice; name each class once")
        masks = self.propose(image, record)
        text = self.text(named)
        p_clip = self.name(image, masks, text)
        scores = self.combine(masks, p_clip, text)
        labels = self.assemble(masks, scores, *image.shape[:2])
        labels[labels == len(named)] = NOTHING
        matches = zip(names, self.label_matches(named), strict=True)
        known = {name: match.how for name, match in matches if match.how}
        return Segmentation(image, labels, names, self._regions(masks, p_clip, scores, names), known)

    def text(self, classes: Classes) -> ClassText:
        """Text features of the classes; those of the last lists are kept, so that a list is encoded once.

        Raises:
            UserError: no class, or a class without a name.
        """
        return self.namer.text(class_names(classes))

    def propose(self, image: NDArray[np.uint8], record: ImageRecord | None = None) -> Masks:
        """The masks of a photo [H, W, 3] RGB uint8.

        Raises:
            UserError: the proposer's masks come with a record, and there is none.
            SampleError: the proposer cannot use this one photo.
        """
        if self.masks.needs_record and record is None:
            raise UserError(
                f"proposer: kind {self.config.proposer.kind!r} takes the masks that come with a photo, and this photo "
                "has none; choose a kind that looks at pixels, or give Segmenter.segment a record with masks"
            )
        return self.masks.propose(image, record)

    def name(self, image: NDArray[np.uint8], masks: Masks, text: ClassText) -> Tensor:
        """CLIP's probabilities p_clip, float32 [N, columns], rows sum to 1; 1 for all classes of an empty mask.

        There is a column per class, and a last one where the configuration has 'everything else'.
        """
        return self.namer.name(image, masks, text)

    def combine(self, masks: Masks, p_clip: Tensor, text: ClassText) -> Tensor:
        """p(class) of each mask, float32 [N, columns].

        The ensemble with a generator that knows any word, or has classes of its own; with one that knows none, CLIP's
        opinion as of a class that no generator has; else CLIP's alone.

        Raises:
            UserError: the generator knows words by another CLIP's text features.
        """
        is_empty = torch.tensor([rle.area_px < self.config.min_area_px for rle in masks.shown], dtype=torch.bool)
        if masks.words is not None:
            p_generator = self.namer.generator_opinion(masks, text)
            is_known = torch.ones(text.columns, dtype=torch.bool)
            return ensemble(p_clip, p_generator, masks.scores, is_known, is_empty, self.config.clip_weight)
        if masks.label_probs is None:
            return torch.where(is_empty, 0.0, masks.weights(self.config.clip_weight))[:, None] * p_clip
        matches = self.label_matches(text.classes)
        if text.columns > len(matches):
            matches = (*matches, LabelMatch())  # of everything else the generator says nothing
        p_generator = generator_probs(masks.label_probs, self.masks.labels, matches)
        is_known = torch.tensor([match.how is not None for match in matches])
        return ensemble(p_clip, p_generator, masks.scores, is_known, is_empty, self.config.clip_weight)

    def assemble(self, masks: Masks, scores: Tensor, height: int, width: int) -> NDArray[np.int32]:
        """Label map int32 [height, width] of scores [N, columns]; see train.segmenter.assembly."""
        return assemble(masks, scores, height, width, self.config.score_threshold)

    def score_maps(self, masks: Masks, scores: Tensor, height: int, width: int) -> Tensor:
        """Scores of each class at each pixel, float32 [columns, height, width], of soft masks; see `assemble`."""
        return score_maps(masks, scores, height, width)

    def label_matches(self, classes: Classes) -> tuple[LabelMatch, ...]:
        """What the mask generator knows of each class, and how that was found; nothing for one without classes."""
        named = class_names(classes)
        if not self.masks.labels:
            return (LabelMatch(),) * len(named)
        if named not in self._matches:
            self._matches[named] = match_labels(
                self.masks.labels, named, self.namer.encode_forms, self.config.similarity_threshold
            )
        return self._matches[named]

    def _regions(self, masks: Masks, p_clip: Tensor, scores: Tensor, names: tuple[str, ...]) -> tuple[NamedRegion, ...]:
        """Masks that are not empty and speak for a class, highest score first."""
        regions = []
        for number, rle in enumerate(masks.rles):
            best, area_px = int(scores[number].argmax()), rle.area_px
            if best == len(names) or area_px < self.config.min_area_px:
                continue
            regions.append(
                NamedRegion(
                    names[best],
                    float(scores[number, best]),
                    float(p_clip[number, best]),
                    float(masks.scores[number]),
                    area_px,
                    rle.box_xyxy_px,
                    rle,
                )
            )
        return tuple(sorted(regions, key=lambda region: -region.score))
