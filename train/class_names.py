"""What classes are called: words with synonyms, from a caller, a text, or a file with one class per line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common import UserError, clean_name, escaped, wide_encoding


@dataclass(frozen=True, slots=True)
class ClassName:
    """What a class is called.

    Attributes:
        forms: words for it, the one it is called by first, then its synonyms; CLIP is asked for each, and the best
            answer counts.
    """

    forms: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.forms[0]


def class_names(classes: Sequence[str | ClassName]) -> tuple[ClassName, ...]:
    """The classes as ClassName; a text is a class by itself, with ``|`` between synonyms.

    Raises:
        UserError: there is no class, or one has no word.
    """
    if isinstance(classes, str):
        raise UserError(f"classes: expected a list of names, got the text {classes!r}; parse_classes reads such a text")
    named = tuple(ClassName(_split(one)) if isinstance(one, str) else one for one in classes)
    if not named:
        raise UserError("classes: the list is empty; give at least one class, such as 'sea, boat, person'")
    for number, one in enumerate(named):
        if not one.forms or not all(isinstance(form, str) and form.strip() for form in one.forms):
            raise UserError(f"classes: class {number + 1} has an empty name; expected a word or more for each class")
    return named


def _split(text: str) -> tuple[str, ...]:
    """Synonyms apart by ``|``, each made plain: what nobody sees makes no other word.

    Raises:
        UserError: it holds half a character, as bytes of the command line that are no UTF-8 do.
    """
    if escaped(text) != text:
        raise UserError(f"classes: '{escaped(text).strip()}' is no UTF-8 text; write it in UTF-8")
    return tuple(map(clean_name, text.split("|")))


def parse_classes(text: str) -> tuple[ClassName, ...]:
    """Reads ``sea, boat, sofa|couch``: classes apart by commas, synonyms by ``|``; ``@FILE`` has one class per line.

    In a file, a line's text after ``#`` at its beginning is a comment, and commas belong to names.

    Raises:
        UserError: the file cannot be read, a name is empty, or a word stands twice.
    """
    parts = _parts_of_file(text[1:]) if text.startswith("@") else _parts_of_text(text)
    if not any(part.strip() for _, part in parts):
        source = f"{text[1:]}: " if text.startswith("@") else ""
        raise UserError(f'{source}no class is named; expected something like "sea, boat, sofa|couch"')
    named, places = [], dict[str, str]()
    for where, part in parts:
        forms = _split(part)
        if not all(forms):
            raise UserError(
                f"{where}: {part.strip()!r} has an empty name; expected classes with commas between them and synonyms "
                'with |, such as "sea, boat, sofa|couch"'
            )
        for form in forms:
            if form.casefold() in places:
                raise UserError(f"{where}: {form!r} is there already ({places[form.casefold()]}); name each class once")
            places[form.casefold()] = where
        named.append(ClassName(forms))
    return tuple(named)


def _parts_of_file(file: str) -> list[tuple[str, str]]:
    """Where each class stands, and its text."""
    lines = [(f"{file}, line {at}", line) for at, line in enumerate(_lines(Path(file)), start=1)]
    return [(where, line) for where, line in lines if line.strip() and not line.lstrip().startswith("#")]


def _parts_of_text(text: str) -> list[tuple[str, str]]:
    parts = [(f"class {at}", part) for at, part in enumerate(text.split(","), start=1)]
    if parts[-1][1].strip() == "" and len(parts) > 1:
        parts.pop()  # a comma at the end is no mistake
    return parts


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        looks = wide_encoding(data)
        if looks is None:
            return data.decode("utf-8-sig").splitlines()
        problem: object = f"expected UTF-8; it looks like {looks.upper()}: save it as UTF-8"
    except UnicodeDecodeError as error:
        problem = f"{error}; expected UTF-8"
    except (OSError, ValueError) as error:
        problem = error
    raise UserError(f"{path}: cannot be read as a list of classes, one per line: {problem}")
