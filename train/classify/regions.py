"""Ground-truth regions, a picture at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from stages.coco_truth import decoded_masks, read_truth_file
from stages.errors import SampleError, UserError
from stages.images import decode_image
from stages.records import Rle
from train.classify.config import CocoRegions, LabelMapRegions


@dataclass(frozen=True, slots=True)
class Picture:
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
        self._of_label: dict[int, str] = {}
        self._entries: list[tuple[str, list[tuple[str, str]]]] = []
        if isinstance(config, CocoRegions):
            self.names = self._read_coco(config)
        else:
            self.names = self._read_classes(config)

    def pictures(self) -> Iterator[Picture]:
        """Pictures with at least one region, in the order of their ids or file names.

        Raises:
            UserError: a picture or label map is missing or damaged.
        """
        if isinstance(self._config, LabelMapRegions):
            yield from self._label_maps(self._config)
            return
        folder = Path(self._config.images)
        for file, found in self._entries:
            pixels = _read_picture(folder / file)
            names, segmentations = zip(*found, strict=True)
            rles = decoded_masks(segmentations, pixels.shape[0], pixels.shape[1], file)
            yield Picture(file, pixels, tuple(zip(names, rles, strict=True)))

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

    def _read_classes(self, config: LabelMapRegions) -> tuple[str, ...]:
        listed = _read_json(Path(config.classes))
        try:
            self._of_label = {int(entry["id"]): str(entry["name"]) for entry in listed}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f'{config.classes}: expected a list of {{"id": 1, "name": "wall"}}') from error
        return tuple(dict.fromkeys(self._of_label.values()))

    def _label_maps(self, config: LabelMapRegions) -> Iterator[Picture]:
        pictures = {path.stem: path for path in sorted(Path(config.images).glob("*")) if path.is_file()}
        maps = sorted(Path(config.labels).glob("*.png"))
        if not maps:
            raise UserError(f"{config.labels}: there are no label maps (*.png)")
        for path in maps:
            if path.stem not in pictures:
                raise UserError(f"{path}: its picture {path.stem}.* is not in {config.images}")
            pixels = _read_picture(pictures[path.stem])
            labels = _read_labels(path)
            if labels.shape != pixels.shape[:2]:
                raise UserError(
                    f"{path}: is {labels.shape[1]}x{labels.shape[0]}, its picture {pixels.shape[1]}x{pixels.shape[0]}"
                )
            present = [int(label) for label in np.unique(labels) if int(label) in self._of_label]
            regions = tuple((self._of_label[label], Rle.encode(labels == label)) for label in present)
            if regions:
                yield Picture(pictures[path.stem].name, pixels, regions)


def _as_number(image_id: str) -> tuple[bool, int, str]:
    """Orders ids by number where they are numbers, and these before all others."""
    is_number = image_id.isdecimal()
    return not is_number, int(image_id) if is_number else 0, image_id


def _read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error


def _read_picture(path: Path) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes())
    except (OSError, SampleError) as error:
        raise UserError(f"{path}: cannot be read as a picture: {error}") from error


def _read_labels(path: Path) -> NDArray[np.int64]:
    try:
        with Image.open(path) as image:
            labels = np.array(image)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a label map: {error}") from error
    if labels.ndim != 2:
        raise UserError(f"{path}: has {labels.ndim} dimensions; expected one label a pixel")
    return labels.astype(np.int64)
