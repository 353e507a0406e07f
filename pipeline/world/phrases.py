"""Text that remembers which of its words are nouns, and what they refer to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_MARKUP = re.compile(r"\{(\w+)\}|\[([^\]]+)\]|<([^>]+)>")
_VOWEL_SOUND = re.compile(r"(?!uni|ufo|use|eu|one\b|suv)[aeiou]|hour")


@dataclass(frozen=True, slots=True)
class Mark:
    """A noun in a text.

    Attributes:
        start, end: character span, end exclusive.
        category: name of the category that it means; None for a junk noun ("photo", "group"), which means no region.
        ids: annotation ids that it refers to, ascending.
    """

    start: int
    end: int
    category: str | None
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text and the nouns in it, in order."""

    text: str
    marks: tuple[Mark, ...] = ()

    def __add__(self, other: Phrase) -> Phrase:
        shift = len(self.text)
        moved = tuple(replace(mark, start=mark.start + shift, end=mark.end + shift) for mark in other.marks)
        return Phrase(self.text + other.text, self.marks + moved)

    def capitalized(self) -> Phrase:
        """With a capital first letter; spans stay."""
        return Phrase(self.text[:1].upper() + self.text[1:], self.marks)


@dataclass(frozen=True, slots=True)
class Referent:
    """What a noun in angle brackets means."""

    category: str
    ids: tuple[int, ...]


def say(template: str, referent: Referent | None = None, **slots: Phrase) -> Phrase:
    """Builds a phrase from a template.

    Args:
        template: text with ``{slot}`` for another phrase, ``[photo]`` for a junk noun, and ``<sky>`` for a noun that
            means `referent`.
        referent: needed if the template has angle brackets.
        slots: phrases by name.
    """
    phrase = Phrase("")
    position = 0
    for match in _MARKUP.finditer(template):
        phrase += Phrase(template[position : match.start()])
        slot, junk, noun = match.groups()
        if slot is not None:
            phrase += slots[slot]
        elif junk is not None:
            phrase += Phrase(junk, (Mark(0, len(junk), None, ()),))
        else:
            assert referent is not None, f"no referent for {template!r}"
            phrase += Phrase(noun, (Mark(0, len(noun), referent.category, referent.ids),))
        position = match.end()
    return phrase + Phrase(template[position:])


def with_article(text: str) -> str:
    """The text after "a" or "an", by sound: an hourglass, a unicorn."""
    return f"an {text}" if _VOWEL_SOUND.match(text) else f"a {text}"


def enumerate_phrases(phrases: list[Phrase]) -> Phrase:
    """ "a", "a and b", "a, b and c"."""
    joined = phrases[0]
    for number, phrase in enumerate(phrases[1:], start=2):
        joined += Phrase(" and " if number == len(phrases) else ", ") + phrase
    return joined
