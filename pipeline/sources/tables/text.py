"""Tables that are text: unpacked, decoded, and told if they are something else."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from pipeline.sources.tables.rows import Problems
from stages.common import open_file, wide_encoding

GZIP = b"\x1f\x8b"
_HEAD_BYTES = 4096
_PIECE_BYTES = 1 << 16
_OTHERS = {
    b"PK\x03\x04": "a zip or an Excel file",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    GZIP: "packed by gzip twice",
    b"PAR1": "a Parquet file (then its name must end in .parquet)",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_FEW_CONTROL, _MOST_CONTROL = 8, 0.02
"""Control characters in a text's first bytes, and their share."""
_UNDECODED = re.compile("[\udc00-\udcff]")
_IN_A_ROW = re.compile("[\udc00-\udcff]{2}")
_BYTES_AS_THEY_ARE = "maskmine.bytes"
_BOM = "\ufeff"


@contextmanager
def open_text(problems: Problems, encoding: str | None) -> Iterator[Iterator[str]]:
    """A table's lines, unpacked if it is packed by gzip; bytes that are no text stand in it as `undecoded` finds them.

    A byte order mark at the beginning of a line is left out: files that were joined have several. Of a gzip file that
    is damaged the lines before the damage are given, and what follows is set aside.

    Args:
        problems: of the table.
        encoding: UTF-8 if None.

    Raises:
        UserError: it is no text, or of another encoding than it seems.
        OSError: it cannot be read.
    """
    codecs.register_error(_BYTES_AS_THEY_ARE, _as_surrogates)
    with open_file(problems.file) as file:
        packed = _Unpacked(file) if file.read(2) == GZIP else None
        file.seek(0)
        try:
            stream, head = _opened(file, packed)
            _check(head, encoding, problems)
            is_utf8 = encoding is None or codecs.lookup(encoding).name == "utf-8"
            name, errors = ("utf-8", "surrogateescape") if is_utf8 else (str(encoding), _BYTES_AS_THEY_ARE)
            # A lone carriage return ends a line only where no line of the file ends otherwise.
            newline = "" if "\n" not in head.decode(name, errors="ignore") else "\n"
            with io.TextIOWrapper(stream, name, errors=errors, newline=newline) as text:
                yield _lines(text, packed, problems)
        except UnicodeError as error:
            raise problems.refused(
                f"is no {encoding or 'utf-8'}: {error}; set source.encoding to what it is"
            ) from error


def _opened(file: IO[bytes], packed: _Unpacked | None) -> tuple[Any, bytes]:
    """A stream at its beginning, and its first bytes."""
    if packed is not None:
        stream = io.BufferedReader(packed, _PIECE_BYTES)
        return stream, stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return file, head


class _Unpacked(io.RawIOBase):
    """What is packed by gzip in a file, up to its end or to the first damage.

    Attributes:
        damage: what is wrong where it ends too early.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self.damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer of bytes
        try:
            data = b"" if self.damage else self._file.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.damage, data = error, b""
        buffer[: len(data)] = data
        return len(data)


def _lines(text: io.TextIOWrapper, packed: _Unpacked | None, problems: Problems) -> Iterator[str]:
    """Lines without a byte order mark; of what is damaged the whole ones.

    Raises:
        UserError: it is damaged before the end of its first line.
    """
    whole = 0
    for line in text:
        if packed is not None and packed.damage and not line.endswith(("\n", "\r")):
            break
        whole += 1
        yield line[1:] if line.startswith(_BOM) else line
    if packed is not None and packed.damage:
        damage = f"is packed by gzip and damaged: {packed.damage}"
        if not whole:
            raise problems.refused(damage)
        told = f"the file {damage}; what stands from here on cannot be read: get the file anew"
        problems.row(whole + 1, "damaged_row", told)


def _as_surrogates(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no text, each as the lone surrogate of its number."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


def undecoded(text: str, encoding: str | None) -> str | None:
    """What to say of a text that holds bytes of another encoding; None if there are none."""
    if text.isascii() or (found := _UNDECODED.search(text)) is None:
        return None
    if encoding is not None:
        remedy = "set source.encoding to what it is"
    elif _IN_A_ROW.search(text) is None:  # letters with accents stand alone, as a rule
        remedy = "it looks like cp1252 (Windows): set source.encoding: cp1252"
    else:
        remedy = "it looks like gb18030, shift_jis, euc-kr, cp1251 or the like: set source.encoding to what it is"
    return f"the byte {ord(found[0]) - 0xDC00:#04x} is no {encoding or 'utf-8'}; {remedy}"


def _check(head: bytes, encoding: str | None, problems: Problems) -> None:
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            raise problems.refused(f"is {what}, expected text")
    if encoding is None and (looks := wide_encoding(head)):
        raise problems.refused(f"looks like {looks}, expected utf-8; set source.encoding: {looks}")
    if encoding is None and _is_binary(head):
        raise problems.refused(f"is no text: it begins with {head[:24]!r}")


def _is_binary(head: bytes) -> bool:
    """Whether first bytes are no text of any encoding: no UTF-8, and full of control characters."""
    if len(_CONTROL.findall(head)) <= max(_FEW_CONTROL, _MOST_CONTROL * len(head)):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return False
