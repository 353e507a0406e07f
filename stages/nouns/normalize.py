"""Makes a caption readable for a parser, and says where each of its characters stands in the caption."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from stages.common import clean_name

ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,7}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
MOST_ENCODED = 3
"""How often web texts were found encoded at most: "&amp;amp;nbsp;"."""

EMOJI = (
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001faff]"
)
JOINED = "[\u200d\u20e3\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
WITH = re.compile(r"\b([Ww])/([Oo]?)(?=\s)")
PARTED = re.compile(rf"(?:(?:[0-9#*]\ufe0f?\u20e3|{EMOJI}){JOINED}*\s*)+|[|•·/\\~*=+<>\[\]{{}}]")
"""Marks that web texts part phrases with: emoji and other pictures, bars, bullets."""

BLANKED = re.compile(
    r"<[^<>]{1,200}>"  # HTML tags
    r"|(?:https?://|www\.)\S+"  # URLs
    r"|[^\s@]{1,64}@[^\s@]{1,64}\.\w+"  # mail addresses
    r"|([^\w\s])\1{3,}"  # rulers: "-----"
    r"|\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)\b"  # endings of file names
    r"|[®™©℠]",
    re.IGNORECASE,
)
SURROGATE = re.compile("[\ud800-\udfff]")
FILE_NAME = re.compile(r"\S{1,100}\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)\b", re.IGNORECASE)
SPACES = re.compile(r"\s{2,}|[^\S ]")
EDGES = re.compile(r"^[\s,]+|[\s,]+$|,(?:\s*,)+")
MOSTLY_UPPER = 0.7
MOSTLY_CAPITALISED = 0.75
MIN_TITLE_WORDS = 3
LITTLE_WORDS = frozenset({"and", "for", "from", "into", "near", "over", "that", "the", "this", "under", "with", "your"})


@dataclass(frozen=True, slots=True)
class Traced:
    """A text whose every character knows the characters of the caption that it stands for.

    Attributes:
        text: what was made of the caption.
        starts, ends: per character, the span in the caption, end exclusive.
    """

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, caption: str) -> Traced:
        return cls(caption, tuple(range(len(caption))), tuple(range(1, len(caption) + 1)))

    def sub(self, pattern: re.Pattern[str], made: Callable[[re.Match[str]], str]) -> Traced:
        """Puts something else where the pattern matches.

        It stands for the match, letter for letter if it is as long, else all of it for all of the match.
        """
        texts: list[str] = []
        starts: list[tuple[int, ...]] = []
        ends: list[tuple[int, ...]] = []
        place = 0
        for match in pattern.finditer(self.text):
            new = made(match)
            first, last = match.span()
            texts += [self.text[place:first], new]
            is_same = len(new) == last - first
            starts += [self.starts[place : last if is_same else first]]
            ends += [self.ends[place : last if is_same else first]]
            if not is_same:
                starts.append((self.starts[first],) * len(new))
                ends.append((self.ends[last - 1],) * len(new))
            place = last
        if not texts:
            return self
        return Traced(
            "".join(texts) + self.text[place:],
            tuple(chain(*starts, self.starts[place:])),
            tuple(chain(*ends, self.ends[place:])),
        )

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where in the caption a stretch of the text, not empty, comes from."""
        return self.starts[start], self.ends[end - 1]


@dataclass(frozen=True, slots=True)
class Parsable:
    """A caption made readable for a parser.

    Attributes:
        traced: the text, and its places in the caption.
        has_case: whether a capital letter says anything; not so in texts in capitals or in Title Case.
    """

    traced: Traced
    has_case: bool

    @property
    def text(self) -> str:
        return self.traced.text


def parsable(caption: str) -> Parsable:
    """Rewrites a caption.

    HTML entities become what they stand for; HTML tags, URLs and file endings go; so do the dashes and underscores of
    file names; emoji and marks that web texts part phrases with become commas, runs of white space one space. Texts in
    capitals or Title Case become lower case, as the model takes capitals for names.
    """
    traced = Traced.of(SURROGATE.sub("\ufffd", caption))
    for _ in range(MOST_ENCODED):
        traced = traced.sub(ENTITY, _decoded)
    traced = traced.sub(FILE_NAME, _open_file_name).sub(BLANKED, lambda _: " ").sub(re.compile("_"), lambda _: " ")
    traced = traced.sub(WITH, lambda match: "without" if match[2] else "with")
    traced = traced.sub(PARTED, lambda _: ", ").sub(SPACES, lambda _: " ").sub(EDGES, _edge)
    has_case = not (_is_upper(traced.text) or _is_title(traced.text))
    if not has_case:
        traced = Traced("".join(map(_lower, traced.text)), traced.starts, traced.ends)
    return Parsable(traced, has_case)


def is_spoken(noun: str, stretch: str) -> bool:
    """Whether a stretch of a caption, made parsable, reads as the noun's surface form."""
    plain = clean_name(stretch)
    if plain.lower() == noun:
        return True
    return parsable(plain).text.lower().replace("-", " ") == noun.replace("-", " ")  # "traffic-light.jpg"


def _decoded(entity: re.Match[str]) -> str:
    """The character of an HTML entity; a space for one that HTML does not have."""
    character = html.unescape(entity.group())
    return " " if character == entity.group() or SURROGATE.search(character) else character


def _edge(commas: re.Match[str]) -> str:
    """Nothing where commas begin or end the text, one comma where several follow one another."""
    return "," if commas.start() > 0 and commas.end() < len(commas.string) else ""


def _open_file_name(name: re.Match[str]) -> str:
    return name.group() if "://" in name.group() else name.group().replace("-", " ")


def _is_upper(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return bool(letters) and sum(map(str.isupper, letters)) / len(letters) >= MOSTLY_UPPER


def _is_title(text: str) -> bool:
    """Whether most words have a capital, as in a headline; three of them at least, one could be a name."""
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if word not in LITTLE_WORDS]
    is_long = len(words) >= MIN_TITLE_WORDS
    return is_long and sum(word[0].isupper() for word in words) / len(words) >= MOSTLY_CAPITALISED


def _lower(character: str) -> str:
    """Lower case, but for the few letters whose lower case is longer than themselves."""
    lower = character.lower()
    return lower if len(lower) == 1 else character
