"""What a CLIP from scratch minimises: captions against pictures of the batch, and pictures against all nouns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from train.losses import soft_cross_entropy


def noun_loss(images: Tensor, nouns: Tensor, scale: Tensor, mentioned: Sequence[frozenset[int]]) -> Tensor:
    """Each picture against all nouns of the bank; those that its captions mention are its positives.

    Args:
        images: unit vectors [N, D].
        nouns: unit vectors [M, D].
        scale: factor of the cosines.
        mentioned: numbers of the nouns of each picture.
    """
    positives = torch.zeros(len(images), len(nouns), dtype=torch.bool, device=images.device)
    for row, numbers in enumerate(mentioned):
        positives[row, list(numbers)] = True
    return soft_cross_entropy(scale * images @ nouns.T, positives)


def same_nouns(mentioned: Sequence[frozenset[int]]) -> Tensor:
    """bool [N, N]: captions that mention the same nouns, at least one; and the diagonal."""
    numbers: dict[frozenset[int], int] = {}
    sets = torch.tensor(
        [numbers.setdefault(nouns, len(numbers)) if nouns else -1 - row for row, nouns in enumerate(mentioned)]
    )
    return sets[:, None] == sets[None]
