"""The ways in which something may end: wrong input, one bad sample, a broken lock, a lost cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Made = TypeVar("Made")


class UserError(Exception):
    """Wrong input that stops the command: the message names the file and key, what was expected, what to do.

    The command line prints the message alone and exits with status 2; it is never shown as a traceback.
    """


class UnreachableError(UserError):
    """A model that lies on a hub could not be fetched, as there is no network, or no such model."""


class SampleError(Exception):
    """One bad image or caption: becomes one quarantine row, and the build goes on.

    Args:
        reason: short stable code in snake_case, counted in reports, e.g. ``undecodable_image``.
        message: what was found and what was expected, for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class OtherFormatError(ValueError):
    """A file is sound, and was written by another release of maskmine."""


class LockError(Exception):
    """An image's bytes are not those that the lock recorded."""


class RayLostError(Exception):
    """Ray, or a process of it that the build cannot do without, is gone or does not answer.

    The message is one sentence that says what was lost; the command line prints it alone and exits with status 1.

    Args:
        what: what was lost, as the beginning of a sentence, e.g. ``Ray's raylet on this machine died``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; what is done is kept: the same command goes on from here.")
        self.what = what


def tried(make: Callable[[], Made]) -> Made | SampleError:
    """What `make` gives for a photo, or why it cannot be used."""
    try:
        return make()
    except SampleError as error:
        return error


def one_of(found: Sequence[Made | SampleError]) -> Made:
    """The result of the only photo.

    Raises:
        SampleError: it cannot be used.
    """
    (only,) = found
    if isinstance(only, SampleError):
        raise only
    return only
