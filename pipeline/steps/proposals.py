"""Stage `proposals`: masks of every image that has nouns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache import packed, unpacked
from pipeline.unit import BuildSpec, CachedStep, Computer, ImageWork, Task, UnitWork
from stages.common import Proposal, Rle, identity
from stages.proposals import CHANGES, propose, refine

Refined = tuple[list[Proposal], dict[str, int]]
"""The proposals that are kept, and how many were dropped or changed, by reason."""


class ProposeMasks(CachedStep[ImageWork, Refined]):
    """Proposes masks for the images that have nouns, one photo at a time, so that they are cached by content."""

    stage = "proposals"
    kind = "proposals"
    statistics = ("images_segmented", "images_from_cache")

    def __init__(self, spec: BuildSpec) -> None:
        self._section = spec.manifest.proposals
        self._models = spec.models["proposals"]
        self._computer = Computer.of(spec)
        self.computes_on = str(self._computer)
        self._proposer: Any = None

    @property
    def identity(self) -> list[Any]:
        return [identity(self._section), self._models, self._computer.identity]

    def tasks(self, unit: UnitWork) -> Iterator[Task[ImageWork]]:
        for image in unit.usable():
            if image.nouns:
                yield Task(image, 1, image)

    def key(self, content: ImageWork) -> list[Any]:
        record = content.record
        masks = [[mask.segmentation, mask.label, mask.score, mask.is_crowd] for mask in record.masks]
        return [content.sha256, content.masks_sha256, masks, record.mask_size_hw_px]

    def prepare(self, content: ImageWork) -> NDArray[np.uint8]:
        return content.pixels()

    def compute(self, content: ImageWork, prepared: NDArray[np.uint8]) -> Refined:
        if self._proposer is None:
            from stages.proposals import build_proposer

            self._proposer = build_proposer(self._section.proposer, self._computer.device, self._computer.precision)
        raw, bad = propose(self._proposer, content.record, prepared)
        kept, dropped = refine(raw, self._section.refine)
        return kept, {**Counter(mask.reason for mask in bad), **dropped}

    def encode(self, result: Refined) -> bytes:
        kept, dropped = result
        return packed([[_to_json(proposal) for proposal in kept], dropped])

    def decode(self, entry: bytes) -> Refined:
        kept, dropped = unpacked(entry)
        return [_from_json(*value) for value in kept], dropped

    def apply(self, content: ImageWork, result: Refined) -> None:
        content.proposals, dropped = result
        left_out = {reason: count for reason, count in dropped.items() if reason not in CHANGES}
        content.dropped.update({f"proposal.{reason}": count for reason, count in left_out.items()})


def _to_json(proposal: Proposal) -> list[Any]:
    rle = proposal.rle
    return [[rle.height, rle.width, rle.counts], proposal.score, proposal.source, proposal.label]


def _from_json(rle: list[Any], score: float, source: str, label: str | None) -> Proposal:
    return Proposal(Rle(*rle), score, source, label)
