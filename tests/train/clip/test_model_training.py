"""Mask prompts in training: gradients, parts, checkpointing, precision, threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.common import UserError
from tests.train.tiny_clips import adapted, inputs, timm_clip, tiny, tiny_lnd
from train.clip.model import MaskPromptCLIP, Part


def class_token() -> Any:  # noqa: ANN401
    return timm_clip("test_vit", 160, "token")


def test_prompts_learn_from_blank_patches_alone_and_frozen_weights_do_not() -> None:
    model = adapted(tiny(), 3)
    groups = model.train_only("prompts")
    assert groups.keys() == {"prompts"}
    images, masks = inputs()
    masks[1, :, :8] = 1  # two images share blanks, the first row of patches is never blank
    masks[2:, :, :8] = 1
    model(images, masks).square().sum().backward()
    gradient = groups["prompts"][0].grad
    assert gradient is not None
    blank = (torch.nn.functional.max_pool2d(masks, 8) == 0).any(dim=0).flatten()
    assert 0 < int(blank.sum()) < 16
    assert (gradient[:, blank].abs().amax(dim=2) > 0).all()
    assert not gradient[:, ~blank].any()
    assert all(parameter.grad is None for parameter in model.clip.parameters())


@pytest.mark.parametrize(
    ("part", "expected"),
    [("prompts", {"prompts"}), ("tower", {"tower"}), ("both", {"prompts", "tower"})],
)
def test_parts_train_alone_or_together(part: Part, expected: set[str]) -> None:
    model = adapted(tiny(), 3)
    groups = model.train_only("both")
    groups = model.train_only(part)
    assert groups.keys() == expected
    chosen = {id(parameter) for group in groups.values() for parameter in group}
    assert {id(parameter) for parameter in model.parameters() if parameter.requires_grad} == chosen
    model(*inputs()).square().sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert ("mask_embedding" in trained) == ("prompts" in expected)
    assert any(name.startswith("clip.visual.") for name in trained) == ("tower" in expected)
    assert all(name == "mask_embedding" or name.startswith("clip.visual.") for name in trained)


@pytest.mark.parametrize("make", [tiny, tiny_lnd, class_token], ids=["own", "tokens-first", "timm"])
def test_gradient_checkpointing_recomputes_with_the_masks_of_its_own_pass(make: Callable[[], Any]) -> None:
    def gradients(checkpointing: bool) -> list[Tensor]:
        model = adapted(make(), 4)
        model.set_grad_checkpointing(checkpointing)
        model.train().train_only("both")
        size = model.tower.grid[0] * model.tower.patch_px
        images, masks = inputs(size, model.tower.patch_px)
        first = model(images, masks)
        second = model(images, masks.flip(0))  # runs before the first's backward pass
        third = model(images)
        (first.square().sum() + 2 * second.sum() + third.sum()).backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    plain, checkpointed = gradients(False), gradients(True)
    assert len(plain) == len(checkpointed) > 10
    for left, right in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_threads_with_different_masks_do_not_meet() -> None:
    model = adapted(tiny(), 4)
    images, masks = inputs()
    many = [masks.roll((shift, 8 * shift), dims=(0, 2)) for shift in range(24)] + [None] * 8

    @torch.no_grad()
    def encode(mask: Tensor | None) -> Tensor:
        return model.encode_image(images, mask)

    expected = [encode(mask) for mask in many]
    with ThreadPoolExecutor(8) as pool:
        for left, right in zip(pool.map(encode, many), expected, strict=True):
            torch.testing.assert_close(left, right)


@torch.no_grad()
def test_half_precision_autocast_keeps_the_prompts_in_full() -> None:
    model = adapted(tiny(), 3)
    assert model.mask_embedding is not None
    images, masks = inputs()
    expected = model.encode_image(images, masks)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.encode_image(images, masks)
    assert torch.nn.functional.cosine_similarity(features.float(), expected).min() > 0.99
    assert model.mask_embedding.dtype == torch.float32
    assert adapted(tiny().bfloat16(), 3).encode_image(images.bfloat16(), masks).dtype == torch.bfloat16


def test_patch_dropout_in_training_is_refused() -> None:
    model = adapted(tiny(patch_dropout=0.5), 2).train()
    with pytest.raises(UserError, match="force_patch_dropout=0"):
        model(*inputs())
    model(inputs()[0])


def test_depth_zero_has_no_prompts_and_masks_change_nothing() -> None:
    clip = tiny()
    model = MaskPromptCLIP(clip, 0)
    images, masks = inputs()
    assert len(list(model.parameters())) == len(list(clip.parameters()))
    assert torch.equal(model.encode_image(images, masks), clip.encode_image(images))
    with pytest.raises(UserError, match="depth 0"):
        model.train_only("prompts")
