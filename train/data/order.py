"""Which samples an epoch holds and in which order: pure functions of the seed, the epoch and the pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from stages.common import UserError
from train.data.pair_index import PairIndex

_FRACTIONS = 2**20
_TOLERANCE = 1e-6


class Draw(NamedTuple):
    """A place in an epoch's order, and the number of the sample that stands there."""

    epoch: int
    position: int
    number: int


def repeat_factors(pair_index: PairIndex, weights: Sequence[float], threshold: float | None) -> NDArray[np.float64]:
    """How often an epoch holds each sample, on average: float64 [N], greater than 0.

    A set's weight times r(c) = max(1, sqrt(threshold / f(c))) of Gupta et al. 2019 (LVIS, section 4.2), where f(c) is
    the share of the canonical noun c among the weighted pairs.

    Args:
        pair_index: the samples.
        weights: one for each set.
        threshold: shares below it are raised; None for no balance.
    """
    weight = np.asarray(weights, dtype=np.float64)[pair_index.set_number]
    if threshold is None:
        return weight
    share = np.bincount(pair_index.canonical, weights=weight, minlength=len(pair_index.canonicals)) / weight.sum()
    factors = np.maximum(1.0, np.sqrt(threshold / share))
    return np.asarray(weight * factors[pair_index.canonical], dtype=np.float64)


def epoch_length(repeats: NDArray[np.float64]) -> int:
    """Samples of an epoch, the same for each: the sum of the repeat factors, rounded down."""
    return int(repeats.sum() + _TOLERANCE)


def epoch_order(repeats: NDArray[np.float64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Numbers of the samples of one epoch, int64 [epoch_length(repeats)].

    Repeat factors are rounded at random, yet so that their sum stays (systematic sampling): the samples are laid on
    a line in random order, each as long as its factor, and the line is marked at equal distances from a random start.
    A sample with the factor r comes floor(r) or ceil(r) times, r on average. With factors of 1 it is a permutation.
    """
    rng = np.random.default_rng([seed, epoch])
    line = rng.permutation(len(repeats))
    length = epoch_length(repeats)
    ends = np.cumsum(repeats[line])
    # A binary fraction as the start keeps marks exact where the factors are whole numbers.
    marks = (np.arange(length) + rng.integers(_FRACTIONS) / _FRACTIONS) * max(1.0, ends[-1] / max(length, 1))
    marked = np.minimum(np.searchsorted(ends, marks, side="right"), len(repeats) - 1)
    return np.asarray(line[marked][rng.permutation(length)], dtype=np.int64)


class Batches(Sampler[list[Draw]]):
    """The batches of one rank from step `first` up to step `last`.

    A global batch is the next `batch_size` samples of the epoch's order, and rank r of R takes the r-th of its R
    equal contiguous parts: the ranks' parts in order of rank are the batch that a single process would see. A batch
    never crosses epochs; what is left of one at its end is dropped, by all ranks alike.

    Args:
        repeats: repeat factors, see `repeat_factors`.
        batch_size: of all ranks together.
        seed: of the order.
        first, last: steps, counted over all epochs; to resume is to start at another first.
        rank, world_size: of this process among those that train together.

    Raises:
        UserError: an epoch is shorter than a batch, or a batch is no multiple of the ranks.
    """

    def __init__(
        self,
        repeats: NDArray[np.float64],
        batch_size: int,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.steps_per_epoch, self.dropped_per_epoch = divmod(epoch_length(repeats), batch_size)
        if not self.steps_per_epoch:
            raise UserError(
                f"batch_size: got {batch_size}, but an epoch has {self.dropped_per_epoch} samples; "
                "take a smaller batch, or more data"
            )
        if batch_size % world_size:
            raise UserError(f"batch_size: got {batch_size}, expected a multiple of the {world_size} processes")
        self._repeats, self._seed = repeats, seed
        self._first, self._last = first, last
        self._batch_size, self._share = batch_size, batch_size // world_size
        self._start = rank * self._share

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[list[Draw]]:
        order: NDArray[np.int64] | None = None
        for step in range(self._first, self._last):
            epoch, number = divmod(step, self.steps_per_epoch)
            if order is None or number == 0:
                order = epoch_order(self._repeats, self._seed, epoch)
            start = number * self._batch_size + self._start
            yield [Draw(epoch, at, int(order[at])) for at in range(start, start + self._share)]
