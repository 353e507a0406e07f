"""Texts as people have them, made plain: no characters that nobody sees, letters in one form.

Two spellings that look alike are one word then, for a parser, for a tokenizer and as the name of a class.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]"
)
"""Soft hyphen, zero widths, marks of direction, joiners, variation selectors, byte order mark."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Control characters that are no white space."""
_ODD = re.compile(r"[^\t-\r\x1c-\x7e]")
_ORDINALS = ("\u00aa", "\u00ba")


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text made plain, and where each of its characters comes from.

    Attributes:
        text: the plain text.
        starts, ends: of the characters in the original; None where nothing was changed.
    """

    text: str
    starts: tuple[int, ...] | None = None
    ends: tuple[int, ...] | None = None

    def span_of_original(self, start: int, end: int) -> tuple[int, int]:
        """A span that is not empty, end exclusive, as one of the original text."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def plain_text(text: str) -> PlainText:
    """Removes what nobody sees, writes each letter in its composed form, and control characters as blanks.

    Letters in another dress (ligatures, full width, mathematical) become plain ones; white space stays as it is.
    """
    if not _ODD.search(text):
        return PlainText(text)
    seen = [(char, at) for at, char in enumerate(text) if not _UNSEEN.match(char)]
    if not seen:
        return PlainText("", (), ())
    letters = [at for at, (char, _) in enumerate(seen) if at == 0 or not unicodedata.combining(char)]
    made: list[tuple[str, int, int]] = []
    for first, after in zip(letters, [*letters[1:], len(seen)], strict=True):
        cluster = "".join(char for char, _ in seen[first:after])
        start, end = seen[first][1], seen[after - 1][1] + 1
        made += [(char, start, end) for char in _plain(cluster)]
    plain = "".join(char for char, _, _ in made)
    if plain == text:
        return PlainText(text)
    return PlainText(plain, tuple(start for _, start, _ in made), tuple(end for _, _, end in made))


def clean_text(text: str) -> str:
    """The plain text alone, see `plain_text`."""
    return plain_text(text).text


def clean_name(text: str) -> str:
    """A name, such as a noun's or a class's: plain, with single spaces."""
    return " ".join(clean_text(text).split())


Name = Annotated[str, AfterValidator(clean_name)]
"""A name in a manifest: one that looks like that of a data set is that name."""


def escaped(text: str) -> str:
    """A text that any file and terminal takes: lone surrogates, as in names of files that are no UTF-8, as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_MOST_PAIRS, _FEW_ZEROS = 0.4, 2


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, if a text's first bytes speak of it: by a mark, or by a zero in every second byte alone."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    pairs = len(head) // 2
    even, odd = (head[start : 2 * pairs : 2].count(0) for start in (0, 1))
    most = max(_FEW_ZEROS, _MOST_PAIRS * pairs)
    if max(even, odd) <= most or min(even, odd) > most:  # zeros in both: a hole in the file
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def some(names: Iterable[str], shown: int = 2) -> str:
    """The first names of a list for a message, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown:,} more" if len(listed) > shown else ""
    return (", ".join(listed[:shown]) or "nothing") + more


def _plain(cluster: str) -> str:
    """A character, with the marks that stand on it, in its plain form."""
    composed = _CONTROL.sub(" ", unicodedata.normalize("NFC", cluster))
    if composed.isascii() or not composed.isalpha() or composed in _ORDINALS:
        return composed
    dressed = unicodedata.normalize("NFKC", composed)
    return dressed if dressed.isascii() and dressed.isalpha() else composed
