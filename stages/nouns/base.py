"""What every source of caption nouns offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stages.common import CaptionNouns


class NounExtractor(Protocol):
    """Finds the nouns of captions."""

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """Finds the nouns of each caption; what a caption gives depends on no other caption.

        Args:
            captions: any Unicode text, the empty string included.

        Returns:
            One result per caption, in the captions' order. Nouns are in the order of their spans, and
            ``caption_number`` is the caption's index in `captions`.
        """
        ...
