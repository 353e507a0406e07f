"""Mask classification: how well a CLIP names ground-truth regions."""

from __future__ import annotations

from train.classify.config import ClassifyManifest
from train.classify.run import classify

__all__ = ["ClassifyManifest", "classify"]
