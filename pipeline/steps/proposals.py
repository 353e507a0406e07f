"""Stage `proposals`: masks of every image that has nouns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.cache import packed, unpacked
from pipeline.unit import UNEXPECTED, BuildSpec, CachedStep, Computer, ImageWork, Task, UnitWork, blame
from stages.common import Proposal, Rle, SampleError, identity
from stages.proposals import CHANGES, BatchProposer, propose, refine

Made = TypeVar("Made")

Refined = tuple[list[Proposal], dict[str, int]]
"""The proposals that are kept, and how many were dropped or changed, by reason."""
Results = list[Refined | SampleError]
"""Of each image of a batch; the error of one that cannot be used."""


class ProposeMasks(CachedStep[list[ImageWork], Results]):
    """Proposes masks for the images that have nouns, a batch at a time; all images of a batch are the key of its masks.

    An error of a batch of one is raised, as that of any image; in a larger batch it is a result, and `finish`
    quarantines its image.
    """

    stage = "proposals"
    kind = "proposals"
    statistics = ("images_segmented", "images_from_cache")

    def __init__(self, spec: BuildSpec) -> None:
        self._section = spec.manifest.proposals
        self._models = spec.models["proposals"]
        self._computer = Computer.of(spec)
        self.computes_on = str(self._computer)
        self._proposer: Any = None
        self._unusable: list[tuple[ImageWork, SampleError]] = []

    @property
    def identity(self) -> list[Any]:
        return [identity(self._section), self._models, self._computer.identity]

    def tasks(self, unit: UnitWork) -> Iterator[Task[list[ImageWork]]]:
        self._unusable.clear()
        images, size = [image for image in unit.usable() if image.nouns], self._section.batch_size
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            yield Task(batch, len(batch), batch[0] if size == 1 else None)

    def key(self, content: list[ImageWork]) -> list[Any]:
        return [_key(image) for image in content]

    def prepare(self, content: list[ImageWork]) -> list[NDArray[np.uint8] | SampleError]:
        if self._section.batch_size == 1:
            return [content[0].pixels()]
        return [_tried(image.pixels) for image in content]

    def compute(self, content: list[ImageWork], prepared: list[NDArray[np.uint8] | SampleError]) -> Results:
        if self._proposer is None:
            from stages.proposals import build_proposer

            self._proposer = build_proposer(self._section.proposer, self._computer.device, self._computer.precision)
        photos = [pixels for pixels in prepared if not isinstance(pixels, SampleError)]
        if len(photos) > 1 and isinstance(self._proposer, BatchProposer):
            try:
                found = iter(self._proposer.propose_batch(photos))
            except Exception as error:
                blame(error)  # of one of them, which is found when each is looked at alone
            else:
                masks = [pixels if isinstance(pixels, SampleError) else next(found) for pixels in prepared]
                return [one if isinstance(one, SampleError) else refine(one, self._section.refine) for one in masks]
        if self._section.batch_size == 1:
            return [self._alone(content[0], prepared[0])]
        return [_tried(partial(self._alone, *one)) for one in zip(content, prepared, strict=True)]

    def _alone(self, image: ImageWork, pixels: NDArray[np.uint8] | SampleError) -> Refined:
        if isinstance(pixels, SampleError):
            raise pixels
        raw, bad = propose(self._proposer, image.record, pixels)
        kept, dropped = refine(raw, self._section.refine)
        return kept, {**Counter(mask.reason for mask in bad), **dropped}

    def encode(self, result: Results) -> bytes | None:
        if any(isinstance(one, SampleError) and one.reason == UNEXPECTED for one in result):
            return None
        return packed([_result_to_json(one) for one in result])

    def decode(self, entry: bytes) -> Results:
        return [_result_from_json(*one) for one in unpacked(entry)]

    def apply(self, content: list[ImageWork], result: Results) -> None:
        for image, one in zip(content, result, strict=True):
            if isinstance(one, SampleError):
                self._unusable.append((image, one))
                continue
            image.proposals, dropped = one
            left_out = {reason: count for reason, count in dropped.items() if reason not in CHANGES}
            image.dropped.update({f"proposal.{reason}": count for reason, count in left_out.items()})

    def finish(self, unit: UnitWork) -> None:
        for image, error in self._unusable:
            unit.quarantine_image(image, self.stage, error.reason, error.message)


def _key(image: ImageWork) -> list[Any]:
    record = image.record
    masks = [[mask.segmentation, mask.label, mask.score, mask.is_crowd] for mask in record.masks]
    return [image.sha256, image.masks_sha256, masks, record.mask_size_hw_px]


def _tried(make: Callable[[], Made]) -> Made | SampleError:
    """What `make` gives for an image, or why the image cannot be used."""
    try:
        return make()
    except Exception as error:
        return blame(error)


def _result_to_json(result: Refined | SampleError) -> list[Any]:
    if isinstance(result, SampleError):
        return [result.reason, result.message]
    kept, dropped = result
    return [[_to_json(proposal) for proposal in kept], dropped]


def _result_from_json(kept: list[Any] | str, dropped: Any) -> Refined | SampleError:  # noqa: ANN401
    if isinstance(kept, str):
        return SampleError(kept, dropped)
    return [_from_json(*value) for value in kept], dropped


def _to_json(proposal: Proposal) -> list[Any]:
    rle = proposal.rle
    return [[rle.height, rle.width, rle.counts], proposal.score, proposal.source, proposal.label]


def _from_json(rle: list[Any], score: float, source: str, label: str | None) -> Proposal:
    return Proposal(Rle(*rle), score, source, label)
