"""Untrusted text (captions, nouns, file names) made fit to be read on a page. Escaping is the template's work."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

MINUS = "\u2212"
_ELLIPSIS = "…"
_JOINERS = "\u200c\u200d"  # hold emoji and some scripts together, and can do no harm


def clean(text: str) -> str:
    """The text with white space as spaces, and what is invisible or turns the reading direction as ⟨U+202E⟩."""
    return "".join(_visible(sign) for sign in text)


def _visible(sign: str) -> str:
    if sign.isspace():
        return " "
    if sign in _JOINERS or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Cn"):
        return sign
    return f"⟨U+{ord(sign):04X}⟩"


def shorten(text: str, most: int) -> str:
    """At most `most` characters; what is too long loses its middle, as both ends of a path matter."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return text[:head] + _ELLIPSIS + text[len(text) - (most - 1 - head) :]


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A caption in three parts, the middle one being the noun."""

    before: str
    marked: str
    after: str


def marked(text: str, start: int, end: int, around: int = 140) -> MarkedText:
    """Cuts a caption at the noun's characters [start, end), and shortens far text on both sides of it.

    Args:
        text: the caption.
        start: first character of the noun.
        end: one past its last; both are brought into the text's range.
        around: characters kept on each side.
    """
    start = min(max(start, 0), len(text))
    end = min(max(end, start), len(text))
    before, after = text[:start], text[end:]
    if len(before) > around:
        before = _ELLIPSIS + before[-around:]
    if len(after) > around:
        after = after[:around] + _ELLIPSIS
    return MarkedText(clean(before), clean(shorten(text[start:end], around)), clean(after))


def compact(number: float) -> str:
    """1234567 as '1.2M': for axes."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def file_size(count: float) -> str:
    """Bytes as kB, MB or GB (powers of ten)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def exact_duration(seconds: float) -> str:
    """Seconds as '5.1 s', '12 min 3 s' or '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """A share in [0, 1] as per cent with two digits, such as 0.12 %."""
    return f"{100 * share:.0f}\u00a0%" if share >= 0.0995 else f"{100 * share:.2g}\u00a0%"
