"""A small CLIP from scratch, on captioned shards: what the world's own CLIP was trained with."""
