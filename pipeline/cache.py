"""Results of costly stages, kept by the hash of everything that they depend on, and shared between builds."""

from __future__ import annotations

import gzip
import json
from typing import Any

from stages.common import Folder, canonical_json


class Cache:
    """Blobs by kind and key; `url` None keeps nothing.

    An entry is written whole or not at all and never changes, so that any number of processes may share a cache.
    """

    def __init__(self, url: str | None) -> None:
        self._store = Folder(url) if url else None

    def get(self, kind: str, key: str) -> bytes | None:
        return self._store.read_or_none(_name(kind, key)) if self._store else None

    def put(self, kind: str, key: str, data: bytes) -> None:
        if self._store:
            self._store.write(_name(kind, key), data)


def packed(value: object) -> bytes:
    """JSON values as an entry: compressed canonical JSON, equal bytes for equal values."""
    return gzip.compress(canonical_json(value), compresslevel=1, mtime=0)


def unpacked(entry: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """What was packed."""
    return json.loads(gzip.decompress(entry))


def _name(kind: str, key: str) -> str:
    return f"{kind}/{key[:2]}/{key}"
