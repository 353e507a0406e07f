"""Open-vocabulary segmentation: a photo and words in, a label map and named regions out."""

from train.class_names import ClassName, parse_classes
from train.segmenter.config import SegmenterConfig
from train.segmenter.result import NamedRegion, Segmentation
from train.segmenter.segmenter import Segmenter

__all__ = ["ClassName", "NamedRegion", "Segmentation", "Segmenter", "SegmenterConfig", "parse_classes"]
