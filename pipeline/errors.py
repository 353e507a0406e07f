"""Ends of a build that are neither the user's mistake nor maskmine's."""

from __future__ import annotations


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
