"""One driver per folder: the second is refused, and says who is the first."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stages.common import Folder, UserError, canonical_json

LOCK = ".maskmine/driver.lock"


@contextmanager
def only_driver(store: Folder, take_over: bool = False) -> Iterator[None]:
    """Holds a build's folder for this process.

    On a local disk the operating system holds the lock, and lets go of it however the process ends. Behind a URL it
    is a small object: if its holder was killed on this machine it is taken over, otherwise only with `take_over`.

    Raises:
        UserError: another driver works on the folder.
    """
    holder = {"host": socket.gethostname(), "pid": os.getpid()}
    if store.is_local:
        with _held(Path(store.path(LOCK)), holder, store.url):
            yield
        return
    _take_remote(store, holder, take_over)
    try:
        yield
    finally:
        if store.read_or_none(LOCK) == canonical_json(holder):  # not that of one who has taken over
            store.fs.rm_file(store.path(LOCK))


@contextmanager
def _held(path: Path, holder: dict[str, Any], url: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No soft lock where a disk has no locks of its own: a killed driver's would stay.
    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        held = lock.acquire()
    except Timeout as error:
        raise UserError(_refusal(url, path.read_bytes())) from error
    with held:
        path.write_bytes(canonical_json(holder))  # whom to name to a second driver
        yield


def _take_remote(store: Folder, holder: dict[str, Any], take_over: bool) -> None:
    found = store.read_or_none(LOCK)
    if found is not None and not take_over and not _dead_here(found):
        raise UserError(f"{_refusal(store.url, found)} If that process is gone, take the folder over (--take-over).")
    if found is not None:
        store.write(LOCK, canonical_json(holder))
        return
    try:  # of two that start at the same time, one comes first
        store.fs.pipe_file(store.path(LOCK), canonical_json(holder), mode="create")
    except FileExistsError as error:
        raise UserError(_refusal(store.url, store.read(LOCK))) from error


def _dead_here(found: bytes) -> bool:
    """Whether the lock's holder was a process of this machine that no longer runs."""
    values = _parsed(found)
    if values.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(values.get("pid", 0)), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, TypeError, OverflowError):
        return False
    return False


def _refusal(url: str, found: bytes) -> str:
    values = _parsed(found)
    who = f"process {values.get('pid', '?')} on {values.get('host', '?')}"
    return f"{url}: another build works on this folder ({who}); wait for it, or stop it."


def _parsed(found: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(found))
    except (ValueError, TypeError):
        return {}
