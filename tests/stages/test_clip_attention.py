"""Attention without detours is torch's, with the same parameters by the same names."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from stages.clip_attention import SelfAttention, take_detours_away
from tests.train.tiny_clips import inputs, tiny, tiny_lnd, tiny_timm


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-6), ("bf16", 2e-2)])
def test_features_and_gradients_are_torchs(precision: str, near: float) -> None:
    images, _ = inputs()
    found = []
    clip = tiny()
    for change in (lambda clip: None, take_detours_away):
        one = deepcopy(clip)
        change(one)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features = one.encode_image(images, normalize=True)
        features[:, 0].sum().backward()
        found.append((features.float(), {name: value.grad for name, value in one.visual.named_parameters()}))
    (features, gradients), (others, their_gradients) = found
    torch.testing.assert_close(features, others, atol=near, rtol=near)
    assert list(gradients) == list(their_gradients)  # the order is the optimiser's
    for name, value in gradients.items():
        torch.testing.assert_close(value, their_gradients[name], atol=near, rtol=near)


def test_parameters_stay_what_and_where_they_were() -> None:
    clip = tiny()
    before = dict(clip.named_parameters())
    take_detours_away(clip)
    take_detours_away(clip)
    after = dict(clip.named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    attentions = [module for module in clip.visual.modules() if isinstance(module, SelfAttention)]
    assert len(attentions) == 4
    assert not any(module.training for module in attentions)


@pytest.mark.parametrize("clip", [tiny_lnd(), tiny_timm(), nn.Linear(1, 1)])
def test_other_towers_stay_as_they_are(clip: nn.Module) -> None:
    take_detours_away(clip)
    assert not any(isinstance(module, SelfAttention) for module in clip.modules())


def test_another_use_is_refused() -> None:
    attention = SelfAttention(nn.MultiheadAttention(8, 2, batch_first=True))
    tokens = torch.zeros(1, 3, 8)
    with pytest.raises(ValueError, match="to themselves"):
        attention(tokens, tokens.clone(), tokens)
    with pytest.raises(ValueError, match="no weights"):
        attention(tokens, tokens, tokens, need_weights=True)
