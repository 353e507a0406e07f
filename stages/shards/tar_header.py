"""A header of a tar, as it stands or as somebody's tool left it."""

from __future__ import annotations

import re
import tarfile

MAGIC, MAGIC_AT, NAME_BYTES = b"ustar", 257, 100
_SUM = slice(148, 156)


class TarHeader(tarfile.TarInfo):
    """As tarfile's own, and one whose name was replaced in place by one that is no UTF-8 is read as well.

    Its checksum is still that of the old name. That it is no damage shows in this: the new name is one in an old
    encoding, without control characters, and the sums differ by more than one changed byte explains.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> tarfile.TarInfo:  # type: ignore[override]
        """The header in 512 bytes; tarfile.HeaderError if it is none."""
        if _is_renamed(bytes(buf)):
            blank = bytes(buf[: _SUM.start]) + b" " * 8 + bytes(buf[_SUM.stop :])
            buf = blank[: _SUM.start] + b"%06o\0 " % sum(blank) + blank[_SUM.stop :]
        return super().frombuf(buf, encoding, errors)


def is_header(block: bytes) -> bool:
    """Whether 512 bytes are a member's header."""
    try:
        TarHeader.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _is_renamed(block: bytes) -> bool:
    if block[MAGIC_AT : MAGIC_AT + 5] != MAGIC or not re.fullmatch(rb"[0-7]{6}\0 ", block[_SUM]):
        return False
    name = block[:NAME_BYTES].rstrip(b"\0")
    found = sum(block) - sum(block[_SUM]) + 8 * ord(" ")
    if abs(found - int(block[_SUM][:6], 8)) <= 0xFF:
        return False
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        text = name.decode("latin-1")
        return text.isprintable() and "." in text
    return False
