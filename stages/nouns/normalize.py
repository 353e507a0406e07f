"""Makes a caption readable for a parser without moving a single character."""

from __future__ import annotations

import re

BLANKED = re.compile(
    r"&(?:[a-zA-Z]{2,8}|#\d{1,7}|#x[0-9a-fA-F]{1,6});"  # HTML entities
    r"|<[^<>]{1,200}>"  # HTML tags
    r"|(?:https?://|www\.)\S+"  # URLs
    r"|\S+@\S+\.\S+"  # mail addresses
    r"|\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg)\b",  # endings of file names
    re.IGNORECASE,
)
PARTED = re.compile(r"[#|•·/\\~*=+<>\[\]{}]")
MOSTLY_UPPER = 0.7


def parsable(caption: str) -> str:
    """The caption as a parser reads it best, of the same length, so that spans hold for the caption itself.

    Blanks out HTML entities, tags, URLs and file endings; turns underscores into spaces and other marks that web
    texts part words with into commas; writes texts that are mostly in capitals in lower case, as the model takes
    capitals for names.
    """
    text = BLANKED.sub(lambda match: " " * len(match.group()), caption)
    text = PARTED.sub(",", text.replace("_", " "))
    letters = [character for character in text if character.isalpha()]
    if letters and sum(map(str.isupper, letters)) / len(letters) >= MOSTLY_UPPER:
        text = "".join(low if len(low := character.lower()) == 1 else character for character in text)
    return text
