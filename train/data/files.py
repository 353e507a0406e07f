"""Shards by path or fsspec URL: which there are, how long they are, and pieces of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from braceexpand import braceexpand

from stages.common import SampleError, UserError, open_location, read_bytes, retried


def tars_of(pattern: str) -> list[str]:
    """The tars that a folder holds, or that a pattern names, in the order of the pattern.

    Raises:
        UserError: there are none, or one of a range is missing.
    """
    found: list[str] = []
    missing: list[str] = []
    names = list(braceexpand(pattern))
    for name in names:
        fs, path = open_location(name)
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
            "finished build's folder (maskmine build writes one; make demo, those of the world's recipes), a folder of "
            "tars, or tars such as DIR/{00000..00009}.tar"
        )
    return found


def sizes_of(locations: Sequence[str]) -> dict[str, int]:
    """Bytes of each file that exists; folders are listed, so that a thousand shards are a few requests."""
    sizes: dict[str, int] = {}
    for folder in dict.fromkeys(location.rpartition("/")[0] for location in locations):
        fs, path = open_location(folder)
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
    try:
        if "://" in location:
            return read_bytes(*open_location(location), offset, offset + nbytes)
        return retried(lambda: _read_local(location, offset, nbytes))
    except (OSError, TimeoutError) as error:
        raise SampleError("unreadable_shard", f"{type(error).__name__}: {error}") from error


def _read_local(path: str, offset: int, nbytes: int) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, nbytes, offset)
    finally:
        os.close(file)
