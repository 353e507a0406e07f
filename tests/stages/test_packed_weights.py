"""Packed products are the products, in towers of all kinds, with and without masks; what trains stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch

from stages.clip_attention import SelfAttention
from stages.clip_tower import at_grid
from stages.packed_weights import PackedAttention, PackedLinear, packed
from tests.train.tiny_clips import adapted, inputs, timm_clip, tiny, tiny_timm

WIDE = {"width": 64, "head_width": 16}


@pytest.mark.parametrize("shape", [(3, 64), (2, 5, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_the_layers_product(shape: tuple[int, ...], bias: bool) -> None:
    layer = torch.nn.Linear(64, 96, bias)
    features = torch.randn(shape)
    quick = PackedLinear(layer.weight, layer.bias)
    torch.testing.assert_close(quick(features), layer(features), atol=1e-5, rtol=1e-5)
    turned = features.transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(quick(turned), layer(features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [lambda: tiny(**WIDE), tiny_timm], ids=["open_clip", "timm"])
@torch.no_grad()
def test_a_packed_tower_gives_its_features(make: Callable[[], Any]) -> None:
    model = adapted(make(), 2)
    size = model.tower.grid[0] * model.tower.patch_px
    images, masks = inputs(size, model.tower.patch_px)
    quick = packed(model)
    assert any(isinstance(module, PackedLinear) for module in quick.modules())
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    torch.testing.assert_close(quick.encode_image(images), model.encode_image(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        quick.encode_image(images, masks), model.encode_image(images, masks), atol=1e-4, rtol=1e-4
    )
    small = torch.zeros(1, 3, 2 * model.tower.patch_px, 2 * model.tower.patch_px)
    torch.testing.assert_close(
        at_grid(quick.clip, 2, 2).encode_image(small),
        at_grid(model.clip, 2, 2).encode_image(small),
        atol=1e-4,
        rtol=1e-4,
    )


def test_the_text_tower_and_what_is_small_stay_as_they_are() -> None:
    clip = adapted(tiny(), 1).clip  # 32 wide
    quick = packed(clip)
    assert {type(module) for module in quick.transformer.modules()} == {type(one) for one in clip.transformer.modules()}
    assert not any(isinstance(module, PackedLinear) for name, module in quick.named_modules() if name.endswith("c_fc"))
    assert any(type(module) is PackedAttention for module in quick.modules())
    assert any(type(module) is SelfAttention for module in clip.modules())


def test_without_onednn_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    clip = tiny(**WIDE)
    assert packed(clip) is clip
    plain = torch.nn.Linear(64, 64)
    assert packed(plain) is plain


def fused_eva() -> Any:  # noqa: ANN401
    """A small tower of EVA01's kind: its attention multiplies with the weight of a layer that it does not call."""
    clip = timm_clip("test_vit", 28, "avg")
    clip.visual.trunk = timm.create_model(
        "eva_giant_patch14_224", num_classes=0, img_size=28, depth=2, embed_dim=64, num_heads=4
    )
    return clip.eval()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiny(layers=[1, 1, 1, 1], width=64, patch_size=None, image_size=64),
        fused_eva,
        lambda: timm_clip("test_vit3", 160, "map"),
        lambda: timm_clip("test_convnext", 160, "avg"),
    ],
    ids=["resnet", "eva", "attention pool", "convnext"],
)
@torch.no_grad()
def test_towers_that_read_their_weights_work_as_before(make: Callable[[], Any]) -> None:
    clip = make()
    size = clip.visual.image_size
    side = size[0] if isinstance(size, tuple) else size
    images = torch.randn(2, 3, side, side)
    torch.testing.assert_close(packed(clip).encode_image(images), clip.encode_image(images), atol=1e-4, rtol=1e-4)
