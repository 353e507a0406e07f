"""Losses over unit vectors, in the forms that mined pairs and captions ask for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor


def soft_cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Cross-entropy of each row with a target that is even over the row's positives; rows without any count nothing.

    Args:
        logits: float [N, M].
        positives: bool [N, M].

    Returns:
        The mean over rows that have a positive; 0 if none has.
    """
    counts = positives.sum(dim=1)
    targets = positives / counts.clamp(min=1)[:, None]
    losses = -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)
    return losses.sum() / (counts > 0).sum().clamp(min=1)


def in_batch(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric loss (Radford et al., ICML 2021, figure 3), as published for mask-noun pairs.

    Row i belongs to text i alone: two rows with one noun are each other's negatives.

    Args:
        images: unit vectors [N, D].
        texts: unit vectors [N, D].
        scale: factor of the cosines.
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(images), device=images.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def multi_positive(images: Tensor, texts: Tensor, scale: Tensor, canonical: Tensor) -> Tensor:
    """The symmetric loss, in which rows with the same canonical noun share the target (Khosla et al., NeurIPS 2020).

    Args:
        images: unit vectors [N, D].
        texts: unit vectors [N, D].
        scale: factor of the cosines.
        canonical: int64 [N], numbers of the canonical nouns.
    """
    return shared_targets(images, texts, scale, canonical[:, None] == canonical[None])


def shared_targets(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """CLIP's symmetric loss, in which rows that mean the same are not each other's negatives.

    Args:
        images: unit vectors [N, D].
        texts: unit vectors [N, D]; row i belongs to image i.
        scale: factor of the cosines.
        same: bool [N, N], rows i and j mean the same; true on the diagonal.
    """
    logits = scale * images @ texts.T
    return (soft_cross_entropy(logits, same) + soft_cross_entropy(logits.T, same)) / 2


def noun_bank(images: Tensor, nouns: Tensor, scale: Tensor, canonical: Tensor) -> Tensor:
    """Each region against every noun there is, once each.

    Args:
        images: unit vectors [N, D].
        nouns: unit vectors [M, D] of all canonical nouns.
        scale: factor of the cosines.
        canonical: int64 [N], the right rows of `nouns`.
    """
    return functional.cross_entropy(scale * images @ nouns.T, canonical)


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
