"""What every source of mask proposals offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stages.common import ImageRecord, Proposal, SampleError


class Proposer(Protocol):
    """Class-agnostic mask proposals for one photo at a time.

    The masks of a photo then depend on nothing but the photo and the configuration, so that they can be cached by
    content.
    """

    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """Proposes masks.

        Args:
            record: the input's record; a proposer that looks at pixels alone ignores it.
            image: [H, W, 3] RGB, uint8, upright.

        Returns:
            Proposals at the image's size, unfiltered, in a deterministic order.

        Raises:
            SampleError: this one image cannot be used (e.g. its masks have another size).
        """
        ...


@runtime_checkable
class BatchProposer(Proposer, Protocol):
    """A model that looks at several photos at once: quicker on a GPU, and its floats depend on the batch."""

    def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Proposal] | SampleError]:
        """`propose` of each photo, in one forward pass; the error, in place of masks, of one that cannot be used."""
        ...
