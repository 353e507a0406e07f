"""Shards of mask-noun pairs: how they are written, what the index says of them, how they are read."""

from __future__ import annotations

from stages.shards.writer import Sample, ShardRules, build_sample, write_shard

__all__ = ["Sample", "ShardRules", "build_sample", "write_shard"]
