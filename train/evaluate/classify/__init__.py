"""Mask classification: how well a CLIP names ground-truth regions."""

from __future__ import annotations

from train.evaluate.classify.run import ClassifyManifest, classify

__all__ = ["ClassifyManifest", "classify"]
