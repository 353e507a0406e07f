"""Shards of mask-noun pairs: how they are written, what the index says of them, how they are read."""

from __future__ import annotations

from stages.shards.captioned import CaptionedPicture, read_captioned_pictures, tell_merged
from stages.shards.reader import MASK, PICTURES, KeyEndsAt, TarSample, find_tars, iterate_samples, read_sample
from stages.shards.schema import (
    INDEX_FILE,
    INDEX_SCHEMA,
    Description,
    IndexBatch,
    IndexRow,
    PlacedPair,
    PlacedPairs,
    canonical_noun,
    index_rows,
    iterate_index,
    read_description,
    read_index_rows,
    read_keys,
    read_placed_pairs,
)
from stages.shards.tar import DamagedTarError, Trouble, shown
from stages.shards.writer import Sample, ShardRules, build_sample, write_shard

__all__ = [
    "INDEX_FILE",
    "INDEX_SCHEMA",
    "MASK",
    "PICTURES",
    "CaptionedPicture",
    "DamagedTarError",
    "Description",
    "IndexBatch",
    "IndexRow",
    "KeyEndsAt",
    "PlacedPair",
    "PlacedPairs",
    "Sample",
    "ShardRules",
    "TarSample",
    "Trouble",
    "build_sample",
    "canonical_noun",
    "find_tars",
    "index_rows",
    "iterate_index",
    "iterate_samples",
    "read_captioned_pictures",
    "read_description",
    "read_index_rows",
    "read_keys",
    "read_placed_pairs",
    "read_sample",
    "shown",
    "tell_merged",
    "write_shard",
]
