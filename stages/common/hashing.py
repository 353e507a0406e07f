"""Canonical JSON: one text for one value, so that its bytes can be hashed and compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """UTF-8, keys sorted, no spaces, no NaN.

    Raises:
        ValueError: the value holds NaN or infinity.
        TypeError: the value is not JSON.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A lone surrogate (a caption may hold one) has no UTF-8; it is written as '?', as nothing else can read it either.
    return text.encode("utf-8", errors="replace")


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 of the value's canonical JSON, as 64 hexadecimal digits."""
    return sha256_hex(canonical_json(value))
