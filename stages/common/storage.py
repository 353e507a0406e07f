"""Failures of storages as OSErrors, whatever library they come from, and trying again what may pass."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import Any, TypeVar

Result = TypeVar("Result")
WEB = ("http://", "https://", "ftp://")
"""What begins so lies with any of many hosts, of which one or another is always gone; no folders are listed there."""
NOT_TO_BE_HAD = (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError)
"""A storage's answer that a file cannot be had; trying again does not help."""
_LIBRARIES = {"aiohttp", "botocore", "aiobotocore", "gcsfs"}
_MAY_PASS = {408, 425, 429}
_GONE = {404, 410}
_LONGEST_PAUSE_S = 30.0


class StorageError(OSError):
    """A storage failed, through no fault of a file.

    Attributes:
        status: HTTP status of its answer, if it gave one.
        pause_s: how long it asks not to be asked again; 0 if it says nothing.
        may_pass: whether asking again may help.
    """

    def __init__(self, message: str, status: int | None = None, pause_s: float = 0.0, may_pass: bool = True) -> None:
        super().__init__(message)
        self.status, self.pause_s, self.may_pass = status, pause_s, may_pass


@contextmanager
def storage_errors() -> Iterator[None]:
    """Within it, what fails in a storage's library fails as an OSError.

    Raises:
        FileNotFoundError: there is no such file: HTTP's 404 and 410, or a name that no file can have.
        PermissionError: the storage refuses it: any other 4xx, or an address that no server can have.
        StorageError: the storage fails: 408, 425, 429, 5xx, a body that ends early, no connection, no credentials.
    """
    try:
        yield
    except Exception as error:
        told = _as_os_error(error)
        if told is None:
            raise
        raise told from error


class Translated:
    """A file system of any library, whose methods fail with OSErrors alone."""

    def __init__(self, fs: Any) -> None:  # noqa: ANN401 - fsspec has no types
        self._fs = fs

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        value = getattr(self._fs, name)
        if not callable(value):
            return value

        @wraps(value)
        def method(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            with storage_errors():
                return value(*arguments, **options)

        return method


def retried(action: Callable[[], Result], tries: int = 4) -> Result:
    """Runs an action again if it fails for a reason that may pass: after 1, 2 and 4 s, or as the storage asks.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError: at once.
        OSError: the last time.
    """
    for attempt in range(tries - 1):
        try:
            return _tried(action)
        except NOT_TO_BE_HAD:
            raise
        except StorageError as error:
            if not error.may_pass:
                raise
            time.sleep(min(max(2**attempt, error.pause_s), _LONGEST_PAUSE_S))
        except OSError:
            time.sleep(2**attempt)
    return _tried(action)


def _tried(action: Callable[[], Result]) -> Result:
    with storage_errors():
        return action()


def _as_os_error(error: Exception) -> OSError | None:
    """The error to raise instead; None if the error is right as it is."""
    text = " ".join(str(error).split()) or type(error).__name__
    if getattr(error, "errno", None) == errno.ENAMETOOLONG or (
        isinstance(error, ValueError) and "null byte" in text  # as Python refuses a path with NUL
    ):
        return FileNotFoundError(errno.ENOENT, "no file can have such a name")
    if type(error).__module__.partition(".")[0] not in _LIBRARIES:
        return None
    if type(error.__cause__).__module__ == "aiohttp.http_exceptions":  # aiohttp gives it the status 400
        return StorageError(f"the server's answer is no HTTP: {text}")
    status = getattr(error, "status", None)
    if status in _GONE:
        return FileNotFoundError(errno.ENOENT, f"the server answers {status}")
    if isinstance(error, ValueError) or "Url" in type(error).__name__:  # aiohttp: where a server sends on to
        return PermissionError(errno.EACCES, f"no address of a web server: {text}")
    if not isinstance(status, int):
        may_pass = "Credentials" not in type(error).__name__
        return error if isinstance(error, OSError) else StorageError(text, may_pass=may_pass)
    told = " ".join(f"the server answers {status} {getattr(error, 'message', '')}".split())
    if status >= 500 or status in _MAY_PASS:
        return StorageError(told, status, _pause_s(error))
    return PermissionError(errno.EACCES, told if status else "the server sends on without end")


def _pause_s(error: Exception) -> float:
    """What Retry-After says, in seconds or as a date; 0 without it."""
    asked = str((getattr(error, "headers", None) or {}).get("Retry-After", ""))
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
