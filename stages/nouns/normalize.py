"""Makes a caption readable for a parser without moving a single character."""

from __future__ import annotations

import re
from dataclasses import dataclass

BLANKED = re.compile(
    r"&(?:[a-zA-Z]{2,8}|#\d{1,7}|#x[0-9a-fA-F]{1,6});"  # HTML entities
    r"|<[^<>]{1,200}>"  # HTML tags
    r"|(?:https?://|www\.)\S+"  # URLs
    r"|[^\s@]{1,64}@[^\s@]{1,64}\.\w+"  # mail addresses
    r"|([^\w\s])\1{3,}"  # rulers: "-----"
    r"|\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)\b",  # endings of file names
    re.IGNORECASE,
)
PARTED = re.compile(r"[|•·/\\~*=+<>\[\]{}]")
SURROGATE = re.compile("[\ud800-\udfff]")
FILE_NAME = re.compile(r"\S{1,100}\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)\b", re.IGNORECASE)
MOSTLY_UPPER = 0.7
MOSTLY_CAPITALISED = 0.75
SHORT_WORD = 3


@dataclass(frozen=True, slots=True)
class Parsable:
    """A caption made readable for a parser.

    Attributes:
        text: of the caption's own length, so that spans in it hold for the caption.
        has_case: whether a capital letter says anything; not so in texts in capitals or in Title Case.
    """

    text: str
    has_case: bool


def parsable(caption: str) -> Parsable:
    """Rewrites a caption, character for character.

    HTML entities, tags, URLs and file endings become blanks, as do the dashes and underscores of file names; marks
    that web texts part phrases with become commas. Texts in capitals or Title Case become lower case, as the
    model takes capitals for names.
    """
    caption = SURROGATE.sub("\ufffd", caption)
    text = BLANKED.sub(lambda match: " " * len(match.group()), _open_file_names(caption))
    text = PARTED.sub(",", text.replace("_", " "))
    has_case = not (_is_upper(text) or _is_title(text))
    return Parsable(text if has_case else "".join(map(_lower, text)), has_case)


def _open_file_names(text: str) -> str:
    return FILE_NAME.sub(
        lambda match: match.group() if "://" in match.group() else match.group().replace("-", " "), text
    )


def _is_upper(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return bool(letters) and sum(map(str.isupper, letters)) / len(letters) >= MOSTLY_UPPER


def _is_title(text: str) -> bool:
    """Whether the long words have a capital, as in a headline; three of them at least, one could be a name."""
    words = [word for word in re.findall(r"[^\W\d_]+", text) if len(word) > SHORT_WORD]
    return len(words) >= SHORT_WORD and sum(word[0].isupper() for word in words) / len(words) >= MOSTLY_CAPITALISED


def _lower(character: str) -> str:
    """Lower case, but for the few letters whose lower case is longer than themselves."""
    lower = character.lower()
    return lower if len(lower) == 1 else character
