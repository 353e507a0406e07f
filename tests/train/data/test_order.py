"""The order of an epoch, and what ranks and resumed runs see of it."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.common import UserError
from train.data.order import Batches, epoch_length, epoch_order, repeat_factors


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch() -> None:
    ones = np.ones(50)
    orders = {(seed, epoch): epoch_order(ones, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    assert epoch_order(ones, 1, 1).tolist() == orders[1, 1]


def test_repeats_are_rounded_up_or_down_and_right_on_average() -> None:
    repeats = np.random.default_rng(0).uniform(0.1, 3.5, 40)
    counts = np.stack([np.bincount(epoch_order(repeats, 0, epoch), minlength=40) for epoch in range(600)])
    assert set(counts.sum(axis=1)) == {epoch_length(repeats)} == {int(repeats.sum())}
    # The fraction of the sum that an epoch leaves out is spread over all, so a count may lie below its floor.
    assert (counts >= np.floor(repeats * counts.sum(axis=1)[0] / repeats.sum())).all()
    assert (counts <= np.ceil(repeats)).all()
    np.testing.assert_allclose(counts.mean(axis=0), repeats, atol=0.1)


def test_whole_repeats_are_exact() -> None:
    repeats = np.array([1.0, 3.0, 2.0] * 20)
    assert np.bincount(epoch_order(repeats, 5, 9)).tolist() == [1, 3, 2] * 20


def pair_index(canonical: list[int], set_number: list[int]) -> Any:  # noqa: ANN401
    names = tuple(map(str, range(max(canonical) + 1)))
    return SimpleNamespace(canonical=np.array(canonical), canonicals=names, set_number=np.array(set_number))


def test_rare_nouns_are_repeated_by_the_root_of_threshold_over_share() -> None:
    found = repeat_factors(pair_index([0] * 90 + [1] * 9 + [2], [0] * 100), (1.0,), 0.36)
    np.testing.assert_allclose(found, [1.0] * 90 + [2.0] * 9 + [6.0])


def test_weights_of_sets_multiply_and_shares_are_those_of_the_mixture() -> None:
    pairs = pair_index([0, 0, 1, 1], [0, 0, 1, 1])
    np.testing.assert_allclose(repeat_factors(pairs, (1.0, 0.25), None), [1, 1, 0.25, 0.25])
    np.testing.assert_allclose(repeat_factors(pairs, (1.0, 0.25), 0.8), [1, 1, 0.5, 0.5])  # noun 1 has a share of 0.2


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_see_the_parts_of_one_process_in_order(world_size: int) -> None:
    whole = list(Batches(np.ones(20), 6, 0, 0, 9))
    parts = [list(Batches(np.ones(20), 6, 0, 0, 9, rank, world_size)) for rank in range(world_size)]
    assert [list(chain(*shares)) for shares in zip(*parts, strict=True)] == whole


def test_an_epoch_repeats_nothing_and_drops_its_rest() -> None:
    batches = Batches(np.ones(20), 6, 0, 0, 6)
    assert (batches.steps_per_epoch, batches.dropped_per_epoch, len(batches)) == (3, 2, 6)
    draws = [draw for batch in batches for draw in batch]
    for epoch in (0, 1):
        numbers = [draw.number for draw in draws if draw.epoch == epoch]
        assert len(numbers) == len(set(numbers)) == 18
    assert [draw.number for draw in draws[:18]] != [draw.number for draw in draws[18:]]


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(step: int) -> None:
    assert list(Batches(np.ones(20), 6, 0, step, 9)) == list(Batches(np.ones(20), 6, 0, 0, 9))[step:]


def test_a_batch_larger_than_an_epoch_is_refused() -> None:
    with pytest.raises(UserError, match="an epoch has 5 samples"):
        Batches(np.ones(5), 6, 0, 0, 1)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="multiple of the 4 processes"):
        Batches(np.ones(20), 6, 0, 0, 1, 0, 4)
