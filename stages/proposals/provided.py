"""Masks that came with the input: the source's ground truth, or proposals computed elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common import ImageRecord, Proposal, Rle, SampleError, open_file
from stages.proposals.models import GroundTruthProposals, PrecomputedProposals


class ProvidedProposer:
    """Gives a record's own masks as proposals, after checking each of them."""

    def __init__(self, config: GroundTruthProposals | PrecomputedProposals) -> None:
        self._source = config.kind
        self._include_crowd = config.include_crowd if isinstance(config, GroundTruthProposals) else True

    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """The masks of `record`, in the record's order.

        Args:
            record: its `masks` are COCO polygons, RLE, or references {"png", "segment_id"} into a panoptic PNG,
                each as an object or as JSON text.
            image: [H, W, 3] RGB, uint8; only its size is used.

        Raises:
            SampleError: ``mask_size_mismatch``, ``bad_segmentation``, or ``unreadable_mask_file``.
        """
        size_hw_px = (image.shape[0], image.shape[1])
        panoptic: dict[str, NDArray[np.uint32]] = {}
        proposals = []
        for number, mask in enumerate(record.masks):
            if mask.is_crowd and not self._include_crowd:
                continue
            segmentation = _parsed(mask.segmentation, number)
            if isinstance(segmentation, Mapping) and "png" in segmentation:
                png = str(segmentation["png"])
                if png not in panoptic:
                    panoptic[png] = _read_panoptic_png(png, size_hw_px)
                rle = _segment(panoptic[png], segmentation, number)
            else:
                rle = _checked_rle(segmentation, number, size_hw_px, record.mask_size_hw_px)
            if not 0.0 <= mask.score <= 1.0:
                raise SampleError("bad_score", f"mask {number}: expected a score in [0, 1], got {mask.score}")
            proposals.append(Proposal(rle, float(mask.score), self._source, mask.label))
        return proposals


def mask_files(record: ImageRecord) -> tuple[str, ...]:
    """Paths or URLs of the panoptic PNGs that the record's masks refer to: their bytes decide the masks, too."""
    files = set()
    for number, mask in enumerate(record.masks):
        segmentation = _parsed(mask.segmentation, number)
        if isinstance(segmentation, Mapping) and "png" in segmentation:
            files.add(str(segmentation["png"]))
    return tuple(sorted(files))


def _parsed(segmentation: object, number: int) -> object:
    if not isinstance(segmentation, str):
        return segmentation
    try:
        parsed: object = json.loads(segmentation)
        return parsed
    except ValueError as error:
        raise _bad(number, f"not JSON: {error}") from error


def _bad(number: int, what: str) -> SampleError:
    return SampleError("bad_segmentation", f"mask {number}: {what}")


def _size_mismatch(what: str, found_hw_px: tuple[int, ...], image_hw_px: tuple[int, int]) -> SampleError:
    return SampleError(
        "mask_size_mismatch",
        f"{what} is {list(found_hw_px)} (height, width) in pixels, the image is {list(image_hw_px)}",
    )


def _checked_rle(
    segmentation: object,
    number: int,
    image_hw_px: tuple[int, int],
    polygon_hw_px: tuple[int, int] | None,
) -> Rle:
    """Polygons or RLE as Rle, checked first: pycocotools reads past the end of a malformed one in silence."""
    checked: Mapping[str, Any] | list[list[float]]
    if isinstance(segmentation, Mapping):
        _check_rle(segmentation, number, image_hw_px)
        checked = segmentation
    elif isinstance(segmentation, list | tuple):
        if polygon_hw_px is not None and tuple(polygon_hw_px) != image_hw_px:
            raise _size_mismatch(f"mask {number}: the annotated image", polygon_hw_px, image_hw_px)
        checked = [_checked_polygon(polygon, number, image_hw_px) for polygon in segmentation]
    else:
        raise _bad(number, f"expected COCO polygons or RLE, got {type(segmentation).__name__}")
    try:
        return Rle.from_coco(checked, *image_hw_px)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise _bad(number, str(error)) from error


def _check_rle(rle: Mapping[str, Any], number: int, image_hw_px: tuple[int, int]) -> None:
    try:
        height_px, width_px = (int(value) for value in rle["size"])
        counts = rle["counts"]
        runs = _decoded_counts(counts) if isinstance(counts, str | bytes) else np.asarray(counts, dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _bad(number, f"expected RLE {{'size': [height, width], 'counts': ...}}: {error!r}") from error
    if (height_px, width_px) != image_hw_px:
        raise _size_mismatch(f"mask {number}", (height_px, width_px), image_hw_px)
    area_px = height_px * width_px
    if runs.ndim != 1 or (runs < 0).any() or (runs > area_px).any() or int(runs.sum()) != area_px:
        raise _bad(number, f"expected runs that add up to {area_px} pixels, got {int(runs.sum())}")


def _decoded_counts(counts: str | bytes) -> NDArray[np.int64]:
    """Run lengths of COCO's compressed counts: base 32, least digit first, deltas to the run before the last."""
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("counts are no compressed RLE")
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("counts have a run of more than 32 bits")
    shifts = 5 * (np.arange(digits.size) - np.repeat(starts, lengths))
    runs: NDArray[np.int64] = np.add.reduceat((digits & 31) << shifts, starts)
    runs[(digits[ends] & 16) != 0] -= 1 << (5 * lengths[(digits[ends] & 16) != 0])
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _checked_polygon(polygon: object, number: int, image_hw_px: tuple[int, int]) -> list[float]:
    try:
        values = [float(value) for value in cast(Iterable[float], polygon)]
    except (TypeError, ValueError) as error:
        raise _bad(number, "expected a polygon as a list of numbers x y x y ...") from error
    if len(values) % 2:
        raise _bad(number, f"expected x y pairs, got {len(values)} numbers")
    for axis, side_px in ((0, image_hw_px[1]), (1, image_hw_px[0])):
        # Annotators overshoot the border a little; far-off points would only make the rasteriser allocate.
        if any(not math.isfinite(value) or not -side_px <= value <= 2 * side_px for value in values[axis::2]):
            raise _bad(number, f"a point's {'xy'[axis]} lies far outside of the image's {side_px} pixels")
    return values


def _read_panoptic_png(png: str, image_hw_px: tuple[int, int]) -> NDArray[np.uint32]:
    """Segment ids [H, W] of COCO's panoptic PNG: R + 256 G + 65536 B."""
    try:
        with open_file(png) as file, Image.open(file) as picture:
            rgb = np.asarray(picture.convert("RGB"), dtype=np.uint32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError("unreadable_mask_file", f"{png}: expected a panoptic PNG: {error}") from error
    if rgb.shape[:2] != image_hw_px:
        raise _size_mismatch(png, rgb.shape[:2], image_hw_px)
    ids: NDArray[np.uint32] = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    return ids


def _segment(ids: NDArray[np.uint32], reference: Mapping[str, Any], number: int) -> Rle:
    try:
        segment_id = int(reference["segment_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(number, f"expected an integer segment_id beside {reference['png']}") from error
    mask = ids == segment_id
    if not mask.any():
        raise _bad(number, f"segment {segment_id} has no pixel in {reference['png']}")
    return Rle.encode(mask)
