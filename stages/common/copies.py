"""Local copies of what lies behind a URL, for libraries that can read paths alone."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path, PurePosixPath

from fsspec.implementations.local import LocalFileSystem

from stages.common.errors import UserError
from stages.common.files import open_location
from stages.common.storage import retried


@contextmanager
def local_path(location: str) -> Iterator[Path]:
    """The path of a file or folder, or of a `local_copy` of it; errors that name the copy name the location instead.

    Raises:
        UserError: as local_copy.
    """
    path = local_copy(location)
    with told_as(location, path):
        yield path


@contextmanager
def told_as(location: str, path: Path) -> Iterator[None]:
    """Errors that name a local copy name the location that it is a copy of instead.

    Raises:
        UserError: as raised inside.
    """
    try:
        yield
    except UserError as error:
        if "://" not in location:
            raise
        raise type(error)(str(error).replace(str(path), location.rstrip("/"))) from error


def local_copy(location: str) -> Path:
    """A path for what can read paths alone: that of a local file or folder, which need not exist, or that of a copy.

    What lies behind a URL is copied once in this process, into a folder that goes with the process.

    Raises:
        UserError: there is nothing behind the URL, or it cannot be read.
    """
    if "://" not in location:
        return Path(location)
    fs, path = open_location(location)
    if isinstance(fs, LocalFileSystem):
        return Path(path)
    return _downloaded(location.rstrip("/"))


@cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="maskmine-")


@cache
def _downloaded(location: str) -> Path:
    fs, path = open_location(location)
    name = path.rstrip("/").rpartition("/")[2]
    target = Path(_copies().name) / hashlib.sha256(location.encode()).hexdigest()[:16] / name
    try:
        if retried(lambda: fs.isfile(path)):
            files = {path: target}
        else:
            inside = {file: file.removeprefix(path.rstrip("/") + "/") for file in retried(lambda: fs.find(path))}
            files = {file: target / below for file, below in inside.items() if ".." not in PurePosixPath(below).parts}
        for file, copy in files.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            retried(partial(fs.get_file, file, str(copy)))
    except FileNotFoundError:
        files = {}
    except Exception as error:  # stores raise errors of many libraries
        raise UserError(
            f"{location}: cannot be read: {error}; check the address, the network and the rights"
        ) from error
    if not files:
        raise UserError(f"{location}: there is no such file or folder")
    return target
