"""Quick reading of the plain case: a few regular files in ustar headers, one sample and no more."""

from __future__ import annotations

_BLOCK = 512
_SUM = slice(148, 156)
_MAGICS = (b"ustar\x0000", b"ustar  \x00")
_REGULAR = (b"0", b"\x00")


def plain_members(data: bytes) -> list[tuple[str, bytes]] | None:
    """Names and contents of the files in a part of a tar, in their order; None where it is anything but plain.

    Plain are regular files with whole ustar headers, names of ASCII in one field, and sizes in octal digits, up to the
    end of the part or a block of zeros. All else is left to `stages.shards.tar`, the walker that knows every case.
    """
    members: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        header = data[at : at + _BLOCK]
        if not header.strip(b"\0"):
            return None if data[at:].strip(b"\0") else members
        size = _size(header)
        if size is None or at + _BLOCK + size > len(data):
            return None
        name = header[:100].rstrip(b"\0")
        if not name.isascii() or not name.decode("ascii").isprintable():
            return None
        start = at + _BLOCK
        members.append((name.decode("ascii"), data[start : start + size]))
        at = start + -(-size // _BLOCK) * _BLOCK
    return members


def _size(header: bytes) -> int | None:
    """Bytes of a plain file's content; None if the header is another, or damaged."""
    is_plain = len(header) == _BLOCK and header[257:265] in _MAGICS and header[156:157] in _REGULAR
    if not is_plain or header[345] or b"\0" in header[:100].rstrip(b"\0"):
        return None
    digits, told = header[124:136].strip(b" \0"), header[_SUM].strip(b" \0")
    if not digits.isdigit() or not told.isdigit():
        return None
    try:
        size, total = int(digits, 8), int(told, 8)
    except ValueError:
        return None
    return size if sum(header) - sum(header[_SUM]) + 8 * 32 == total else None
