"""Open-vocabulary segmentation: a photo and words in, a label map and named regions out."""

from train.class_names import ClassName, parse_classes
from train.segmenter.assembly import NOTHING
from train.segmenter.config import EVERYTHING_ELSE, PHOTO_SEGMENTER, SegmenterConfig, SegmenterManifest
from train.segmenter.masks import Masks
from train.segmenter.photos import check_outputs, find_photos
from train.segmenter.result import Segmentation
from train.segmenter.segmenter import PhotoError, Segmenter, read_photo

__all__ = [
    "EVERYTHING_ELSE",
    "NOTHING",
    "PHOTO_SEGMENTER",
    "ClassName",
    "Masks",
    "PhotoError",
    "Segmentation",
    "Segmenter",
    "SegmenterConfig",
    "SegmenterManifest",
    "check_outputs",
    "find_photos",
    "parse_classes",
    "read_photo",
]
