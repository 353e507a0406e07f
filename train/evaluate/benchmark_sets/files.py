"""Files of a set: pictures, and label maps of any published form, one id per pixel out; what cannot be read is told."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any

import cv2
import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from stages.common import SampleError, UserError, open_file, read_file, version_of
from stages.images import as_good_without_texts, decode_image

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


def stem(path: str, ending: str) -> str:
    """The file's name without folders and the ending, which it may have in any case."""
    name = path.rpartition("/")[2]
    return name[: -len(ending)] if name.lower().endswith(ending) else name


def read_data(location: str) -> bytes:
    """A file's bytes.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        return read_file(location)
    except OSError as error:
        raise UserError(f"{location}: cannot be read: {error}") from error


def read_picture(location: str) -> NDArray[np.uint8]:
    """A picture, upright, [H, W, 3] RGB, uint8.

    Raises:
        UserError: it is missing or no picture.
    """
    try:
        return decode_image(read_data(location))
    except SampleError as error:
        raise UserError(f"{location}: cannot be read as a picture: {error.message}") from error


def version(location: str) -> list[str]:
    """What tells a file from an earlier one of its name; see version_of.

    Raises:
        UserError: it is missing.
    """
    try:
        return version_of(location)
    except OSError as error:
        raise UserError(f"{location}: cannot be read: {error}") from error


def picture_size(location: str) -> tuple[int, int]:
    """Height and width of a picture as it is decoded, upright; nothing but its header is read.

    Raises:
        UserError: it is missing or no picture.
    """
    try:
        with open_file(location) as file:
            return _size(file)
    except FileNotFoundError as error:
        raise UserError(f"{location}: cannot be read as a picture: {error}") from error
    except Exception:  # the header may be sound, and too long
        try:
            return as_good_without_texts(_size, read_data(location))
        except UserError:
            raise
        except Exception as error:  # decoders of damaged files raise errors of any kind
            raise UserError(f"{location}: cannot be read as a picture: {error}") from error


def _size(file: IO[bytes]) -> tuple[int, int]:
    with Image.open(file) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _TURNED
    return (width, height) if turned else (height, width)


Decoder = Callable[[bytes, str], NDArray[np.int64]]


def decode_labels(data: bytes, source: str) -> NDArray[np.int64]:
    """Decodes a PNG or TIFF of one channel, 8 or 16 bits, grey or with a palette.

    Args:
        data: the file's bytes.
        source: its name, for messages.

    Returns:
        [H, W] int64, the ids as they stand in the file.

    Raises:
        UserError: it is no such picture.
    """
    labels = _decode(data, source)
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        found = f"{labels.shape[2]} channels" if labels.ndim == 3 else f"numbers of type {labels.dtype}"
        raise UserError(f"{source}: has {found}; expected a label map with one whole number per pixel, 8 or 16 bits")
    return labels.astype(np.int64)


def decode_ade(data: bytes, source: str) -> NDArray[np.int64]:
    """Decodes ADE20K's ``_seg.png``, whose red and green channels hold the object's index.

    index = R // 10 * 256 + G, 0 where nothing is labelled, as in loadAde20K of the data set's own tools.

    Args:
        data: the file's bytes.
        source: its name, for messages.

    Returns:
        [H, W] int64, indices into the full list of 3,000 objects and more, counted from 1.

    Raises:
        UserError: it is no colour picture.
    """
    pixels = _decode(data, source)
    if pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.dtype != np.uint8:
        raise UserError(
            f"{source}: is no 8-bit colour picture; expected ADE20K's *_seg.png (index = R // 10 * 256 + G)"
        )
    red, green = pixels[:, :, 0].astype(np.int64), pixels[:, :, 1].astype(np.int64)
    return red // 10 * 256 + green


def decode_mat(data: bytes, source: str) -> NDArray[np.int64]:
    """Decodes Pascal Context's MATLAB file: its variable LabelMap.

    Args:
        data: the file's bytes.
        source: its name, for messages.

    Returns:
        [H, W] int64, 1 to 459, 0 where nothing is labelled.

    Raises:
        UserError: it is no MATLAB file (version 4 to 7.2), or lacks LabelMap.
    """
    expected = "expected Pascal Context's MATLAB file with the variable LabelMap"
    try:
        labels = scipy.io.loadmat(io.BytesIO(data), variable_names=["LabelMap"])["LabelMap"]
    except KeyError as error:
        raise UserError(f"{source}: has no LabelMap; {expected}") from error
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise UserError(f"{source}: {expected}: {error}") from error
    if labels.ndim != 2:
        raise UserError(f"{source}: LabelMap has {labels.ndim} dimensions; {expected}")
    return np.asarray(labels).astype(np.int64)


def to_classes(labels: NDArray[np.int64], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers of the classes.

    Args:
        labels: [H, W] ids.
        table: [ids] int32, the class of each id; the last entry stands for all higher ids.

    Returns:
        [H, W] int32, 0 to C - 1, or -1 where the pixel is not scored.
    """
    numbers: NDArray[np.int32] = table[np.clip(labels, -1, len(table) - 1)]
    return numbers


def shrink(pixels: NDArray[Any], short_side_px: int, interpolation: int) -> NDArray[Any]:
    """Resizes so that the shorter side is at most `short_side_px`, as MaskFormer prepares ADE20K-full.

    Args:
        pixels: [H, W] or [H, W, 3].
        short_side_px: smaller ones stay as they are.
        interpolation: cv2's: INTER_LINEAR for pictures, INTER_NEAREST for label maps.
    """
    height, width = pixels.shape[:2]
    if min(height, width) <= short_side_px:
        return pixels
    if height <= width:
        size = round(width / float(height) * short_side_px), short_side_px
    else:
        size = short_side_px, round(height / float(width) * short_side_px)
    return cv2.resize(pixels, size, interpolation=interpolation)


def _decode(data: bytes, source: str) -> NDArray[Any]:
    try:
        return as_good_without_texts(_values, data)
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise UserError(f"{source}: cannot be read as a label map: {error}") from error


def _values(file: IO[bytes]) -> NDArray[Any]:
    with Image.open(file) as image:
        return np.array(image)
