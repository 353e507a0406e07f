"""What every source of caption nouns offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stages.records import CaptionNouns


class NounExtractor(Protocol):
    """Finds the nouns of captions.

    Attributes:
        identity: what the output depends on beyond the configuration: versions of libraries and models, sha256
            of data files. Two extractors of one configuration and one identity give the same nouns.
    """

    identity: dict[str, str]

    def extract(self, captions: Sequence[str]) -> list[CaptionNouns]:
        """Finds the nouns of each caption; what a caption gives depends on no other caption.

        Args:
            captions: any Unicode text, the empty string included.

        Returns:
            One result a caption, in the captions' order. Nouns are in the order of their spans, and
            ``caption_number`` is the caption's index in `captions`.
        """
        ...
