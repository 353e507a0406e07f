"""Tables that are text: unpacked, decoded, and told if they are something else."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.sources.tables.rows import Problems
from stages.common import open_file

GZIP = b"\x1f\x8b"
_HEAD_BYTES = 4096
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_OTHERS = {
    b"PK\x03\x04": "a zip or an Excel file",
    b"PAR1": "a Parquet file (then its name must end in .parquet)",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
_UNDECODED = re.compile("[\udc80-\udcff]")
_IN_A_ROW = re.compile("[\udc80-\udcff]{2}")


@contextmanager
def open_text(problems: Problems, encoding: str | None) -> Iterator[io.TextIOWrapper]:
    """A table's text, unpacked if it is packed by gzip; bytes that are no text stand in it as `undecoded` finds them.

    Args:
        problems: of the table.
        encoding: UTF-8 if None.

    Raises:
        UserError: it is no text, or of another encoding than it seems.
        OSError: it cannot be read.
    """
    with open_file(problems.file) as file:
        is_packed = file.read(2) == GZIP
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if is_packed else file
        try:
            head = stream.read(_HEAD_BYTES)
            stream.seek(0)
            _check(head, encoding, problems)
            name = "utf-8-sig" if encoding is None or codecs.lookup(encoding).name == "utf-8" else encoding
            # A lone carriage return ends a line only where no line of the file ends otherwise.
            newline = "" if "\n" not in head.decode(name, errors="ignore") else "\n"
            with io.TextIOWrapper(stream, name, errors="surrogateescape", newline=newline) as text:
                yield text
        except UnicodeError as error:
            raise problems.refused(
                f"is no {encoding or 'utf-8'}: {error}; set source.encoding to what it is"
            ) from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise problems.refused(f"is packed by gzip and damaged: {error}; unpack what is whole of it") from error


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
    return f"the byte {ord(found[0]) - 0xDC00:#x} is no {encoding or 'utf-8'}; {remedy}"


def _check(head: bytes, encoding: str | None, problems: Problems) -> None:
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            raise problems.refused(f"is {what}, expected text")
    if encoding is None and (looks := _wide_encoding(head)):
        raise problems.refused(f"looks like {looks}, expected utf-8; set source.encoding: {looks}")


def _wide_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes speak of: by a mark, or by a zero in every second byte."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    pairs = len(head) // 2
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs and max(even, odd) > 0.4 * pairs:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None
