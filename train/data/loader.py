"""Batches of masked regions and their nouns: the same for any number of worker processes, at any step."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stages.clip import ClipInput
from stages.common import SampleError, UserError, processes_without_ctrl_c
from stages.shards import read_sample
from train.data.order import Batches, Draw, repeat_factors
from train.data.pair_index import PairIndex
from train.data.parts import Parts
from train.data.samples import DataConfig, Part, augmented_part, cut_part, decode_sample

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)
_TRIES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """N pairs.

    Attributes:
        images: float32 [N, 3, S, S], normalised as the CLIP wants it.
        masks: float32 [N, 1, S, S] in {0, 1}, 1 = keep.
        nouns: the surface nouns.
        canonical: their canonical forms.
        keys: the samples' keys.
        noun_numbers, canonical_numbers: int64 [N], places of the nouns in the index's `nouns` and `canonicals`.
    """

    images: Tensor
    masks: Tensor
    nouns: tuple[str, ...]
    canonical: tuple[str, ...]
    keys: tuple[str, ...]
    noun_numbers: Tensor
    canonical_numbers: Tensor

    def __len__(self) -> int:
        return len(self.keys)


def load_batches(
    dataset: Dataset[Result], batches: Batches, workers: int, pin_memory: bool = False
) -> Iterator[Result]:
    """What a data set makes of each batch of draws, by its ``__getitems__``, in their order.

    Args:
        dataset: read by processes of their own; what it gives depends on the draws alone.
        batches: of one rank.
        workers: how many processes; 0 for none beside this one.
        pin_memory: whether batches are put where a GPU copies from quickly.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=_become_worker if workers else None,
        # A fork would inherit OpenCV's and OpenMP's pools without their threads, and hang at their first use.
        multiprocessing_context="spawn" if workers else None,
        # The default would draw the workers' seeds, which nothing here reads, from torch's global generator.
        generator=torch.Generator(),
    )
    with processes_without_ctrl_c():
        found = iter(loader)  # starts the workers
    yield from found


class PairLoader:
    """Batches of one rank, by step.

    What a batch holds depends on the pairs, the configuration without `workers`, the batch size, the seed and the
    step alone. torch's and numpy's global generators are neither read nor moved.

    Args:
        pair_index: the pairs, from `index_pairs(config.sets, config.on_bad)`.
        config: of the data.
        clip: what the model takes.
        batch_size: of all ranks together.
        seed: of orders and augmentation.
        rank, world_size: of this process among those that train together.
        cut_on: the GPU that cuts regions to size, where the batches then are; None for the workers.

    Attributes:
        steps_per_epoch: the same for each epoch and rank.
        dropped_per_epoch: samples at an epoch's end that make no whole batch.
        replaced: bad samples that were given to this rank and replaced, by reason.

    Raises:
        UserError: an epoch is shorter than a batch, or a batch is no multiple of the ranks.
    """

    def __init__(
        self,
        pair_index: PairIndex,
        config: DataConfig,
        clip: ClipInput,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        cut_on: str | None = None,
    ) -> None:
        self._index, self._config, self._clip, self._cut_on = pair_index, config, clip, cut_on
        self._pairs = _Pairs(pair_index, config, clip, seed, cut_on is not None)
        repeats = repeat_factors(pair_index, [each.weight for each in config.sets], config.repeat_threshold)
        self._order = (repeats, batch_size, seed)
        self._place = (rank, world_size)
        batches = self._batches(0, 0)
        self.steps_per_epoch, self.dropped_per_epoch = batches.steps_per_epoch, batches.dropped_per_epoch
        self.replaced: Counter[str] = Counter()
        self._warned: set[int] = set()

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of the steps from `first` up to but without `last`, counted over all epochs.

        Raises:
            UserError: a bad sample with on_bad="error"; with "skip", ten bad ones in the place of one.
        """
        for rows in load_batches(
            self._pairs, self._batches(first, last), self._config.workers, self._cut_on is not None
        ):
            yield self._batch(rows)

    def _batches(self, first: int, last: int) -> Batches:
        return Batches(*self._order, first, last, *self._place)

    def _batch(self, rows: _Rows) -> Batch:
        for bad in rows.bad:
            self._tell(bad)
        images, masks = rows.images, rows.masks
        if self._cut_on is not None and rows.parts is not None:
            images, masks = rows.parts.cut(self._clip, self._config.region, self._cut_on)
        assert images is not None
        assert masks is not None
        pair_index, numbers = self._index, rows.numbers.numpy()
        noun, canonical = pair_index.noun[numbers], pair_index.canonical[numbers]
        return Batch(
            images=images,
            masks=masks,
            nouns=tuple(pair_index.nouns[number] for number in noun),
            canonical=tuple(pair_index.canonicals[number] for number in canonical),
            keys=tuple(pair_index.key.take(numbers).to_pylist()),
            noun_numbers=torch.from_numpy(noun.astype(np.int64)),
            canonical_numbers=torch.from_numpy(canonical.astype(np.int64)),
        )

    def _tell(self, bad: _Bad) -> None:
        """Stops, or counts a bad sample and warns the first time."""
        shard = self._index.shards[self._index.shard[bad.number]]
        place = f"{shard}: {self._index.key[bad.number]}: {bad.reason}: {bad.message}"
        if self._config.on_bad == "error":
            raise UserError(f"{place}. Mend the shard, or set data.on_bad: skip to train on without such samples")
        if bad.last:
            raise UserError(f"{place}. It is the {_TRIES}th bad sample in a row: are these the shards you meant?")
        self.replaced[bad.reason] += 1
        if bad.number not in self._warned:
            self._warned.add(bad.number)
            _LOG.warning("%s; another sample takes its place", place)


class _Bad(NamedTuple):
    """A sample that could not be used; `last` if there is none in its place."""

    number: int
    reason: str
    message: str
    last: bool


class _Rows(NamedTuple):
    """What a worker makes of a batch: images and masks as in Batch, or the parts they are cut from; and the numbers of
    the samples, int64 [N]."""

    images: Tensor | None
    masks: Tensor | None
    parts: Parts | None
    numbers: Tensor
    bad: list[_Bad]


class _Pairs(Dataset[_Rows]):
    """Pairs by their draws, a batch at once: cut to size, or as parts that are cut elsewhere."""

    def __init__(
        self, pair_index: PairIndex, config: DataConfig, clip: ClipInput, seed: int, hands_over_parts: bool
    ) -> None:
        self._index, self._config, self._clip, self._seed = pair_index, config, clip, seed
        self._hands_over_parts = hands_over_parts
        self._set_starts = np.searchsorted(pair_index.set_number, np.arange(len(config.sets) + 1))

    def __getitem__(self, draw: Draw) -> _Rows:
        return self.__getitems__([draw])

    def __getitems__(self, draws: list[Draw]) -> _Rows:
        numbers = torch.tensor([draw.number for draw in draws])
        bad: list[_Bad] = []
        parts: list[Part] = []
        size = self._clip.size_px
        rows = 0 if self._hands_over_parts else len(draws)
        images, masks = torch.empty(rows, size, size, 3), torch.empty(rows, size, size)
        for row, draw in enumerate(draws):
            for number in self._candidates(draw):
                try:
                    part = self._part(number, draw)
                except SampleError as error:
                    bad.append(_Bad(number, error.reason, error.message, last=False))
                    continue
                if self._hands_over_parts:
                    parts.append(part)
                else:
                    cut_part(part, self._clip, self._config.region, images[row], masks[row])
                numbers[row] = number
                break
            else:
                bad[-1] = bad[-1]._replace(last=True)
        if not self._hands_over_parts:
            return _Rows(images.permute(0, 3, 1, 2), masks[:, None], None, numbers, bad)
        return _Rows(None, None, Parts.of(parts) if len(parts) == len(draws) else None, numbers, bad)

    def _candidates(self, draw: Draw) -> Iterator[int]:
        """The sample drawn, and others of its set to take its place: they depend on the draw alone, so that all ranks
        stay in step, and batches keep their size.
        """
        yield draw.number
        if self._config.on_bad == "error":
            return
        start, end = self._set_starts[self._index.set_number[draw.number] :][:2]
        rng = np.random.default_rng([self._seed, draw.epoch, draw.position, 1])
        for _ in range(_TRIES - 1):
            yield int(rng.integers(start, end))

    def _part(self, number: int, draw: Draw) -> Part:
        """What a sample's region is cut from."""
        pair_index, config = self._index, self._config
        shard = pair_index.shards[pair_index.shard[number]]
        place = int(pair_index.offset[number]), int(pair_index.nbytes[number])
        ends_at = config.sets[pair_index.set_number[number]].key_ends_at
        image, mask = decode_sample(read_sample(shard, *place, pair_index.key[number].as_py(), ends_at))
        rng = np.random.default_rng([self._seed, draw.epoch, draw.position, 0])
        return augmented_part(image, mask, config.region, config.augment, rng)


def _as_it_is(rows: Any) -> Any:  # noqa: ANN401 - the batches are whole already
    return rows


def _become_worker(worker: int) -> None:
    """One thread, as more would only fight for the cores (torch sees to its own); and silence at the end.

    A training that is stopped goes while a batch is handed over; what a worker's thread would say of that is no news.
    """
    import cv2

    cv2.setNumThreads(1)
    sys.excepthook = _tell_all_but_a_lost_training


def _tell_all_but_a_lost_training(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
