"""A small world of captioned scenes, rendered from OpenMoji art: the data of the demo, of tests and of ablations."""

from __future__ import annotations

from pipeline.world.vocabulary import WorldConfig, load_vocabulary
from pipeline.world.writer import write_captioned_shards, write_world

__all__ = ["WorldConfig", "load_vocabulary", "write_captioned_shards", "write_world"]
