"""Pictures with a class for every pixel: the field's benchmarks, and anybody's own folder."""

from train.evaluate.benchmark_sets.classes import IGNORED, StrangeIds
from train.evaluate.benchmark_sets.files import decode_labels, read_data, read_picture, version
from train.evaluate.benchmark_sets.layouts import BenchmarkSet, LabelFiles, LabelFolder, SetConfig
from train.evaluate.benchmark_sets.open_set import Item, SegmentationSet, open_label_files, open_set
from train.evaluate.benchmark_sets.trained_on import overlap_warning, training_sets

__all__ = [
    "IGNORED",
    "BenchmarkSet",
    "Item",
    "LabelFiles",
    "LabelFolder",
    "SegmentationSet",
    "SetConfig",
    "StrangeIds",
    "decode_labels",
    "open_label_files",
    "open_set",
    "overlap_warning",
    "read_data",
    "read_picture",
    "training_sets",
    "version",
]
