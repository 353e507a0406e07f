"""What of a file of annotations cannot be used: where it is told, and how it is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol


class Aside(Protocol):
    """Takes what cannot be used; a plan writes it into a table, an evaluation counts it."""

    def add(
        self, item: Literal["image", "annotation"], file: str, reason: str, message: str, image_id: str = ""
    ) -> None:
        """Sets one entry aside, by its file, a reason in snake_case, and where it stands and what was expected."""

    def note(self, sentence: str) -> None:
        """Tells what loses nothing."""


@dataclass(slots=True)
class LeftOut:
    """Counts what is left out of a ground truth.

    Attributes:
        reasons: how many entries for each reason.
        first: file and message of the first one; empty if there is none.
        notes: what loses nothing, a sentence each.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    first: str = ""
    notes: list[str] = field(default_factory=list)

    def add(
        self, item: Literal["image", "annotation"], file: str, reason: str, message: str, image_id: str = ""
    ) -> None:
        """See `Aside.add`."""
        image = f"image {image_id}: " if image_id else ""
        self.first = self.first or f"{file}: {image}{message}"
        self.reasons[reason] += 1

    def note(self, sentence: str) -> None:
        """See `Aside.note`."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def sentences(self, of: str = "the ground truth") -> list[str]:
        """What a person should know of it; nothing if nothing is left out."""
        if not self.reasons:
            return list(self.notes)
        listed = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())
        counted = f"left out of {of}: {listed}; the first: {self.first}"
        return [*self.notes, counted]
