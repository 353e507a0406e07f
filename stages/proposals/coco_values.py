"""Values in COCO's files as people have them: read where they mean one thing, else told to be unusable."""

from __future__ import annotations

import math
from typing import Any

from stages.common import escaped

_FLAGS = {"0": False, "false": False, "no": False, "": False, "1": True, "true": True, "yes": True}
_LARGEST = 2**31 - 1


class UnusableError(ValueError):
    """One entry that cannot be used: the rest of the file goes on.

    Args:
        reason: short stable code in snake_case.
        message: what was found and what was expected.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def entry_of(value: Any, reason: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """An element of a list as the object that it must be.

    Raises:
        UnusableError: with `reason`.
    """
    if not isinstance(value, dict):
        raise UnusableError(reason, f"expected an object, got {shown(value)}")
    return value


def place_of(key: str, index: int, value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Where an entry stands, for messages: ``annotations[2] (id 7)``."""
    own = id_text(value.get("id")) if isinstance(value, dict) else None
    return f"{key}[{index}]" + (f" (id {own})" if own is not None else "")


def id_text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """An id as text, by which ids are compared: 2, 2.0 and "2" are one. None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    if isinstance(value, str) and value.strip() and is_text(value):
        return value.strip()
    return None


def required_id(entry: dict[str, Any], key: str, reason: str) -> str:
    """An id that an entry must have.

    Raises:
        UnusableError: with `reason`.
    """
    found = id_text(entry.get(key))
    if found is None:
        has = f"got {shown(entry[key])}" if key in entry else f"it has {', '.join(map(shown, entry)) or 'no key'}"
        raise UnusableError(reason, f"expected a whole number or a text as {key!r}; {has}")
    return found


def whole_number(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    """A count of pixels: 480, 480.0 and "480" are one. None for what is no number from 1 on."""
    text = id_text(value)
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > len(str(_LARGEST)):
        return None
    number = int(text)
    return number if 0 < number <= _LARGEST else None


def number_of(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    """A finite number, given as such or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def flag(value: Any, key: str, reason: str) -> bool:  # noqa: ANN401 - any JSON value
    """Yes or no: 0 or 1, true or false, as numbers or texts; null is no.

    Raises:
        UnusableError: it is something else; with `reason`.
    """
    text = str(value).strip().lower() if isinstance(value, str | bool) else id_text(value)
    if value is not None and text not in _FLAGS:
        raise UnusableError(reason, f"expected 0 or 1 as {key!r}, got {shown(value)}")
    return value is not None and _FLAGS[str(text)]


def is_text(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether it is a text that a file can hold: JSON can also spell half a character (a lone surrogate)."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A value for a message: short."""
    text = escaped(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."
