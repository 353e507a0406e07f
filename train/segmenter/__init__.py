"""Open-vocabulary segmentation: a photo and words in, a label map and named regions out."""

from train.segmenter.classes import ClassName, parse_classes
from train.segmenter.config import SegmenterConfig
from train.segmenter.result import Region, Segmentation
from train.segmenter.segmenter import Segmenter

__all__ = ["ClassName", "Region", "Segmentation", "Segmenter", "SegmenterConfig", "parse_classes"]
