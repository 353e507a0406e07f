"""Losses worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from train.losses import noun_loss, same_nouns, shared_targets, soft_cross_entropy
from train.pretrain.nouns import NounFinder


def test_rows_without_positives_count_nothing() -> None:
    logits = torch.tensor([[0.0, 0.0], [5.0, -5.0]])
    one = torch.tensor([[True, False], [False, False]])
    assert soft_cross_entropy(logits, one).item() == pytest.approx(math.log(2))
    assert soft_cross_entropy(logits, torch.zeros(2, 2, dtype=torch.bool)).item() == 0


def test_two_positives_share_the_target() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    loss = soft_cross_entropy(logits, torch.tensor([[True, True, False]]))
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.25)) / 2)


def test_caption_loss_is_clips_where_no_captions_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 4, 8, generator=generator).unbind()
    logits = 3.0 * images @ texts.T
    numbers = torch.arange(4)
    clips = (
        torch.nn.functional.cross_entropy(logits, numbers) + torch.nn.functional.cross_entropy(logits.T, numbers)
    ) / 2
    assert shared_targets(images, texts, torch.tensor(3.0), torch.eye(4, dtype=torch.bool)).item() == pytest.approx(
        clips.item(), rel=1e-5
    )


def test_noun_loss_takes_all_mentioned_nouns_as_right() -> None:
    nouns = torch.eye(3)
    loss = noun_loss(torch.tensor([[1.0, 0.0, 0.0]]), nouns, torch.tensor(0.0), [frozenset({0, 2})])
    assert loss.item() == pytest.approx(math.log(3))


def test_captions_agree_if_they_mention_the_same_nouns_but_not_if_they_mention_none() -> None:
    same = same_nouns([frozenset({1}), frozenset({1}), frozenset(), frozenset(), frozenset({1, 2})])
    expected = torch.eye(5, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = True
    assert torch.equal(same, expected)


def test_longest_noun_is_found_first_and_only_as_a_word() -> None:
    finder = NounFinder({"dog": 0, "dogs": 0, "hot dog": 1, "cat": 2}, ("dog", "hot dog", "cat"))
    assert finder.find("A Hot Dog beside two dogs") == {0, 1}
    assert finder.find("a hot dog in a catalogue") == {1}
