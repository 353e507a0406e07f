"""Members of a sample in a tar: what KEY.mask.png is, told apart from KEY.jpg as webdataset does."""

from __future__ import annotations

import io
import json
import tarfile

from webdataset.tariterators import base_plus_ext

from stages.common import SampleError

IMAGES = ("jpg", "jpeg", "png", "webp")
MASK = "mask.png"
_BLOCK = 512


def key_and_extension(name: str) -> tuple[str, str] | None:
    """``folder/KEY.mask.png`` is (``folder/KEY``, ``mask.png``); None for a name without an extension."""
    key, extension = base_plus_ext(name)
    return None if key is None else (key, extension.lower())


def end_of(member: tarfile.TarInfo) -> int:
    """Where the next member's first header begins, in bytes."""
    return member.offset_data + -(-member.size // _BLOCK) * _BLOCK


def read_members(data: bytes, key: str) -> dict[str, bytes]:
    """Contents by extension of the sample `key` from its piece of a tar.

    Raises:
        SampleError: misplaced_sample, if another sample or none lies there.
    """
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                name = key_and_extension(member.name)
                if name is not None and name[0] == key and member.isfile():
                    members[name[1]] = data[member.offset_data : member.offset_data + member.size]
    except tarfile.TarError as error:
        raise SampleError("misplaced_sample", f"no tar member at the place that the index names: {error}") from error
    if not members:
        raise SampleError("misplaced_sample", "another sample lies at the place that the index names")
    return members


def lacking(extensions: set[str]) -> str | None:
    """What a sample lacks to be a pair; None if it is whole."""
    if not extensions.intersection(IMAGES):
        return "KEY.jpg"
    return next((f"KEY.{extension}" for extension in (MASK, "txt") if extension not in extensions), None)


def noun_of(text: bytes) -> str:
    """The noun as KEY.txt has it, white space made single spaces."""
    return " ".join(text.decode("utf-8", errors="replace").split())


def canonical_of(description: bytes | None, noun: str) -> str:
    """``noun_canonical`` of KEY.json, or else the noun in lower case; a damaged JSON says nothing."""
    try:
        values = json.loads(description or b"{}")
    except ValueError:
        values = {}
    found = values.get("noun_canonical") if isinstance(values, dict) else None
    return found if isinstance(found, str) and found else noun.lower()
