"""Adapts a CLIP to masked regions, from shards of mask-noun pairs alone."""

from __future__ import annotations

from train.adapt.config import AdaptManifest
from train.adapt.trainer import adapt

__all__ = ["AdaptManifest", "adapt"]
