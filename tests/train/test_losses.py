"""Losses against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from train.loop import warmup_cosine
from train.losses import in_batch, multi_positive, noun_bank

EYE = torch.eye(3)
ONE = torch.tensor(1.0)


def test_in_batch_takes_a_repeated_noun_for_a_negative() -> None:
    rows = EYE[[0, 0]]
    assert float(in_batch(rows, rows, ONE)) == pytest.approx(math.log(2))


def test_multi_positive_shares_the_target_among_rows_of_one_noun() -> None:
    rows, canonical = EYE[[0, 0, 1]], torch.tensor([7, 7, 2])
    shared = math.log(2 * math.e + 1) - 1
    alone = math.log(math.e + 2) - 1
    assert float(multi_positive(rows, rows, ONE, canonical)) == pytest.approx((2 * shared + alone) / 3)


def test_multi_positive_is_in_batch_where_no_noun_repeats() -> None:
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    expected = in_batch(images, texts, 10 * ONE)
    torch.testing.assert_close(multi_positive(images, texts, 10 * ONE, torch.arange(5)), expected)


def test_noun_bank_holds_a_region_against_every_noun() -> None:
    loss = noun_bank(EYE[[0]], EYE, 2 * ONE, torch.tensor([0]))
    assert float(loss) == pytest.approx(math.log(math.exp(2) + 2) - 2)


def test_learning_rate_warms_up_and_follows_the_cosine_to_zero() -> None:
    shares = [warmup_cosine(step, 2, 6) for step in range(7)]
    assert shares == pytest.approx([0.5, 1, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0])
