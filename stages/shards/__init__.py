"""Shards of mask-noun pairs: how they are written, what the index says of them, how they are read."""

from __future__ import annotations

from stages.shards.reader import DamagedTarError, Member, TarSample, iterate_samples, read_sample
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
from stages.shards.writer import Sample, ShardRules, build_sample, write_shard

__all__ = [
    "INDEX_FILE",
    "INDEX_SCHEMA",
    "DamagedTarError",
    "Description",
    "IndexBatch",
    "IndexRow",
    "Member",
    "PlacedPair",
    "PlacedPairs",
    "Sample",
    "ShardRules",
    "TarSample",
    "build_sample",
    "canonical_noun",
    "index_rows",
    "iterate_index",
    "iterate_samples",
    "read_description",
    "read_index_rows",
    "read_keys",
    "read_placed_pairs",
    "read_sample",
    "write_shard",
]
