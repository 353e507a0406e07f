"""Masks that came with the input: the source's ground truth, or proposals computed elsewhere."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common import ImageRecord, Proposal, Rle, SampleError, SourceMask, read_file
from stages.proposals.models import GroundTruthProposals, PrecomputedProposals
from stages.proposals.segmentations import BAD, OTHER_SIZE, Size, other_size, parsed, to_rle

UNREADABLE = "unreadable_mask_file"
_OF_THE_PHOTO = (OTHER_SIZE, UNREADABLE)
"""Reasons that say, where no mask of a photo is left, that photo and masks do not belong together."""


@dataclass(frozen=True, slots=True)
class BadMask:
    """One mask that cannot be used: a reason in snake_case, and what was found and expected."""

    reason: str
    message: str


class ProvidedProposer:
    """Gives a record's own masks as proposals, after checking each of them."""

    def __init__(self, config: GroundTruthProposals | PrecomputedProposals) -> None:
        self._source = config.kind
        self._include_crowd = config.include_crowd if isinstance(config, GroundTruthProposals) else True

    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """The good masks of `record`, in the record's order; see `check`."""
        return self.check(record, image)[0]

    def check(self, record: ImageRecord, image: NDArray[np.uint8]) -> tuple[list[Proposal], list[BadMask]]:
        """The good and the bad masks of `record`, in the record's order.

        Args:
            record: its `masks` are COCO polygons, RLE, or references {"png", "segment_id"} into a panoptic PNG,
                each as an object or as JSON text.
            image: [H, W, 3] RGB, uint8; only its size is used.

        Raises:
            SampleError: as `checked_masks`.
        """
        masks = [mask for mask in record.masks if self._include_crowd or not mask.is_crowd]
        found = checked_masks(masks, (image.shape[0], image.shape[1]), record.mask_size_hw_px)
        proposals = [
            Proposal(rle, float(mask.score), self._source, mask.label)
            for mask, rle in zip(masks, found, strict=True)
            if isinstance(rle, Rle)
        ]
        return proposals, [one for one in found if isinstance(one, BadMask)]


def checked_masks(
    masks: Sequence[SourceMask], image_hw_px: Size, polygon_hw_px: Size | None = None
) -> list[Rle | BadMask]:
    """Each mask of one image, or what is wrong with it: ``bad_segmentation``, ``mask_size_mismatch``, ``bad_score``
    or ``unreadable_mask_file``.

    Args:
        masks: of the image.
        image_hw_px: of the image.
        polygon_hw_px: of the image that polygons refer to, if the input says so.

    Raises:
        SampleError: no mask is left, and one of them is of another size or in a file that cannot be read: the masks
            are not this image's.
    """
    files = _PanopticFiles(image_hw_px)
    found: list[Rle | BadMask] = []
    for number, mask in enumerate(masks):
        try:
            found.append(_checked(mask, files, image_hw_px, polygon_hw_px))
        except SampleError as error:
            found.append(BadMask(error.reason, f"mask {number}: {error.message}"))
    bad = [one for one in found if isinstance(one, BadMask)]
    if len(bad) == len(found) and (of_photo := [one for one in bad if one.reason in _OF_THE_PHOTO]):
        raise SampleError(of_photo[0].reason, of_photo[0].message)
    return found


def mask_files(record: ImageRecord) -> tuple[str, ...]:
    """Paths or URLs of the panoptic PNGs that the record's masks refer to: their bytes decide the masks, too."""
    files = set()
    for mask in record.masks:
        if isinstance(mask.segmentation, str) and '"png"' not in mask.segmentation:
            continue
        try:
            segmentation = parsed(mask.segmentation)
        except SampleError:
            continue
        if isinstance(segmentation, Mapping) and "png" in segmentation:
            files.add(str(segmentation["png"]))
    return tuple(sorted(files))


def _checked(mask: SourceMask, files: _PanopticFiles, image_hw_px: Size, polygon_hw_px: Size | None) -> Rle:
    segmentation = parsed(mask.segmentation)
    if isinstance(segmentation, Mapping) and "png" in segmentation:
        rle = files.segment(segmentation)
    else:
        rle = to_rle(segmentation, image_hw_px, polygon_hw_px)
    if not 0.0 <= mask.score <= 1.0:
        raise SampleError("bad_score", f"expected a score in [0, 1], got {mask.score}")
    return rle


@dataclass(slots=True)
class _PanopticFiles:
    """The PNGs that masks of one image lie in, each read once; or what is wrong with one."""

    image_hw_px: Size
    _ids: dict[str, NDArray[np.uint32] | SampleError] = field(default_factory=dict)

    def segment(self, reference: Mapping[str, Any]) -> Rle:
        png = str(reference["png"])
        if png not in self._ids:
            try:
                self._ids[png] = _read_ids(png, self.image_hw_px)
            except SampleError as error:
                self._ids[png] = error
        ids = self._ids[png]
        if isinstance(ids, SampleError):
            raise ids
        try:
            segment_id = int(reference["segment_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise SampleError(BAD, f"expected an integer segment_id beside {png}") from error
        mask = ids == segment_id
        if not mask.any():
            raise SampleError(BAD, f"segment {segment_id} has no pixel in {png}")
        return Rle.encode(mask)


def _read_ids(png: str, image_hw_px: Size) -> NDArray[np.uint32]:
    """Segment ids [H, W] of COCO's panoptic PNG: R + 256 G + 65536 B."""
    try:
        data = read_file(png)
    except FileNotFoundError as error:
        raise SampleError(UNREADABLE, f"{png}: there is no such file; expected a panoptic PNG") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise SampleError(UNREADABLE, f"{png}: cannot be read: {type(error).__name__}") from error
    try:
        with Image.open(io.BytesIO(data)) as picture:
            rgb = np.asarray(picture.convert("RGB"), dtype=np.uint32)
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise SampleError(UNREADABLE, f"{png}: is no panoptic PNG, or damaged ({type(error).__name__})") from error
    if rgb.shape[:2] != image_hw_px:
        raise other_size(png, (rgb.shape[0], rgb.shape[1]), image_hw_px)
    ids: NDArray[np.uint32] = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    return ids
