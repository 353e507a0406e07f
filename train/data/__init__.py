"""Shards of mask-noun pairs as batches: random access, exact shuffles, any number of ranks and workers."""
