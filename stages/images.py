"""Decoding of photos: bytes in, upright 8-bit RGB out."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterable
from typing import IO, TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from stages.common import SampleError

Result = TypeVar("Result")
_PNG = b"\x89PNG\r\n\x1a\n"
_JFIF, _JPEG_END = b"\xff\xd8\xff\xe0", b"\xff\xd9"
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Marks of a JPEG's frame: baseline, extended, progressive."""
_NOT_PLAIN = (0xDA, 0xE1, 0xEE)
"""Marks before the frame of a JPEG that is none of the commonest: pixels, EXIF, Adobe's colours."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PHOTO_ENDINGS = (".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as a photo in a folder, in any case."""
MAX_SIDE_PX = 65_500
"""The longest side that libjpeg writes: crops of a photo are stored as JPEG."""


def decode_image(data: bytes, max_pixels: int = 100_000_000) -> NDArray[np.uint8]:
    """Decodes a photo of any format that Pillow reads.

    EXIF orientation is applied, so that the photo is upright; damaged EXIF is ignored; CMYK is converted; 16-bit
    grey is scaled (not clipped) to 8 bits; transparency is laid on white, as a browser would show it.

    Args:
        data: the file's bytes.
        max_pixels: larger photos are refused before they are decoded, as are those with a side over MAX_SIDE_PX.

    Returns:
        [H, W, 3] RGB, uint8.

    Raises:
        SampleError: empty_file, undecodable_image (also: truncated), image_too_large.
    """
    if not data:
        raise SampleError("empty_file", "the file has 0 bytes; expected an encoded image")
    if (photo := _plain_jpeg(data, max_pixels)) is not None:
        return photo
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; max_pixels decides here, with an error of our own.
            warnings.simplefilter("ignore")
            return as_good_without_texts(lambda file: _decoded(file, max_pixels), data)
    except (SampleError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise SampleError("image_too_large", f"expected at most {max_pixels} pixels: {error}") from error
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise SampleError("undecodable_image", f"expected an image that Pillow reads: {_plain(error)}") from error


def as_good_without_texts(decode: Callable[[IO[bytes]], Result], data: bytes) -> Result:
    """What `decode` makes of a file; of a PNG whose texts or colour profile are too long or damaged, without those.

    Raises:
        Exception: that of `decode`.
    """
    try:
        return decode(io.BytesIO(data))
    except (ValueError, SyntaxError, OSError):
        plain = _without_texts(data)
        if len(plain) == len(data):
            raise
    return decode(io.BytesIO(plain))


def _without_texts(data: bytes) -> bytes:
    """A PNG without the chunks that say nothing of its pixels; anything else as it is."""
    if not data.startswith(_PNG):
        return data
    kept, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        after = at + 12 + int.from_bytes(data[at : at + 4], "big")  # length, name, content, checksum
        if data[at + 4 : at + 8] not in _TEXTS:
            kept.append(data[at:after])
        at = after
    return b"".join(kept)


def files_of_kind(names: Iterable[str], endings: tuple[str, ...] = PHOTO_ENDINGS) -> tuple[list[str], list[str]]:
    """Names of files with one of the endings, in any case, sorted; and the others.

    A name that begins with a dot is one of the others: it is hidden, and ``._x.jpg`` is what macOS keeps beside x.jpg.
    """
    kind: list[str] = []
    others: list[str] = []
    for name in sorted(names):
        is_hidden = name.rpartition("/")[2].startswith(".")
        (kind if name.lower().endswith(endings) and not is_hidden else others).append(name)
    return kind, others


def _plain_jpeg(data: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """A JPEG of the commonest kind, by simplejpeg; None for any other, and for a large or damaged one.

    Pillow gives the same pixels, as both have libjpeg-turbo, in half as long again. The commonest kind is: JFIF, so
    that the colours are YCbCr; three components of 8 bits; no EXIF, which may turn it. Of a damaged one Pillow decides.
    """
    if not data.startswith(_JFIF) or not data.endswith(_JPEG_END):
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] not in _NOT_PLAIN:
        mark, length, bits, height, width, parts = struct.unpack_from(">xBHBHHB", data, at)
        if mark in _FRAMES:
            is_plain = bits == 8 and parts == 3 and 0 < height * width <= max_pixels
            if not is_plain or max(height, width) > MAX_SIDE_PX:
                return None
            return _strictly(data)
        at += 2 + length
    return None


def _strictly(data: bytes) -> NDArray[np.uint8] | None:
    try:
        photo: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError:
        return None
    return photo


def _decoded(file: IO[bytes], max_pixels: int) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        _check(image, max_pixels)
        image.load()
        return np.array(_to_rgb(_upright(image)), dtype=np.uint8)


def _check(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE_PX:
        found = f"{image.width}x{image.height} pixels"
        raise SampleError("image_too_large", f"{found}; expected at most {max_pixels} in all, {MAX_SIDE_PX} per side")
    if image.format == "EPS":
        # Pillow would run Ghostscript on it, a program that may differ or lack, on a file that nobody vouches for.
        raise SampleError("undecodable_image", "expected a raster image, found PostScript")


def _upright(image: Image.Image) -> Image.Image:
    """The photo turned as its EXIF says. Not Pillow's own function: it fails where any other tag is damaged."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a photo is as good without its EXIF
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES or image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.round(values.clip(0, 65535) / 257.0).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def _plain(error: BaseException) -> str:
    """The error's text without memory addresses, so that quarantine tables of two builds are alike."""
    text = str(error)
    return "unknown or damaged format" if "<_io." in text else text
