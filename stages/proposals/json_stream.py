"""Reads the elements of a large JSON document one by one: COCO's annotation files do not fit into memory twice."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from stages.common import UserError, open_file

_CHUNK_CHARS = 1 << 20
_MOST_DIGITS = 4300
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""How files of these first bytes are unpacked, whatever they are called."""
_decode = json.JSONDecoder().raw_decode
_decode_leniently = json.JSONDecoder(parse_int=lambda digits: _whole(digits)).raw_decode
"""Several times as slow."""


def _whole(digits: str) -> int | float:
    """A whole number; one of thousands of digits, which Python does not read, is infinite."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an array in the document.

    Attributes:
        key: the array's key; empty where the document itself is the array.
        index: its place in the array.
        value: the parsed element.
        text: the element as it stands in the file.
    """

    key: str
    index: int
    value: Any
    text: str


def read_elements(path: str, arrays: set[str] | None = None) -> Iterator[Element]:
    """Elements of a file, see `iterate_elements`.

    The text may be packed (gzip, bzip2, xz), and in any encoding of Unicode. Bytes that are no text become lone
    surrogates, so that the entries that hold them can be told from the others.

    Raises:
        UserError: the file cannot be read, or is no JSON; names the place.
    """
    with opened(path) as raw, _as_text(raw) as file:
        yield from iterate_elements(file, path, arrays)


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """A file's bytes; what keeps it from being read becomes a UserError."""
    try:
        with open_file(path) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: does not exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected text in UTF-8: {error}") from error
    except (OSError, EOFError, ValueError, TypeError, ImportError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


@contextmanager
def _as_text(raw: IO[bytes]) -> Iterator[IO[str]]:
    data = io.BufferedReader(cast(io.RawIOBase, raw))
    first = data.peek(8)
    unpack = next((unpack for magic, unpack in _PACKED.items() if first.startswith(magic)), None)
    if unpack is not None:
        data = io.BufferedReader(unpack(data))
    with io.TextIOWrapper(data, json.detect_encoding(data.peek(4)[:4]), "surrogateescape") as file:
        yield file


def iterate_elements(file: IO[str], path: str, arrays: set[str] | None = None) -> Iterator[Element]:
    """Elements of a document that is an array, or of all arrays directly inside of one object; the rest is skipped.

    Args:
        file: the document's text.
        path: its name, for messages.
        arrays: gets the keys of the arrays, empty ones as well.

    Raises:
        UserError: the document is not JSON, or neither an array nor an object.
    """
    reader = _Reader(file, path)
    arrays = set() if arrays is None else arrays
    start = reader.take()
    if start == "[":
        arrays.add("")
        yield from _array(reader, "")
    elif start == "{":
        more = not reader.took("}")
        while more:
            key, _ = reader.value()
            reader.expect(":")
            if reader.took("["):
                arrays.add(str(key))
                yield from _array(reader, str(key))
            else:
                reader.value()
            more = reader.goes_on("}")
    else:
        raise UserError(f"{path}: expected JSON that starts with [ or {{, got {start!r}")
    if reader.take():
        raise reader.error("nothing more after the end of the document")


def _array(reader: _Reader, key: str) -> Iterator[Element]:
    if reader.took("]"):
        return
    index = 0
    while True:
        value, text = reader.value()
        yield Element(key, index, value, text)
        index += 1
        if not reader.goes_on("]"):
            return


class _Reader:
    """A window on the text that moves on over whole JSON values."""

    def __init__(self, file: IO[str], path: str) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._passed, self._lines = "", 0, 0, 1
        self._ended = False

    def _read(self, number_chars: int) -> None:
        chunk = self._file.read(number_chars)
        self._ended = not chunk
        self._lines += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + chunk
        self._passed += self._at
        self._at = 0

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._read(_CHUNK_CHARS)

    def take(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def took(self, char: str) -> bool:
        found = self._peek() == char
        self._at += found
        return found

    def expect(self, char: str) -> None:
        if not self.took(char):
            raise self.error(char)

    def goes_on(self, end: str) -> bool:
        """Whether a comma stands here, or else the end."""
        if not self.took(","):
            self.expect(end)
            return False
        if self._peek() == end:
            raise self.error(f"something between the comma and {end}; remove the comma")
        return True

    def error(self, expected: str, at: int | None = None) -> UserError:
        at = self._at if at is None else at
        line = self._lines + self._text.count("\n", 0, at)
        if self._ended and not self._text[at:].strip():
            expected = f"{expected}, and the file ends: is it cut off?"
        place = f"line {line} (character {self._passed + at} of the file)"
        return UserError(f"{self._path}: not valid JSON at {place}: expected {expected}")

    def _decoded(self) -> tuple[Any, int]:
        try:
            return _decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number that is too long
            return _decode_leniently(self._text, self._at)

    def value(self) -> tuple[Any, str]:
        """The next value, and its text."""
        self._peek()
        step_chars = _CHUNK_CHARS
        while True:
            try:
                value, end = self._decoded()
            except json.JSONDecodeError as error:
                # What fails well before the end of the window will not be mended by more text, but for a string.
                cut_off = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16
                if self._ended or not cut_off:
                    raise self.error(f"a value ({error.msg})", error.pos) from error
            except RecursionError as error:
                raise self.error("a value that is not nested so deep") from error
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    text = self._text[self._at : end]
                    self._at = end
                    return value, text
            self._read(step_chars)
            step_chars *= 2
