"""The ways in which something may be wrong: with the user's input as a whole, or with one sample."""

from __future__ import annotations


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
