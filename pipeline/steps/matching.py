"""Stage `matching`: which of an image's masks belongs to which of its nouns."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.unit import BuildSpec, CachedStep, Computer, ImageWork, Task, UnitWork
from stages.cascade import first_for_nouns
from stages.common import Rle, identity
from stages.matching import RULED_OUT, are_ruled_out, match

Scores = list[NDArray[np.float32]]
"""[R, N] cosines in [-1, 1] of each image; rows of `RULED_OUT` where a cascade did not look."""


class MatchPairs(CachedStep[list[ImageWork], Scores]):
    """Scores every (region, noun) of an image with CLIP and matches them.

    Crops are batched over the unit, so that all images of a unit are the key of its scores.
    """

    stage = "matching"
    kind = "scores"
    statistics = ("regions_encoded", "regions_from_cache")

    def __init__(self, spec: BuildSpec) -> None:
        self._section = spec.manifest.matching
        self._models = spec.models["matching"]
        self._computer = Computer.of(spec)
        self.computes_on = str(self._computer)
        self._encoder: Any = None
        self._coarse: Any = None

    @property
    def identity(self) -> list[Any]:
        section = self._section
        asked = [identity(section.clip), identity(section.regions), list(section.templates), identity(section.naming)]
        return [*asked, self._models, self._computer.identity]

    def tasks(self, unit: UnitWork) -> Iterator[Task[list[ImageWork]]]:
        images = [image for image in unit.usable() if image.nouns and image.proposals]
        if images:
            yield Task(images, sum(len(image.proposals) for image in images))

    def key(self, content: list[ImageWork]) -> list[Any]:
        return [
            [
                image.sha256,
                [noun.surface for noun, _ in image.nouns],
                [[rle.height, rle.width, rle.counts] for rle in (proposal.rle for proposal in image.proposals)],
            ]
            for image in content
        ]

    def compute(self, content: list[ImageWork], prepared: None = None) -> Scores:
        if self._encoder is None:
            self._load()
        everything = [np.arange(len(image.proposals)) for image in content]
        naming = self._section.naming
        if naming.kind == "exact":
            return self._scores(self._encoder, content, everything)
        coarse = self._scores(self._coarse, content, everything)
        chosen = [first_for_nouns(scores, naming.keep) for scores in coarse]
        found = []
        for scores, some, exact in zip(coarse, chosen, self._scores(self._encoder, content, chosen), strict=True):
            kept = np.full_like(scores, RULED_OUT)
            kept[some] = exact
            found.append(kept)
        return found

    def _scores(self, encoder: Any, content: list[ImageWork], chosen: list[NDArray[np.int64]]) -> Scores:  # noqa: ANN401
        """Scores of some proposals of each image, [n, N] of it."""
        import torch

        features = encoder.encode_regions(_regions(content, chosen))
        scores, start = [], 0
        for image, some in zip(content, chosen, strict=True):
            regions = features[start : start + len(some)]
            start += len(some)
            # One noun at a time: the floats of a pair then do not depend on the image's other nouns.
            columns = [regions @ self._encoder.encode_noun(noun.surface) for noun, _ in image.nouns]
            scores.append(torch.stack(columns, dim=1).numpy().astype(np.float32))
        return scores

    def encode(self, result: Scores) -> bytes:
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {str(number): array for number, array in enumerate(result)}
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    def decode(self, entry: bytes) -> Scores:
        with np.load(io.BytesIO(entry), allow_pickle=False) as saved:
            return [saved[str(number)] for number in range(len(saved.files))]

    def apply(self, content: list[ImageWork], result: Scores) -> None:
        for image, scores in zip(content, result, strict=True):
            image.scores = scores

    def finish(self, unit: UnitWork) -> None:
        """Matches all images, those without a mask as well: their nouns are counted as dropped."""
        for image in unit.usable():
            scores = image.scores if image.scores is not None else np.zeros((0, len(image.nouns)), np.float32)
            canonical = [noun.canonical for noun, _ in image.nouns]
            image.matches, dropped = match(scores, canonical, self._section.rules)
            if ruled_out := int(are_ruled_out(scores).sum()):
                image.dropped["proposal.ruled_out"] += ruled_out
            image.dropped.update({f"match.{reason}": count for reason, count in dropped.items()})

    def _load(self) -> None:
        from stages.clip import RegionEncoder
        from stages.coarse_clip import coarse_encoder

        section, computer = self._section, self._computer
        how = section.clip, section.regions, section.templates, computer.device, computer.precision
        self._encoder = RegionEncoder.load(*how)
        if section.naming.kind == "cascade":
            self._coarse = coarse_encoder(self._encoder, section.naming.side)


def _regions(images: list[ImageWork], chosen: list[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.uint8], Rle]]:
    for image, some in zip(images, chosen, strict=True):
        pixels = image.pixels()
        for number in some:
            yield pixels, image.proposals[number].rle
