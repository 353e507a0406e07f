"""Reads the elements of a large JSON document one by one: COCO's annotation files do not fit into memory twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from stages.common import UserError

_CHUNK_CHARS = 1 << 20
_decode = json.JSONDecoder().raw_decode


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


def iterate_elements(file: IO[str], path: str) -> Iterator[Element]:
    """Elements of a document that is an array, or of all arrays directly inside of one object; the rest is skipped.

    Args:
        file: the document's text.
        path: its name, for messages.

    Raises:
        UserError: the document is not JSON, or neither an array nor an object.
    """
    reader = _Reader(file, path)
    start = reader.take()
    if start == "[":
        yield from _array(reader, "")
    elif start == "{":
        more = not reader.took("}")
        while more:
            key, _ = reader.value()
            reader.expect(":")
            if reader.took("["):
                yield from _array(reader, str(key))
            else:
                reader.value()
            more = reader.took(",")
            if not more:
                reader.expect("}")
    else:
        raise UserError(f"{path}: expected JSON that starts with [ or {{, got {start!r}")
    if reader.take():
        raise reader.error("nothing after the end of the document")


def _array(reader: _Reader, key: str) -> Iterator[Element]:
    if reader.took("]"):
        return
    index = 0
    while True:
        value, text = reader.value()
        yield Element(key, index, value, text)
        index += 1
        if not reader.took(","):
            reader.expect("]")
            return


class _Reader:
    """A window on the text that moves on over whole JSON values."""

    def __init__(self, file: IO[str], path: str) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._passed = "", 0, 0
        self._ended = False

    def _read(self, number_chars: int) -> None:
        chunk = self._file.read(number_chars)
        self._ended = not chunk
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

    def error(self, expected: str) -> UserError:
        return UserError(f"{self._path}: not valid JSON at character {self._passed + self._at}: expected {expected}")

    def value(self) -> tuple[Any, str]:
        """The next value, and its text."""
        self._peek()
        step_chars = _CHUNK_CHARS
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # What fails well before the end of the window will not be mended by more text, but for a string.
                cut_off = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16
                if self._ended or not cut_off:
                    raise self.error(f"a value ({error.msg} at {self._passed + error.pos})") from error
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    text = self._text[self._at : end]
                    self._at = end
                    return value, text
            self._read(step_chars)
            step_chars *= 2
