"""Files on a local disk or behind an fsspec URL: where they are, and their bytes."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec

from stages.common.errors import UserError

Result = TypeVar("Result")
_NOT_THERE = (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError)


def open_location(url: str) -> tuple[Any, str]:
    """fsspec file system and path of a path or URL.

    Raises:
        UserError: the URL's protocol is unknown, or its package is missing.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, **({"use_listings_cache": False} if "://" in url else {}))
    except (ValueError, ImportError) as error:
        raise UserError(
            f"{url}: {error}; expected a path or a URL that fsspec knows, such as s3://bucket/key"
        ) from error
    return fs, path


def join(location: str, name: str) -> str:
    """The location of a file below a folder, whose name may have folders itself; a path that is absolute stays so."""
    if "://" not in location:
        return str(Path(location) / name)
    return f"{location.rstrip('/')}/{name}"


@contextmanager
def local_path(location: str) -> Iterator[Path]:
    """The path of a file or folder, or of a `local_copy` of it; errors that name the copy name the location instead.

    Raises:
        UserError: as local_copy.
    """
    path = local_copy(location)
    try:
        yield path
    except UserError as error:
        if "://" not in location:
            raise
        raise UserError(str(error).replace(str(path), location.rstrip("/"))) from error


def local_copy(location: str) -> Path:
    """A path for what can read paths alone: that of a local file or folder, which need not exist, or that of a copy.

    What lies behind a URL is copied once in this process, into a folder that goes with the process.

    Raises:
        UserError: there is nothing behind the URL, or it cannot be read.
    """
    if "://" not in location:
        return Path(location)
    fs, path = open_location(location)
    if "file" in ([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol):
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


def read_bytes(fs: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:  # noqa: ANN401
    """Reads a file or a range of it; what may pass (network) is tried three times.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: at once, as trying again does not help.
        OSError: the third time.
    """
    return retried(lambda: bytes(fs.cat_file(path, start=start, end=end)))


def retried(action: Callable[[], Result], tries: int = 3) -> Result:
    """Runs an action again if it fails for a reason that may pass, after 1 and 2 seconds."""
    for attempt in range(1, tries):
        try:
            return action()
        except _NOT_THERE:
            raise
        except (OSError, TimeoutError):
            time.sleep(attempt)
    return action()
