"""Mask classification: how well a CLIP names ground-truth regions."""

from __future__ import annotations

from train.evaluate.classify.printing import print_scores
from train.evaluate.classify.run import ClassifyManifest, GroundTruth, classify

__all__ = ["ClassifyManifest", "GroundTruth", "classify", "print_scores"]
