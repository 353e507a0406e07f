"""Semantic segmentation: a two-stage segmenter, or somebody's label maps, scored on pictures with labels."""

from __future__ import annotations

from train.evaluate.semantic.printing import print_semantic, print_tuning
from train.evaluate.semantic.run import evaluate_semantic
from train.evaluate.semantic.scorer import SemanticManifest, TuneManifest
from train.evaluate.semantic.tuning import tune

__all__ = ["SemanticManifest", "TuneManifest", "evaluate_semantic", "print_semantic", "print_tuning", "tune"]
