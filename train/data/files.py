"""Shards by path or fsspec URL: which there are, how long they are, and pieces of them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import fsspec
from braceexpand import braceexpand

from stages.errors import SampleError, UserError

_WAITS_S = (1.0, 2.0)


def file_system(location: str) -> tuple[Any, str]:
    """fsspec file system and path of a path or URL.

    Raises:
        UserError: the URL's protocol is unknown, or its package is missing.
    """
    try:
        fs, path = fsspec.core.url_to_fs(location, **({"use_listings_cache": False} if "://" in location else {}))
    except (ValueError, ImportError) as error:
        raise UserError(
            f"data.sets.shards: {location}: {error}; expected a path or a URL that fsspec knows, such as s3://bucket/key"
        ) from error
    return fs, path


def tars_of(pattern: str) -> list[str]:
    """The tars that a folder holds, or that a pattern names, in the order of the pattern.

    Raises:
        UserError: there are none, or one of a range is missing.
    """
    found: list[str] = []
    missing: list[str] = []
    names = list(braceexpand(pattern))
    for name in names:
        fs, path = file_system(name)
        if any(sign in path.rpartition("/")[2] for sign in "*?["):
            matches = sorted(fs.glob(path))
        elif fs.isdir(path):
            matches = sorted(fs.glob(f"{path.rstrip('/')}/*.tar"))
        else:
            matches = [path] if fs.exists(path) else []
        found += [fs.unstrip_protocol(match) if "://" in name else match for match in matches]
        missing += [] if matches else [name]
    if missing:
        raise UserError(
            f"data.sets.shards: no shard at {missing[0]} ({len(missing)} of {len(names)} names have none); expected a "
            "finished build's folder, a folder of tars, or tars such as DIR/{00000..00009}.tar"
        )
    return found


def sizes_of(locations: Sequence[str]) -> dict[str, int]:
    """Bytes of each file that exists; folders are listed, so that a thousand shards are a few requests."""
    sizes: dict[str, int] = {}
    for folder in dict.fromkeys(location.rpartition("/")[0] for location in locations):
        fs, path = file_system(folder)
        try:
            entries = fs.ls(path, detail=True)
        except FileNotFoundError:
            continue
        sizes.update({f"{folder}/{entry['name'].rpartition('/')[2]}": entry["size"] or 0 for entry in entries})
    return {location: sizes[location] for location in locations if location in sizes}


def read_range(location: str, offset: int, nbytes: int) -> bytes:
    """A piece of a file. Nothing stays open, so that any process may read; what may pass (network) is tried thrice.

    Raises:
        SampleError: unreadable_shard.
    """
    for wait in (*_WAITS_S, None):
        try:
            return _read(location, offset, nbytes)
        except (OSError, TimeoutError) as error:
            if wait is None or isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
                raise SampleError("unreadable_shard", f"{type(error).__name__}: {error}") from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def _read(location: str, offset: int, nbytes: int) -> bytes:
    if "://" in location:
        fs, path = file_system(location)
        return bytes(fs.cat_file(path, start=offset, end=offset + nbytes))
    file = os.open(location, os.O_RDONLY)
    try:
        return os.pread(file, nbytes, offset)
    finally:
        os.close(file)
