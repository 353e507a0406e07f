"""Ground-truth regions, a picture at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.coco_truth import decoded_masks, read_truth_file
from stages.common import UserError, join
from stages.records import Rle
from train.evaluate.benchmark_sets.classes import IGNORED
from train.evaluate.benchmark_sets.files import read_picture
from train.evaluate.benchmark_sets.open_set import open_label_files
from train.evaluate.classify.config import CocoRegions, LabelMapRegions


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and its regions: (name of the class, mask)."""

    file: str
    pixels: NDArray[np.uint8]
    regions: tuple[tuple[str, Rle], ...]


class GroundTruth:
    """All regions of a data set; pictures are read when asked for.

    Args:
        config: where it lies.

    Attributes:
        names: of the classes, in the files' order.

    Raises:
        UserError: a file is missing or not of its format.
    """

    def __init__(self, config: CocoRegions | LabelMapRegions) -> None:
        self._config = config
        self._entries: list[tuple[str, list[tuple[str, str]]]] = []
        if isinstance(config, CocoRegions):
            self.names = self._read_coco(config)
        else:
            self._labelled = open_label_files(config)
            self.names = tuple(names.name for names in self._labelled.classes)

    def pictures(self) -> Iterator[LabelledPicture]:
        """Pictures with at least one region, in the order of their ids or file names.

        Raises:
            UserError: a picture or label map is missing or damaged.
        """
        if isinstance(self._config, LabelMapRegions):
            yield from self._label_maps()
            return
        for file, found in self._entries:
            pixels = read_picture(join(self._config.images, file))
            names, segmentations = zip(*found, strict=True)
            rles = decoded_masks(segmentations, pixels.shape[0], pixels.shape[1], file)
            yield LabelledPicture(file, pixels, tuple(zip(names, rles, strict=True)))

    def _read_coco(self, config: CocoRegions) -> tuple[str, ...]:
        files: dict[str, str | None] = {}
        names: dict[str, None] = {}
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for path in config.annotations:
            truth = read_truth_file(path)
            files |= {image.image_id: image.file_name for image in truth.images.values()}
            names |= dict.fromkeys(truth.names)
            rows = truth.masks.filter(pc.invert(truth.masks["is_crowd"]))
            columns = (rows[name].to_pylist() for name in ("image_id", "label", "segmentation"))
            for image_id, name, segmentation in zip(*columns, strict=True):
                found[image_id].append((name, segmentation))
        for image_id in sorted(found, key=_as_number):
            file = files.get(image_id)
            if file is None:
                raise UserError(f"annotations name image {image_id}, for which 'images' has no file_name")
            self._entries.append((file, found[image_id]))
        return tuple(names)

    def _label_maps(self) -> Iterator[LabelledPicture]:
        for item in self._labelled.items:
            truth = self._labelled.truth(item)
            present = [int(number) for number in np.unique(truth) if number != IGNORED]
            if present:
                regions = tuple((self.names[number], Rle.encode(truth == number)) for number in present)
                yield LabelledPicture(Path(item.picture).name, self._labelled.picture(item), regions)


def _as_number(image_id: str) -> tuple[bool, int, str]:
    """Orders ids by number where they are numbers, and these before all others."""
    is_number = image_id.isdecimal()
    return not is_number, int(image_id) if is_number else 0, image_id
