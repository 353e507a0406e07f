"""Files on a local disk or behind an fsspec URL: where they are, and their bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from stages.errors import UserError

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
