"""Pictures with a class for every pixel: the field's benchmarks, and anybody's own folder."""

from train.evaluate.benchmark_sets.config import BenchmarkSet, LabelFolder, SetConfig
from train.evaluate.benchmark_sets.open_set import Item, SegmentationSet, open_set
from train.evaluate.benchmark_sets.trained_on import overlap_warning, training_sets

__all__ = [
    "BenchmarkSet",
    "Item",
    "LabelFolder",
    "SegmentationSet",
    "SetConfig",
    "open_set",
    "overlap_warning",
    "training_sets",
]
