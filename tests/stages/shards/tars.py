"""Tars for tests, member by member, whole or damaged."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

BLOCK = tarfile.BLOCKSIZE


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """A header."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def tar_of(members: Sequence[tuple[str | tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of files by name, or of other headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for name, data in members:
            info = member(name, len(data)) if isinstance(name, str) else name
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_bytes(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def damaged(data: bytes, name: bytes, at: int = 0) -> bytes:
    """The tar with its first header of a name made unreadable, or another of its bytes changed."""
    place = data.index(name) + at
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def without_end(data: bytes) -> bytes:
    """The tar up to the end of its last member, without the zeros of its end."""
    return data[: -(-len(data.rstrip(b"\0")) // BLOCK) * BLOCK]
