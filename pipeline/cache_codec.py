"""Results of stages as bytes for the cache: compressed canonical JSON."""

from __future__ import annotations

import gzip
import json
from typing import Any

from stages.common import canonical_json
from stages.records import CaptionNouns, DroppedNoun, Noun, Proposal, Rle


def packed(value: object) -> bytes:
    return gzip.compress(canonical_json(value), compresslevel=1, mtime=0)


def unpacked(blob: bytes) -> Any:  # noqa: ANN401 - any JSON value
    return json.loads(gzip.decompress(blob))


def proposal_to_json(proposal: Proposal) -> list[Any]:
    rle = proposal.rle
    return [[rle.height, rle.width, rle.counts], proposal.score, proposal.source, proposal.label]


def proposal_from_json(value: list[Any]) -> Proposal:
    rle, score, source, label = value
    return Proposal(Rle(*rle), score, source, label)


def caption_to_json(caption: CaptionNouns) -> list[Any]:
    nouns = [[n.surface, n.canonical, n.caption_number, n.start, n.end, n.rule] for n in caption.nouns]
    dropped = [[d.surface, d.caption_number, d.start, d.end, d.reason] for d in caption.dropped]
    return [nouns, dropped]


def caption_from_json(value: list[Any]) -> CaptionNouns:
    nouns, dropped = value
    return CaptionNouns(tuple(Noun(*noun) for noun in nouns), tuple(DroppedNoun(*item) for item in dropped))
