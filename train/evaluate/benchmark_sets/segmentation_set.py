"""Pictures with a class for every pixel, read one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.common import UserError
from train.class_names import ClassName
from train.evaluate.benchmark_sets.files import picture_size, read_data, read_picture
from train.evaluate.benchmark_sets.label_maps import Decoder, shrink, to_classes


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a set.

    Attributes:
        key: its name without folders and ending.
        picture: path or URL of the picture.
        labels: path or URL of its label map.
    """

    key: str
    picture: str
    labels: str


@dataclass(frozen=True)
class SegmentationSet:
    """A set of pictures and label maps. It holds paths and tables alone: any process may have a copy.

    Attributes:
        name: the benchmark's kind, or "folder".
        classes: in the order of their numbers.
        items: in the order of their keys, or of the list that the data set has.
        expected_images: how many pictures the benchmark has; None for a folder of one's own.
        notes: what a person should know who reads figures of this set: that it is a part, or how labels were read.
        decode: reads a label map.
        table: [ids] int32, see label_maps.to_classes.
        short_side_px: larger pictures and maps are resized to this shorter side.
    """

    name: str
    classes: tuple[ClassName, ...]
    items: tuple[Item, ...]
    expected_images: int | None
    notes: tuple[str, ...]
    decode: Decoder
    table: NDArray[np.int32]
    short_side_px: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    def picture(self, item: Item) -> NDArray[np.uint8]:
        """The picture, upright.

        Returns:
            [H, W, 3] RGB, uint8.

        Raises:
            UserError: it cannot be read.
        """
        pixels = read_picture(item.picture)
        return pixels if self.short_side_px is None else shrink(pixels, self.short_side_px, cv2.INTER_LINEAR)

    def truth(self, item: Item) -> NDArray[np.int32]:
        """The class of each pixel of the picture.

        Returns:
            [H, W] int32, 0 to C - 1, or -1 where the pixel is not scored. H and W are the picture's.

        Raises:
            UserError: the label map cannot be read, or is of another size than its picture.
        """
        labels = to_classes(self.decode(read_data(item.labels), item.labels), self.table)
        height, width = picture_size(item.picture)
        if labels.shape != (height, width):
            raise UserError(
                f"{item.labels}: is {labels.shape[1]}x{labels.shape[0]}, its picture {width}x{height}; expected one "
                "label for each pixel of the upright picture"
            )
        return labels if self.short_side_px is None else shrink(labels, self.short_side_px, cv2.INTER_NEAREST)
