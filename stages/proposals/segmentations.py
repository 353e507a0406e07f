"""COCO's segmentations, checked and in one form: pycocotools reads past the end of a malformed one in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common import Rle, SampleError
from stages.proposals.coco_values import shown, whole_number

BAD = "bad_segmentation"
OTHER_SIZE = "mask_size_mismatch"
Size = tuple[int, int]
"""Height and width in pixels."""
Checked = dict[str, Any] | list[list[float]]
"""RLE, or polygons of x y x y ..., as pycocotools takes them."""


def parsed(segmentation: object) -> object:
    """A segmentation as a value, where it is JSON text.

    Raises:
        SampleError: it is a text, and no JSON.
    """
    if not isinstance(segmentation, str):
        return segmentation
    try:
        value: object = json.loads(segmentation)
    except (ValueError, RecursionError) as error:
        raise SampleError(BAD, f"not JSON: {error}") from error
    return value


def to_rle(segmentation: object, image_hw_px: Size, polygon_hw_px: Size | None = None) -> Rle:
    """The mask of a segmentation on an image.

    Args:
        segmentation: polygons or RLE, see `checked`.
        image_hw_px: of the image.
        polygon_hw_px: of the image that polygons refer to, if the input says so.

    Raises:
        SampleError: ``bad_segmentation``, or ``mask_size_mismatch``: it is on an image of another size.
    """
    made = checked(segmentation, image_hw_px, polygon_hw_px)
    try:
        return Rle.from_coco(made, *image_hw_px)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise SampleError(BAD, str(error)) from error


def checked(segmentation: object, image_hw_px: Size | None, polygon_hw_px: Size | None = None) -> Checked:
    """Polygons or RLE in one form.

    Read is what means one thing: RLE whose numbers are whole; a list of polygons, each of numbers x y x y ... or of
    points [x, y]; and one polygon that is not in a list.

    Args:
        segmentation: a JSON value.
        image_hw_px: of the image; None if it is not known.
        polygon_hw_px: see `to_rle`.

    Raises:
        SampleError: as `to_rle`.
    """
    if isinstance(segmentation, Mapping):
        return _checked_rle(segmentation, image_hw_px)
    if not isinstance(segmentation, list | tuple):
        raise SampleError(BAD, f"expected COCO's polygons or RLE, got {shown(segmentation)}")
    if None not in (image_hw_px, polygon_hw_px) and polygon_hw_px != image_hw_px:
        raise other_size("the annotated image", polygon_hw_px, image_hw_px)
    polygons = [_checked_polygon(polygon, image_hw_px) for polygon in _polygons(segmentation)]
    if not any(len(polygon) >= 6 for polygon in polygons):
        raise SampleError(BAD, "expected a polygon of three points or more")
    return polygons


def other_size(what: str, found_hw_px: Size | None, image_hw_px: Size | None) -> SampleError:
    """That something is of another size than its image."""
    sizes = f"{list(found_hw_px or ())} (height, width) in pixels, the image is {list(image_hw_px or ())}"
    return SampleError(OTHER_SIZE, f"{what} is {sizes}")


def _polygons(segmentation: Sequence[Any]) -> Sequence[Any]:
    """A list of polygons, of one that stands alone as well: ``[x, y, ...]``, or ``[[x, y], [x, y], ...]``."""
    stands_alone = all(not isinstance(part, list | tuple) for part in segmentation) or (
        len(segmentation) >= 3 and all(_is_point(part) for part in segmentation)
    )
    return [segmentation] if segmentation and stands_alone else segmentation


def _is_point(value: object) -> bool:
    return (
        isinstance(value, list | tuple) and len(value) == 2 and not any(isinstance(one, list | tuple) for one in value)
    )


def _checked_polygon(polygon: object, image_hw_px: Size | None) -> list[float]:
    try:
        values = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SampleError(BAD, f"expected a polygon as a list of numbers x y x y ..., got {shown(polygon)}") from error
    if values.ndim == 2 and values.shape[1] == 2:
        values = values.reshape(-1)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise SampleError(BAD, f"expected a polygon as a list of finite numbers x y x y ..., got {shown(polygon)}")
    if len(values) % 2:
        raise SampleError(BAD, f"expected x y pairs, got {len(values)} numbers")
    if image_hw_px is not None:
        _check_near(values, image_hw_px)
    numbers: list[float] = values.tolist()
    return numbers


def _check_near(polygon: NDArray[np.float64], image_hw_px: Size) -> None:
    """Annotators overshoot the border a little; far-off points would only make the rasteriser allocate."""
    for axis, side_px in ((0, image_hw_px[1]), (1, image_hw_px[0])):
        values = polygon[axis::2]
        if len(values) and not (-side_px <= values.min() and values.max() <= 2 * side_px):
            raise SampleError(BAD, f"a point's {'xy'[axis]} lies far outside of the image's {side_px} pixels")


def _checked_rle(rle: Mapping[Any, Any], image_hw_px: Size | None) -> dict[str, Any]:
    try:
        height_px, width_px = (_side(value) for value in rle["size"])
        counts = rle["counts"]
        runs = _decoded(counts) if isinstance(counts, str | bytes) else _listed(counts)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SampleError(BAD, f"expected RLE {{'size': [height, width], 'counts': ...}}: {error!r}") from error
    if image_hw_px is not None and (height_px, width_px) != image_hw_px:
        raise other_size("it", (height_px, width_px), image_hw_px)
    area_px = height_px * width_px
    if (runs < 0).any() or (runs > area_px).any() or int(runs.sum()) != area_px:
        raise SampleError(BAD, f"expected runs that add up to {area_px} pixels, got {int(runs.sum())}")
    return {"size": [height_px, width_px], "counts": counts if isinstance(counts, str | bytes) else runs.tolist()}


def _side(value: object) -> int:
    side_px = whole_number(value)
    if side_px is None:
        raise ValueError(f"{shown(value)} is no number of pixels")
    return side_px


def _listed(counts: object) -> NDArray[np.int64]:
    """Run lengths of a list; 3.0 is 3."""
    runs = np.asarray(counts)
    if runs.ndim != 1 or runs.dtype.kind not in "iuf":
        raise ValueError("counts are no list of numbers")
    if not np.isfinite(runs).all() or (runs != np.trunc(runs)).any() or (np.abs(runs) > 2.0**52).any():
        raise ValueError("counts are no whole numbers")
    return runs.astype(np.int64)


def _decoded(counts: str | bytes) -> NDArray[np.int64]:
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
