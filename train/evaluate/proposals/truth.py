"""Photos whose true masks are in COCO's files, read one photo at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stages.common import Config, Location, UserError, join
from stages.proposals.coco_truth import LeftOut, TruthFile, TruthImage, images_of, read_truth_file, usable_masks
from train.evaluate.benchmark_sets import read_picture
from train.evaluate.proposals.counter import TruthMask


class MaskTruth(Config):
    """Photos with ground truth of COCO's form.

    Attributes:
        images: folder of the photos.
        annotations: instances (COCO's or LVIS's) or panoptic JSON, the PNGs beside it. Their masks are things, but for
            classes whose category has ``isthing`` 0.
        stuff: files all of whose masks are stuff.
    """

    images: Location
    annotations: tuple[Location, ...] = Field(())
    stuff: tuple[Location, ...] = Field(())

    @model_validator(mode="after")
    def _some_file(self) -> Self:
        if not (self.annotations or self.stuff):
            raise ValueError("expected a file of masks in 'annotations' or 'stuff'")
        return self


@contextmanager
def _told_by(key: str) -> Iterator[None]:
    """Puts a manifest's key before what is wrong with a file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}: {error}") from error


class TruthSet:
    """The photos that the files list, in their order, and the true masks of each.

    Args:
        config: where they lie.
        limit: at most so many photos, the first ones; None for all.
        key: of the manifest, for messages.

    Attributes:
        photos: as the files list them; a photo of two files has one id in both.
        names: of the classes.
        files: what was read.
        left_out: what of them cannot be used.

    Raises:
        UserError: a file is missing or not what was expected.
    """

    def __init__(self, config: MaskTruth, limit: int | None = None, key: str = "truth") -> None:
        self._images, self._key = config.images, key
        self.left_out = LeftOut()
        places = {"annotations": config.annotations, "stuff": config.stuff}
        self.files = []
        for name, paths in places.items():
            with _told_by(f"{key}.{name}"):
                self.files += [read_truth_file(path, self.left_out) for path in paths]
        for file in self.files[len(config.annotations) :]:
            file.stuff = set(file.names)
        with _told_by(key):
            self.photos = tuple(images_of(self.files).values())[:limit]
        self.names = tuple(dict.fromkeys(name for file in self.files for name in file.names))
        with _told_by(key):
            for file in self.files:
                file.group({photo.image_id for photo in self.photos})

    def has_masks(self, photo: TruthImage) -> bool:
        """Whether a file has a mask of this photo, if only a crowd's."""
        return any(len(rows) for _, rows in self._rows(photo))

    def file(self, photo: TruthImage) -> str:
        """Path or URL of the photo. LVIS names photos by a URL, whose last two parts are COCO's folder and file.

        Raises:
            UserError: the annotations do not say.
        """
        if photo.file_name is None:
            path = self.files[0].path
            raise UserError(
                f"{path}: image {photo.image_id} has no 'file_name'; expected one, below {self._key}.images"
            )
        name = photo.file_name
        return join(self._images, "/".join(name.split("/")[-2:]) if "://" in name else name)

    def picture(self, photo: TruthImage) -> NDArray[np.uint8]:
        """The photo, upright, [H, W, 3] RGB, uint8.

        Raises:
            UserError: it is missing, no picture, or of another size than was annotated.
        """
        file = self.file(photo)
        pixels = read_picture(file)
        height_px, width_px = pixels.shape[:2]
        if (photo.height_px or height_px, photo.width_px or width_px) != (height_px, width_px):
            raise UserError(
                f"{file}: is {height_px} x {width_px} pixels (height x width), annotated as {photo.height_px} x "
                f"{photo.width_px}; expected the photos that were annotated under {self._key}.images"
            )
        return pixels

    def masks(self, photo: TruthImage, height_px: int, width_px: int) -> list[TruthMask]:
        """The photo's true masks, each checked, in the order of the files; bad ones are left out, and counted.

        Raises:
            UserError: none can be used, and one is of another size than the photo.
        """
        masks: list[TruthMask] = []
        for file, rows in self._rows(photo):
            segmentations = rows["segmentation"].to_pylist()
            rles = usable_masks(segmentations, height_px, width_px, file.path, photo.image_id, self.left_out)
            columns = (rows[name].to_pylist() for name in ("label", "is_crowd", "area_px"))
            masks += [
                TruthMask(rle, name, name not in file.stuff, bool(is_crowd), area_px)
                for rle, name, is_crowd, area_px in zip(rles, *columns, strict=True)
                if rle is not None
            ]
        return masks

    def _rows(self, photo: TruthImage) -> Iterator[tuple[TruthFile, pa.Table]]:
        for file in self.files:
            yield file, file.masks_of(photo.image_id)
