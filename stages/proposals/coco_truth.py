"""Ground truth in COCO's form: images, classes and checked masks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common import ImageRecord, Rle, SampleError, SourceMask, UserError, open_file
from stages.proposals.annotations import read_coco_masks
from stages.proposals.json_stream import Element, iterate_elements
from stages.proposals.models import GroundTruthProposals
from stages.proposals.provided import ProvidedProposer

_PROPOSER = ProvidedProposer(GroundTruthProposals(include_crowd=True))


@dataclass(frozen=True, slots=True)
class TruthImage:
    """An image as a truth file lists it: name and size in pixels, where the file has them."""

    image_id: str
    file_name: str | None
    height_px: int | None
    width_px: int | None


@dataclass(slots=True)
class TruthFile:
    """One file: its images and classes, and its masks as Arrow rows.

    Attributes:
        masks: columns of COCO_SCHEMA, and ``area_px``, null where the file has none: that of the annotated polygons,
            which may differ from the mask's own.
        stuff: class names whose category says that it is no thing (``isthing`` 0), as panoptic files do.
        synonyms: class name -> other words, where the categories list them, as LVIS does.
        rows: image id -> rows of `masks`, once they are grouped.
    """

    path: str
    masks: pa.Table
    images: dict[str, TruthImage] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    stuff: set[str] = field(default_factory=set)
    synonyms: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def group(self, wanted: Collection[str]) -> None:
        """Keeps the masks of the wanted images alone, and notes their rows by image."""
        ids = pa.array(sorted(wanted), pa.string())
        self.masks = self.masks.filter(pc.is_in(self.masks["image_id"], value_set=ids))
        codes = pc.index_in(self.masks["image_id"], value_set=ids).to_numpy()
        order = np.argsort(codes, kind="stable").astype(np.int64)
        starts = np.searchsorted(codes[order], np.arange(len(ids) + 1))
        for number, image_id in enumerate(ids.to_pylist()):
            self.rows[image_id] = order[starts[number] : starts[number + 1]]

    def masks_of(self, image_id: str) -> pa.Table:
        """The rows of one image of those that were grouped, in the file's order."""
        return self.masks.take(pa.array(self.rows.get(image_id, np.zeros(0, np.int64))))


def read_truth_file(path: str) -> TruthFile:
    """Reads a COCO-style file: instances, stuff or panoptic JSON.

    Raises:
        UserError: naming the file and what it lacks.
    """
    truth = TruthFile(path, read_coco_masks(path))
    areas_px: list[float | None] = []
    with open_file(path, "rt") as file:
        for element in iterate_elements(file, path):
            if element.key == "images":
                image = _image(element, f"{path}: images[{element.index}]")
                truth.images[image.image_id] = image
            elif element.key == "categories":
                _take_category(truth, element.value)
            elif element.key == "annotations":
                areas_px += _areas_px(element, f"{path}: annotations[{element.index}]")
    for key, there in (("images", truth.images), ("categories", truth.names)):
        if not there:
            raise UserError(
                f"{path}: expected COCO annotations, with the lists images, annotations, categories; no {key}"
            )
    if truth.masks["label"].null_count:
        row = pc.index(pc.is_null(truth.masks["label"]), True).as_py()
        raise UserError(f"{path}: mask {row} has no category_id, so that no noun can be compared with it")
    truth.masks = truth.masks.append_column("area_px", pa.array(areas_px, pa.float64()))
    return truth


def _take_category(truth: TruthFile, category: dict[str, Any]) -> None:
    name, others = str(category["name"]), category.get("synonyms")
    truth.names.append(name)
    if category.get("isthing") == 0:
        truth.stuff.add(name)
    if isinstance(others, list):
        truth.synonyms[name] = [str(word) for word in others]


def _areas_px(element: Element, where: str) -> list[float | None]:
    """Of an annotation's mask, or of all segments of a panoptic one."""
    value = element.value
    areas = [part.get("area") for part in value.get("segments_info", [value])]
    for area in areas:
        if isinstance(area, bool) or not isinstance(area, int | float | None):
            raise UserError(f"{where}: expected a number 'area', in pixels, got {area!r}")
    return areas


def _image(element: Element, where: str) -> TruthImage:
    value = element.value
    if not isinstance(value, dict) or not isinstance(value.get("id"), int | str):
        raise UserError(f"{where}: expected an object with a number or text 'id'")
    name = value.get("file_name") or value.get("coco_url")  # LVIS has URLs alone
    height, width = value.get("height"), value.get("width")
    if not isinstance(name, str | None) or not isinstance(height, int | None) or not isinstance(width, int | None):
        raise UserError(f"{where}: expected a text 'file_name', and whole numbers 'height' and 'width'")
    return TruthImage(str(value["id"]), name, height, width)


def decoded_masks(segmentations: Sequence[Any], height_px: int, width_px: int, where: str) -> list[Rle]:
    """Segmentations (polygons, RLE, panoptic references; objects or JSON text) as masks, checked as the miner's.

    Raises:
        UserError: one is damaged, or of another size; begins with `where`.
    """
    masks = tuple(SourceMask(segmentation) for segmentation in segmentations)
    record = ImageRecord("", "", (), masks=masks, mask_size_hw_px=(height_px, width_px))
    size_alone = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (height_px, width_px, 3))
    try:
        return [proposal.rle for proposal in _PROPOSER.propose(record, size_alone)]
    except SampleError as error:
        raise UserError(f"{where}: {error.message}; mend or remove it") from error
