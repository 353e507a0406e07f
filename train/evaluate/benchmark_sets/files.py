"""The files below a folder or fsspec URL."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common import SampleError, UserError, open_location, read_bytes
from stages.images import decode_image

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


class Tree:
    """Files below a root; folders are listed, not asked file by file, so that 5,000 of them are one request.

    Args:
        root: a path or fsspec URL.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"
        self._fs, path = open_location(root)
        self._path = path.rstrip("/")

    def shown(self, path: str) -> str:
        """A path below the root as the user would write it."""
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def is_folder(self, path: str = "") -> bool:
        """Whether there is such a folder."""
        return bool(self._fs.isdir(self._full(path)))

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        return bool(self._fs.isfile(self._full(path)))

    def files(self, folder: str, recursive: bool = False) -> list[str]:
        """Paths below the root of a folder's files, sorted; none if there is no such folder."""
        full = self._full(folder)
        try:
            if recursive:
                found = list(self._fs.find(full))
            else:
                found = [entry["name"] for entry in self._fs.ls(full, detail=True) if entry["type"] != "directory"]
        except (FileNotFoundError, NotADirectoryError):
            return []
        inside = full.rstrip("/") + "/"
        return sorted(f"{folder}/{name[len(inside) :]}".lstrip("/") for name in found if name.startswith(inside))

    def _full(self, path: str) -> str:
        return f"{self._path}/{path}" if path else self._path or "/"


def stem(path: str, ending: str) -> str:
    """The file's name without folders and the ending."""
    return path.rpartition("/")[2].removesuffix(ending)


def read_file(location: str) -> bytes:
    """A file's bytes.

    Raises:
        UserError: it is missing or cannot be read.
    """
    fs, path = open_location(location)
    try:
        return read_bytes(fs, path)
    except OSError as error:
        raise UserError(f"{location}: cannot be read: {error}") from error


def read_picture(location: str) -> NDArray[np.uint8]:
    """A picture, upright, [H, W, 3] RGB, uint8.

    Raises:
        UserError: it is missing or no picture.
    """
    try:
        return decode_image(read_file(location))
    except SampleError as error:
        raise UserError(f"{location}: cannot be read as a picture: {error.message}") from error


def version(location: str) -> list[str]:
    """What tells a file from an earlier one of its name without reading it: size and time of change, or a store's tag.

    Raises:
        UserError: it is missing.
    """
    fs, path = open_location(location)
    try:
        info = fs.info(path)
    except OSError as error:
        raise UserError(f"{location}: cannot be read: {error}") from error
    return [str(info.get(key)) for key in ("size", "mtime", "ETag", "LastModified")]


def picture_size(location: str) -> tuple[int, int]:
    """Height and width of a picture as it is decoded, upright; nothing but its header is read.

    Raises:
        UserError: it is missing or no picture.
    """
    fs, path = open_location(location)
    try:
        with fs.open(path, "rb") as file, Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Exception as error:  # decoders of damaged files raise errors of any kind
        raise UserError(f"{location}: cannot be read as a picture: {error}") from error
    return (width, height) if turned else (height, width)
