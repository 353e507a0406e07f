"""Ground truth in COCO's form: images, classes, checked masks. What cannot be used is left out alone, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common import Rle, SampleError, SourceMask, UserError, escaped
from stages.proposals.annotations import read_coco_masks
from stages.proposals.coco_values import Aside, entry_of, name_of, place_of, required_id, whole_number
from stages.proposals.json_stream import Element
from stages.proposals.provided import BadMask, checked_masks
from stages.proposals.segmentations import Size, checked, parsed


@dataclass(slots=True)
class LeftOut:
    """Counts what is left out of a ground truth.

    Attributes:
        reasons: how many entries for each reason.
        firsts: file and message of the first entry of each reason.
        notes: what loses nothing, a sentence each.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self, item: Literal["image", "annotation"], file: str, reason: str, message: str, image_id: str = ""
    ) -> None:
        """See `Aside.add`."""
        image = f"image {image_id}: " if image_id else ""
        self.firsts.setdefault(reason, f"{file}: {image}{message}")
        self.reasons[reason] += 1

    @property
    def first(self) -> str:
        """File and message of the first entry of all; empty if there is none."""
        return next(iter(self.firsts.values()), "")

    def note(self, sentence: str) -> None:
        """See `Aside.note`."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def sentences(self, of: str = "the ground truth") -> list[str]:
        """What a person should know of it; nothing if nothing is left out."""
        if not self.reasons:
            return list(self.notes)
        listed = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())
        counted = f"left out of {of}: {listed}; the first: {self.first}"
        return [*self.notes, counted]


@dataclass(frozen=True, slots=True)
class TruthImage:
    """An image as a truth file lists it: name and size in pixels, where the file has them."""

    image_id: str
    file_name: str | None
    height_px: int | None
    width_px: int | None

    @property
    def described(self) -> str:
        """Name and size, for a message."""
        return f"{self.file_name!r} ({self.height_px} x {self.width_px} pixels, height x width)"

    @property
    def size_hw_px(self) -> Size | None:
        """Height and width, if both are told."""
        return None if self.height_px is None or self.width_px is None else (self.height_px, self.width_px)


@dataclass(slots=True)
class TruthFile:
    """One file: its images and classes, and its masks as Arrow rows.

    Attributes:
        masks: columns of COCO_SCHEMA, all with a label.
        left_out: what of the file cannot be used.
        stuff: class names whose category says that it is no thing (``isthing`` 0), as panoptic files do.
        synonyms: class name -> other words, where the categories list them, as LVIS does.
        rows: image id -> rows of `masks`, once they are grouped.
        unlisted: how many masks are of images that the file does not list; they are left out.
    """

    path: str
    masks: pa.Table
    left_out: Aside
    images: dict[str, TruthImage] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    stuff: set[str] = field(default_factory=set)
    synonyms: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    unlisted: int = 0

    def group(self, wanted: Collection[str]) -> None:
        """Keeps the usable masks of the wanted images alone, and notes their rows by image.

        Raises:
            UserError: none of these images' masks can be used; names the first.
        """
        self.check_masks()
        ids = pa.array(sorted(wanted), pa.string())
        self.masks = self.masks.filter(pc.is_in(self.masks["image_id"], value_set=ids))
        self.masks = self._usable(self.masks)
        codes = pc.index_in(self.masks["image_id"], value_set=ids).to_numpy()
        order = np.argsort(codes, kind="stable").astype(np.int64)
        starts = np.searchsorted(codes[order], np.arange(len(ids) + 1))
        for number, image_id in enumerate(ids.to_pylist()):
            self.rows[image_id] = order[starts[number] : starts[number + 1]]

    def check_masks(self) -> None:
        """That the masks are not all of images that the file does not list.

        Raises:
            UserError: they are; names the first.
        """
        if self.unlisted and not len(self.masks):
            raise UserError(
                f"{self.path}: none of its {self.unlisted:,} masks is of an image that it lists; expected the ids of "
                f"its images, such as {next(iter(self.images))}, as 'image_id'"
            )

    def masks_of(self, image_id: str) -> pa.Table:
        """The rows of one image of those that were grouped, in the file's order."""
        return self.masks.take(pa.array(self.rows.get(image_id, np.zeros(0, np.int64))))

    def _usable(self, masks: pa.Table) -> pa.Table:
        """Without the masks that are malformed, or of another size than their image; none is drawn for that."""
        bad: dict[int, str] = {}
        for row, (image_id, segmentation) in enumerate(_pairs(masks)):
            image = self.images.get(image_id)
            try:
                value = parsed(segmentation)
                if not isinstance(value, dict) or "png" not in value:
                    checked(value, image.size_hw_px if image else None)
            except SampleError as error:
                bad[row] = f"a mask of image {image_id}: {error.message}"
                self.left_out.add("annotation", self.path, error.reason, bad[row])
        if not bad:
            return masks
        if len(bad) == len(masks):
            raise UserError(f"{self.path}: none of the {len(masks):,} masks can be used; the first: {bad[0]}")
        keep = np.ones(len(masks), bool)
        keep[list(bad)] = False
        return masks.filter(pa.array(keep))


def _pairs(masks: pa.Table) -> Any:  # noqa: ANN401 - pairs of texts
    """Image id and segmentation of each row, a batch at a time."""
    for batch in masks.select(["image_id", "segmentation"]).to_batches():
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def read_truth_file(path: str, left_out: Aside) -> TruthFile:
    """Reads a COCO-style file: instances, stuff or panoptic JSON.

    Args:
        path: a file, or an fsspec URL.
        left_out: gets what cannot be used.

    Raises:
        UserError: naming the file and what it lacks.
    """
    truth, bad_images = TruthFile(path, pa.table({}), left_out), list[str]()

    def also(element: Element) -> None:
        if element.key == "categories" and isinstance(element.value, dict):
            _take_category(truth, element.value)
        elif element.key == "images":
            _take_image(truth, element, bad_images)

    truth.masks = read_coco_masks(path, left_out, also=also)
    for key, there in (("images", truth.images), ("categories", truth.names)):
        if not there:
            first = f" that can be used: {bad_images[0]}" if key == "images" and bad_images else ""
            raise UserError(
                f"{path}: expected COCO annotations, with the lists images, annotations, categories; no {key}{first}"
            )
    is_named = pc.is_valid(truth.masks["label"])
    nameless = len(truth.masks) - (pc.sum(is_named).as_py() or 0)
    if nameless and nameless == len(truth.masks):
        raise UserError(f"{path}: none of its masks has a category_id with a name, so that no noun can be compared")
    for image_id in truth.masks["image_id"].filter(pc.invert(is_named)).to_pylist():
        left_out.add("annotation", path, "no_category", f"a mask of image {image_id} has no category with a name")
    truth.masks = _of_listed_images(truth.masks.filter(is_named), truth)
    return truth


def images_of(files: Sequence[TruthFile]) -> dict[str, TruthImage]:
    """The images of several files by id, each as the first file that lists it has it.

    Raises:
        UserError: an id stands for one photo in one file, and for another in another.
    """
    found: dict[str, tuple[TruthImage, str]] = {}
    for file in files:
        for image_id, image in file.images.items():
            first, path = found.setdefault(image_id, (image, file.path))
            names = [(one.file_name or "").rpartition("/")[2] for one in (first, image)]
            if all(names) and names[0] != names[1]:
                raise UserError(
                    f"{file.path}: image {image_id} is {image.file_name!r}, and {first.file_name!r} in {path}; "
                    "expected one id for one photo in all files. Use files of different photos one after another"
                )
    return {image_id: image for image_id, (image, _) in found.items()}


def _of_listed_images(masks: pa.Table, truth: TruthFile) -> pa.Table:
    """Without the masks of images that the file does not list, each of which is left out by name."""
    is_listed = pc.is_in(masks["image_id"], value_set=pa.array(list(truth.images), pa.string()))
    others = masks["image_id"].filter(pc.invert(is_listed)).to_pylist()
    truth.unlisted = len(others)
    for image_id in others:
        truth.left_out.add(
            "annotation", truth.path, "unknown_image", f"a mask of image {image_id}, which is not listed"
        )
    return masks.filter(is_listed) if others else masks


def _take_category(truth: TruthFile, category: dict[str, Any]) -> None:
    name, others = name_of(category.get("name")), category.get("synonyms")
    if name is None or name in truth.names:
        return
    truth.names.append(name)
    if category.get("isthing") in (0, False, "0"):
        truth.stuff.add(name)
    if isinstance(others, list):
        truth.synonyms[name] = [word for word in map(name_of, others) if word is not None]


def _take_image(truth: TruthFile, element: Element, bad: list[str]) -> None:
    value = element.value
    try:
        image_id = required_id(entry_of(value, "bad_image"), "id", "bad_image")
    except SampleError as error:
        bad.append(f"{place_of('images', element.index, value)}: {error.message}")
        truth.left_out.add("image", truth.path, error.reason, bad[-1])
        return
    name = value.get("file_name") or value.get("coco_url")  # LVIS has URLs alone
    name = escaped(name) if isinstance(name, str) else None
    size_px = whole_number(value.get("height")), whole_number(value.get("width"))
    image = TruthImage(image_id, name, *size_px)
    before = truth.images.setdefault(image_id, image)
    if before != image:
        told = f"{place_of('images', element.index, value)}: id {image_id} is that of {before.described} already"
        truth.left_out.add("image", truth.path, "duplicate_id", f"{told}; this is {image.described}")


def decoded_masks(segmentations: Sequence[Any], height_px: int, width_px: int, where: str) -> list[Rle]:
    """Segmentations (polygons, RLE, panoptic references; objects or JSON text) as masks, all of which must be good.

    Raises:
        UserError: one is damaged, or of another size; begins with `where`.
    """
    masks = []
    for one in _checked(segmentations, height_px, width_px, where):
        if isinstance(one, BadMask):
            raise UserError(f"{where}: {one.message}; mend or remove it")
        masks.append(one)
    return masks


def usable_masks(
    segmentations: Sequence[Any], height_px: int, width_px: int, file: str, image_id: str, left_out: Aside
) -> list[Rle | None]:
    """Segmentations as `decoded_masks` takes them, of one image; None for one that cannot be used, which is left out.

    File and id say where they stand, for messages.

    Raises:
        UserError: none can be used, and one is of another size: they are not this image's.
    """
    found: list[Rle | None] = []
    for one in _checked(segmentations, height_px, width_px, f"{file}: image {image_id}"):
        if isinstance(one, BadMask):
            left_out.add("annotation", file, one.reason, one.message, image_id)
        found.append(None if isinstance(one, BadMask) else one)
    return found


def _checked(segmentations: Sequence[Any], height_px: int, width_px: int, where: str) -> list[Rle | BadMask]:
    masks = [SourceMask(segmentation) for segmentation in segmentations]
    try:
        return checked_masks(masks, (height_px, width_px))
    except SampleError as error:
        raise UserError(f"{where}: {error.message}; mend or remove it") from error
