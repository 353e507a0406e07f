"""A small CLIP from scratch, on captioned shards: what the world's own CLIP was trained with."""

from __future__ import annotations

from train.pretrain.config import PretrainManifest
from train.pretrain.trainer import pretrain

__all__ = ["PretrainManifest", "pretrain"]
