"""Mask classification: how well a CLIP names ground-truth regions."""

from __future__ import annotations

from train.evaluate.classify.config import ClassifyManifest
from train.evaluate.classify.run import classify

__all__ = ["ClassifyManifest", "classify"]
