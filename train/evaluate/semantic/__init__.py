"""Semantic segmentation: a two-stage segmenter, or somebody's label maps, scored on pictures with labels."""

from __future__ import annotations

from train.evaluate.semantic.config import SemanticManifest
from train.evaluate.semantic.run import evaluate_semantic

__all__ = ["SemanticManifest", "evaluate_semantic"]
