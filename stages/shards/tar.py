"""The one walker of tars: member by member, past what is damaged and on to the end of the file."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Literal, NamedTuple

from stages.shards.tar_header import MAGIC, MAGIC_AT, NAME_BYTES, TarHeader, is_header

_BEFORE_A_HEADER = (b"x", b"g", b"X", b"L", b"K")
_KINDS = {tarfile.LNKTYPE: "hard link", tarfile.SYMTYPE: "symbolic link"}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class DamagedTarError(OSError):
    """A file is no uncompressed tar; or it is damaged, and the caller takes whole tars alone."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something of a tar that is not read.

    Attributes:
        item: what is lost by it: ``shard`` for a part of the tar, ``image`` for a sample, ``caption``; None if nothing.
        reason: short stable code in snake_case.
        message: where it stands (byte, member, key), what was found, what to do.
        key: of the sample, if it is one sample's.
    """

    item: Literal["shard", "image", "caption"] | None
    reason: str
    message: str
    key: str = ""


Tell = Callable[[Trouble], None]


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar.

    Attributes:
        name: with its folders; bytes that are no UTF-8 stand as ``\\xe9``.
        start, end: from its first header to the next member's, in bytes.
        offset, nbytes: place of its content.
        is_canonical: its header has the fixed owner, mode and time of a shard that `write_shard` wrote.
        data: its content, where it was asked for; else empty.
    """

    name: str
    start: int
    end: int
    offset: int
    nbytes: int
    is_canonical: bool
    data: bytes = b""


def iterate_members(file: IO[bytes], wanted: Callable[[str], bool], tell: Tell | None = None) -> Iterator[Member]:
    """Files of an uncompressed tar, in its order; memory stays flat however long it is.

    It ends at the end of the file alone: tars that are joined to it are read as well, and behind damage it goes on at
    the next header. What is neither a file nor a folder has no content of its own and is no member.

    Args:
        file: open for reading; it must be possible to seek in it.
        wanted: whether the content of a name is wanted.
        tell: called with what is not read; without it, damage is an error.

    Raises:
        DamagedTarError: nothing in it is a tar; without `tell`, at the first damage.
        OSError: it cannot be read.
    """
    tell = tell or _refuse
    size, place = file.seek(0, io.SEEK_END), 0
    while True:
        last: _Entry | None = None
        for entry in _entries(file, place, wanted):
            if last is not None:
                yield from _files(last, tell)
            last = entry
        after = _behind(file, size, place, last)
        if last is not None and after.is_last_whole:
            yield from _files(last, tell)
        if after.trouble is not None:
            tell(after.trouble)
        if after.place is None:
            return
        place = after.place


def shown(name: str) -> str:
    """A name that any file can hold: bytes that are no UTF-8 as ``\\xe9``, lone surrogates as ``\\ud800``."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


class _Entry(NamedTuple):
    """A header with the byte that its content ends before, blocks filled up, and the content if it is wanted."""

    header: tarfile.TarInfo
    end: int
    data: bytes

    @property
    def name(self) -> str:
        return shown(self.header.name)

    @property
    def content_end(self) -> int:
        return int(self.header.offset_data) + (self.header.size if self.header.isfile() else 0)


class _Behind(NamedTuple):
    """What stands behind the last header that could be read in a row.

    Attributes:
        place: of the header to go on with; None at the end.
        trouble: what is lost there, or known of it.
        is_last_whole: whether the last member's content is all there.
    """

    place: int | None
    trouble: Trouble | None
    is_last_whole: bool = True


def _refuse(trouble: Trouble) -> None:
    if trouble.reason in ("damaged_shard", "cut_shard"):
        raise DamagedTarError(f"no uncompressed tar, or a damaged one: {trouble.message}")


def _entries(file: IO[bytes], place: int, wanted: Callable[[str], bool]) -> Iterator[_Entry]:
    """Members from a place up to the first zeros, damage, or the end of the file."""
    file.seek(place)
    try:
        tar = tarfile.TarFile(fileobj=file, tarinfo=TarHeader, encoding="utf-8", errors="surrogateescape")
        while (header := tar.next()) is not None and tar.offset > header.offset:
            tar.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header
            data, end = b"", tar.offset
            if header.isfile() and wanted(shown(header.name)):
                file.seek(header.offset_data)
                data = file.read(header.size)
            yield _Entry(header, end, data)
    except OSError:
        raise
    except Exception:  # tarfile meets damaged headers with errors of any kind; what stands there is looked at below
        return


def _files(entry: _Entry, tell: Tell) -> Iterator[Member]:
    header = entry.header
    if header.isfile() and not header.issparse():
        is_canonical = (header.mtime, header.uid, header.gid, header.mode) == (0, 0, 0, 0o644)
        place = (header.offset, entry.end, header.offset_data, header.size)
        yield Member(entry.name, *place, is_canonical, entry.data)
    elif not header.isdir():
        kind = "sparse file" if header.isfile() else _KINDS.get(header.type, "special file")
        message = (
            f"{entry.name} at byte {header.offset} is a {kind}, whose content does not stand there; pack the tar with "
            "--dereference --hard-dereference, and without --sparse"
        )
        tell(Trouble("shard", "unusable_member", message))


def _behind(file: IO[bytes], size: int, place: int, last: _Entry | None) -> _Behind:
    """Looks at what follows the last member; or, if none could be read, at the place itself."""
    end = place if last is None else last.end
    inside = None if last is None else _header_inside(file, last, size)
    if last is not None and last.content_end > (size if inside is None else inside):
        to = f"the file ends at byte {size}" if inside is None else f"the next header stands at byte {inside}"
        begin, reach = last.header.offset, last.content_end
        message = f"{last.name} at byte {begin} is cut off: it should reach to byte {reach}, {to}"
        return _Behind(inside, Trouble("shard", "cut_shard", message), is_last_whole=False)
    if inside is not None:
        message = f"cut off at byte {inside}, within zeros: another tar begins there, members may be missing"
        return _Behind(inside, Trouble("shard", "cut_shard", message))
    first = _first_that_is_not_zero(file, end, size)
    if first == size and end < size:
        return _Behind(None, None)
    if first < size and (last is not None or first > place) and is_header(_read(file, first, tarfile.BLOCKSIZE)):
        joined = f"another tar is joined to it at byte {first}, behind the zeros from byte {end}; it is read as well"
        return _Behind(first, Trouble(None, "joined_tars", joined) if first > end else None)
    if last is None:
        return _past(file, size, first, _end_of_extension(file, place) if first == place else first, "")
    if end >= size:
        message = f"cut off at byte {size}, behind {last.name}: a tar ends with zeros, members are probably missing"
        return _Behind(None, Trouble("shard", "cut_shard", message))
    return _past(file, size, first, first, f" behind {last.name}")


def _past(file: IO[bytes], size: int, start: int, search: int, behind: str) -> _Behind:
    """Past damage that begins at a byte, on to the next header from another one on, if there is one.

    Raises:
        DamagedTarError: the damage is at the file's beginning, and there is no header in all of it.
    """
    found = _find_header(file, search, size)
    block = _read(file, start, tarfile.BLOCKSIZE)
    if found is None and start < tarfile.BLOCKSIZE and not is_header(block):
        raise DamagedTarError(_what_it_is(_read(file, 0, tarfile.BLOCKSIZE), size))
    name = block[:NAME_BYTES].partition(b"\0")[0].decode("utf-8", "backslashreplace")
    header = f" (the header of {name})" if name and block[MAGIC_AT:].startswith(MAGIC) else ""
    if found is not None:
        message = f"damaged at byte {start}{behind}{header}; nothing up to byte {found} can be read"
    elif len(block) < tarfile.BLOCKSIZE:
        return _Behind(None, Trouble("shard", "cut_shard", f"cut off at byte {size}, within a header at byte {start}"))
    else:
        message = f"damaged at byte {start}{behind}{header}; the rest, to byte {size}, cannot be read"
    return _Behind(found, Trouble("shard", "damaged_shard", message))


def _end_of_extension(file: IO[bytes], place: int) -> int:
    """Where to go on from a place that cannot be read: behind the header that it is an extension of, if it is one, as
    name, size or kind of that member are lost; else at the next byte.
    """
    with contextlib.suppress(tarfile.TarError, ValueError, OverflowError):
        extension = TarHeader.frombuf(_read(file, place, tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        member = place + tarfile.BLOCKSIZE * (1 + -(-extension.size // tarfile.BLOCKSIZE))
        if extension.type in _BEFORE_A_HEADER and is_header(_read(file, member, tarfile.BLOCKSIZE)):
            return member + 1
    return place + 1


def _header_inside(file: IO[bytes], last: _Entry, size: int) -> int | None:
    """A header within a member's content, or in the zeros that fill it up: it was cut off there, and a tar joined."""
    is_tar = last.name.lower().endswith(".tar")
    return None if is_tar else _find_header(file, last.header.offset_data, min(size, last.end))


def _find_header(file: IO[bytes], start: int, end: int) -> int | None:
    """The first byte of [start, end) at which a header stands whose name can be trusted.

    A long name, or one of other letters, stands in a header of its own before the member's, which then has but the
    beginning of it, or question marks.
    """
    for base, count in _pieces(start, end):
        piece = _read(file, base, count + tarfile.BLOCKSIZE)
        at = piece.find(MAGIC, MAGIC_AT) - MAGIC_AT
        while 0 <= at < count:
            block = piece[at : at + tarfile.BLOCKSIZE]
            name, kind = block[:NAME_BYTES], block[156:157]
            is_whole = kind in _BEFORE_A_HEADER or (name[-1] == 0 and b"?" not in name)
            if is_whole and is_header(block):
                return base + at
            at = piece.find(MAGIC, at + MAGIC_AT + 1) - MAGIC_AT
    return None


def _first_that_is_not_zero(file: IO[bytes], start: int, size: int) -> int:
    for base, count in _pieces(start, size):
        piece = _read(file, base, count)
        if rest := piece.lstrip(b"\0"):
            return base + len(piece) - len(rest)
    return size


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) as places and lengths, short ones first, as what is looked for is mostly near."""
    nbytes = 1 << 13
    while start < end:
        yield start, min(nbytes, end - start)
        start += nbytes
        nbytes = min(2 * nbytes, 1 << 20)


def _read(file: IO[bytes], start: int, nbytes: int) -> bytes:
    file.seek(start)
    return file.read(nbytes)


def _what_it_is(begin: bytes, size: int) -> str:
    """What a file that is no tar seems to be."""
    if not size:
        return "it has 0 bytes"
    packed = next((name for sign, name in _COMPRESSED.items() if begin.startswith(sign)), None)
    if packed is not None:
        return f"it is compressed ({packed}); unpack it first, as pictures are read by their place in the tar"
    return f"it has no tar header; it begins with {begin[:24]!r}"
