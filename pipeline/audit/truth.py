"""The truth about a build's images: regions with classes, from any COCO-style files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from stages.common import Rle, UserError
from stages.proposals.coco_truth import TruthFile, TruthImage, usable_masks


@dataclass(frozen=True, slots=True)
class TrueRegion:
    """A true region: its mask, the number of its class, and whether it is a crowd."""

    rle: Rle
    label: int
    is_crowd: bool


class Truth:
    """All files together, for the images of one build.

    Args:
        files: as `read_truth_file` gives them.
        build_images: image id -> file, of the build.

    Attributes:
        names: the classes; a name that stands in two files is one class.
        audited: ids of the build's images that a file lists, in the build's order.

    Raises:
        UserError: no file lists any image of the build.
    """

    def __init__(self, files: Sequence[TruthFile], build_images: Mapping[str, str]) -> None:
        self.names = list(dict.fromkeys(name for file in files for name in file.names))
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._found = [_matched(file, build_images) for file in files]
        self._files = list(files)
        self.audited = [image for image in build_images if any(image in found for found in self._found)]
        for file, found in zip(files, self._found, strict=True):
            if not found:
                raise UserError(
                    f"{file.path}: lists none of the build's {len(build_images):,} images; images are "
                    f"matched by id or file name: the build has {_example(build_images)}, the truth has "
                    f"{_example({image.image_id: str(image.file_name) for image in file.images.values()})}"
                )
            file.group({image.image_id for image in found.values()})

    def labels_of(self, image_id: str) -> list[tuple[int, bool]]:
        """(class, is crowd) of the image's regions, in the order of `regions`; no mask is decoded."""
        return [
            (self._numbers[label], bool(crowd))
            for _, _, rows in self._rows(image_id)
            for label, crowd in zip(rows["label"].to_pylist(), rows["is_crowd"].to_pylist(), strict=True)
        ]

    def regions(self, image_id: str, height_px: int, width_px: int) -> list[TrueRegion]:
        """The image's true regions, each checked; one that cannot be used is left out.

        Raises:
            UserError: the image has another size.
        """
        regions: list[TrueRegion] = []
        for file, image, rows in self._rows(image_id):
            listed = (image.height_px, image.width_px)
            if None not in listed and listed != (height_px, width_px):
                raise UserError(
                    f"{file.path}: image {image.image_id} is {image.height_px} x {image.width_px} pixels "
                    f"(height x width), in the build {height_px} x {width_px}; is it the truth of these images?"
                )
            labels, crowds = rows["label"].to_pylist(), rows["is_crowd"].to_pylist()
            segmentations = rows["segmentation"].to_pylist()
            rles = usable_masks(segmentations, height_px, width_px, file.path, image.image_id, file.left_out)
            regions += [
                TrueRegion(rle, self._numbers[label], bool(crowd))
                for rle, label, crowd in zip(rles, labels, crowds, strict=True)
                if rle is not None
            ]
        return regions

    def _rows(self, image_id: str) -> Iterator[tuple[TruthFile, TruthImage, pa.Table]]:
        for file, found in zip(self._files, self._found, strict=True):
            if image_id in found:
                image = found[image_id]
                yield file, image, file.masks_of(image.image_id)


def _matched(file: TruthFile, build_images: Mapping[str, str]) -> dict[str, TruthImage]:
    """Image of the build -> image of the file: by id, else by a file name that only one image of the file has."""
    by_name: dict[str, TruthImage | None] = {}
    for image in file.images.values():
        if image.file_name:
            name = _base(image.file_name)
            by_name[name] = None if name in by_name else image
    found = {}
    for image_id, name in build_images.items():
        match = file.images.get(image_id) or by_name.get(_base(name))
        if match is not None:
            found[image_id] = match
    return found


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _example(images: Mapping[str, str]) -> str:
    image_id, name = next(iter(images.items()), ("no images", ""))
    return f"{image_id!r} ({name})"
