"""Files of a set: what cannot be read is told by its location."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common import SampleError, UserError, open_file, read_file, version_of
from stages.images import decode_image

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


def stem(path: str, ending: str) -> str:
    """The file's name without folders and the ending."""
    return path.rpartition("/")[2].removesuffix(ending)


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
        with open_file(location) as file, Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise UserError(f"{location}: cannot be read as a picture: {error}") from error
    return (width, height) if turned else (height, width)
