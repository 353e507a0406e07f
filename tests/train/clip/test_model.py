"""Mask prompts: the published rule, against a loop by hand, for towers of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from stages.clip_tower import resize_grid
from stages.common import UserError
from tests.train.tiny_clips import TEXT, adapted, inputs, timm_clip, tiny, tiny_lnd
from train.clip.model import MaskPromptCLIP


def put_prompts(tokens: Tensor, prompt: Tensor, masks: Tensor, patch: int, first: int) -> Tensor:
    """One token after another: those of patches without a kept pixel, from number `first` on, become the prompt's."""
    tokens = tokens.clone()
    columns = masks.shape[-1] // patch
    for image in range(len(tokens)):
        for number in range(tokens.shape[1] - first):
            top, left = patch * (number // columns), patch * (number % columns)
            if not masks[image, 0, top : top + patch, left : left + patch].any():
                tokens[image, first + number] = prompt[number]
    return tokens


def by_hand(visual: Any, prompts: Tensor, images: Tensor, masks: Tensor) -> Tensor:  # noqa: ANN401
    """The published rule through the modules of open_clip's own tower."""
    patch = visual.conv1.kernel_size[0]
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = put_prompts(x, prompts[0], masks, patch, 0)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for number, block in enumerate(visual.transformer.resblocks, start=1):
        x = block(x) if visual.transformer.batch_first else block(x.transpose(0, 1)).transpose(0, 1)
        if number < len(prompts):
            x = put_prompts(x, prompts[number], masks, patch, 1)
    if visual.final_ln_after_pool:
        x = visual.ln_post(x[:, 1:].mean(1) if visual.pool_type == "avg" else x[:, 0])
    else:
        x = visual.ln_post(x)
        x = x[:, 1:].mean(1) if visual.pool_type == "avg" else x[:, 0]
    features: Tensor = x @ visual.proj
    return features


def timm_by_hand(visual: Any, prompts: Tensor, images: Tensor, masks: Tensor) -> Tensor:  # noqa: ANN401
    """The published rule through the modules of a timm VisionTransformer."""
    trunk = visual.trunk
    patch = trunk.patch_embed.patch_size[0]
    x = trunk.patch_embed(images)  # [N, rows, columns, width] where the input size may change, else [N, patches, width]
    x = put_prompts(x.view(len(x), -1, x.shape[-1]), prompts[0], masks, patch, 0).view_as(x)
    x = trunk.norm_pre(trunk._pos_embed(x))
    for number, block in enumerate(trunk.blocks, start=1):
        x = block(x)
        if number < len(prompts):
            x = put_prompts(x, prompts[number], masks, patch, trunk.num_prefix_tokens)
    features: Tensor = visual.head(trunk.forward_head(trunk.norm(x)))
    return features


OWN: dict[str, Callable[[], Any]] = {
    "plain": tiny,
    "quick-gelu": lambda: tiny(quick_gelu=True),
    "no-ln-pre": lambda: tiny(no_ln_pre=True),
    "average": lambda: tiny(pool_type="avg", final_ln_after_pool=True),
    "custom-blocks": lambda: tiny(qk_norm=True, scale_fc=True, ls_init_value=0.5),
    "patch-dropout": lambda: tiny(patch_dropout=0.5),
    "tokens-first": tiny_lnd,
}
TIMM: dict[str, Callable[[], Any]] = {
    "class-token": lambda: timm_clip("test_vit", 160, "token"),
    "register-token": lambda: timm_clip("test_vit2", 160, "avg"),
    "attention-pool": lambda: timm_clip("test_vit3", 160, "map"),
    "no-prefix": lambda: timm_clip("test_vit", 160, "avg", class_token=False),
}


def golden_model(file: Path) -> tuple[MaskPromptCLIP, dict[str, Tensor]]:
    with np.load(file) as arrays:
        values = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    size, patch, width, layers, head_width, embed_dim, depth, quick_gelu = values["config"].tolist()
    vision = {
        "image_size": size,
        "patch_size": patch,
        "width": width,
        "layers": layers,
        "head_width": head_width,
    }
    clip = open_clip.CLIP(embed_dim=embed_dim, vision_cfg=vision, text_cfg=TEXT, quick_gelu=bool(quick_gelu))
    state = {name.removeprefix("state/"): value for name, value in values.items() if name.startswith("state/")}
    prompts = state.pop("mask_embedding")
    clip.visual.load_state_dict(state)
    model = MaskPromptCLIP(clip.eval(), depth)
    model.set_prompts(prompts)
    return model.eval(), values


@pytest.mark.parametrize("name", ["mask_prompt_vit_depth1.npz", "mask_prompt_vit_quickgelu.npz"])
def test_agrees_with_the_published_system(shared_data: Path, name: str) -> None:
    file = shared_data / "golden" / name
    if not file.is_file():
        pytest.skip(f"no {file}")
    model, values = golden_model(file)
    with torch.inference_mode():
        masked = model.encode_image(values["images"], values["masks"])
        plain = model.encode_image(values["images"])
    torch.testing.assert_close(masked, values["features_with_mask"], rtol=0, atol=1e-5)
    torch.testing.assert_close(plain, values["features_without_mask"], rtol=0, atol=1e-5)
    assert (masked - plain).abs().max() > 1e-2


@pytest.mark.parametrize("depth", [1, 3, 4])
@pytest.mark.parametrize("kind", OWN)
@torch.no_grad()
def test_towers_of_open_clip_follow_the_rule(kind: str, depth: int) -> None:
    model = adapted(OWN[kind](), depth)
    assert model.mask_embedding is not None
    images, masks = inputs()
    features = model.encode_image(images, masks)
    torch.testing.assert_close(features, by_hand(model.clip.visual, model.mask_embedding, images, masks))
    assert (features[1:] - model.encode_image(images)[1:]).abs().max(dim=1).values.min() > 1e-3
    assert torch.equal(features[0], model.encode_image(images)[0])  # nothing is blank


@pytest.mark.parametrize("kind", TIMM)
@torch.no_grad()
def test_towers_of_timm_follow_the_rule(kind: str) -> None:
    clip = TIMM[kind]()
    trunk = clip.visual.trunk
    images, masks = inputs(trunk.patch_embed.img_size[0], trunk.patch_embed.patch_size[0])
    for depth in (1, 3, len(trunk.blocks)):
        model = adapted(clip, depth)
        assert model.mask_embedding is not None
        features = model.encode_image(images, masks)
        expected = timm_by_hand(clip.visual, model.mask_embedding, images, masks)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
        assert (features[1:] - model.encode_image(images)[1:]).abs().max() > 1e-3


@torch.no_grad()
def test_rotary_embeddings_reach_the_blocks_of_eva() -> None:
    model = adapted(timm_clip("eva02_tiny_patch14_224", 224), 2)
    images, masks = inputs(224, 14)
    features = model.encode_image(images[:2], masks[:2])
    assert torch.equal(features[0], model.encode_image(images[:2])[0])
    assert (features[1] - model.encode_image(images[:2])[1]).abs().max() > 1e-3


@pytest.mark.parametrize("make", [*OWN.values(), *TIMM.values()], ids=[*OWN, *TIMM])
def test_without_masks_it_is_the_wrapped_model_to_the_bit(make: Callable[[], Any]) -> None:
    clip = make()
    size = clip.visual.image_size[0]
    state = {name: value.clone() for name, value in clip.state_dict().items()}
    images, masks = inputs(size, 8 if size == 32 else 32)
    model = adapted(clip, 2)
    with torch.no_grad():
        model.encode_image(images, masks)
        assert torch.equal(model.encode_image(images), clip.encode_image(images))
        assert torch.equal(model.encode_image(images, normalize=True), clip.encode_image(images, normalize=True))
    assert clip.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in clip.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in clip.modules())
    assert not any(type(module).__module__ == "train.clip.model" for module in clip.modules())


def test_masks_of_any_type_mean_the_same() -> None:
    model = adapted(tiny(), 3)
    images, masks = inputs()
    expected = model.encode_image(images, masks)
    for other in (masks.bool(), masks.to(torch.uint8), masks.to(torch.uint8) * 255, masks.half()):
        assert torch.equal(model.encode_image(images, other), expected)


def test_text_passes_through() -> None:
    model = adapted(tiny(), 1)
    tokens = torch.randint(1, 60, (3, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.encode_text(tokens, normalize=True), model.clip.encode_text(tokens, normalize=True))


def test_prompts_are_the_only_new_parameter_and_drawn_as_published() -> None:
    clip = tiny(image_size=128)
    before = {id(parameter) for parameter in clip.parameters()}
    model = MaskPromptCLIP(clip, 3)
    new = [name for name, parameter in model.named_parameters() if id(parameter) not in before]
    assert new == ["mask_embedding"]
    assert model.mask_embedding is not None
    assert model.mask_embedding.shape == (3, 256, 32)
    assert abs(float(model.mask_embedding.detach().std()) - 0.02) < 0.001
    assert abs(float(model.mask_embedding.detach().mean())) < 0.001


def test_prompts_move_to_another_resolution_by_interpolation() -> None:
    rows = torch.linspace(-1, 1, 8).repeat_interleave(8)
    prompts = torch.stack([rows, torch.full((64,), 2.0)], dim=1)[None]  # [1, 64, 2]: a ramp, and a constant
    larger = resize_grid(prompts, (8, 8), (16, 12))
    assert larger.shape == (1, 192, 2)
    torch.testing.assert_close(larger[..., 1], torch.full((1, 192), 2.0))
    ramp = larger[0, :, 0].view(16, 12)
    assert (ramp.diff(dim=0) >= -1e-6).all()
    torch.testing.assert_close(ramp[:, :1].expand(16, 12), ramp)
    torch.testing.assert_close(resize_grid(larger, (16, 12), (8, 8))[..., 1], prompts[..., 1])
    assert resize_grid(prompts, (8, 8), (8, 8)) is prompts


def test_set_prompts_resizes_square_grids_and_named_ones() -> None:
    model = MaskPromptCLIP(tiny(), 2)  # grid 4 x 4
    assert model.mask_embedding is not None
    prompts = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0))
    model.set_prompts(prompts)
    torch.testing.assert_close(model.mask_embedding.data, resize_grid(prompts, (8, 8), (4, 4)))
    model.set_prompts(prompts[:, :16], grid=(2, 8))
    torch.testing.assert_close(model.mask_embedding.data, resize_grid(prompts[:, :16], (2, 8), (4, 4)))
    model.set_prompts(prompts[:, :16].half())
    torch.testing.assert_close(model.mask_embedding.data, prompts[:, :16].half().float())


@pytest.mark.parametrize("shape", [(3, 16, 32), (2, 16, 31), (2, 15, 32), (16, 32)])
def test_prompts_of_another_model_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"expected \[2, 16, 32\]") as error:
        MaskPromptCLIP(tiny(), 2).set_prompts(torch.zeros(shape))
    assert str(list(shape)) in str(error.value)


@pytest.mark.parametrize(
    ("clip", "found"),
    [
        (lambda: tiny(layers=[1, 1, 1, 1], width=8, patch_size=None), "ModifiedResNet"),
        (lambda: timm_clip("test_convnext", 160, "avg"), "timm's ConvNeXt"),
        (lambda: timm_clip("vit_tiny_r_s16_p8_224", 224, "token"), "timm's VisionTransformer"),
        (lambda: nn.Linear(1, 1), "NoneType"),
    ],
)
def test_other_towers_are_refused_by_name(clip: Callable[[], Any], found: str) -> None:
    with pytest.raises(UserError, match=f"image tower is {found}; expected a vision transformer"):
        MaskPromptCLIP(clip(), 1)


def test_oblong_patches_are_refused() -> None:
    clip = tiny()
    clip.visual.conv1 = nn.Conv2d(3, 32, (8, 4), (8, 4))
    with pytest.raises(UserError, match="square patches"):
        MaskPromptCLIP(clip, 1)


@pytest.mark.parametrize("depth", [-1, 5])
def test_depth_beyond_the_blocks_is_refused(depth: int) -> None:
    with pytest.raises(UserError, match=f"got {depth}; expected 0 to 4"):
        MaskPromptCLIP(tiny(), depth)


def test_wrong_shapes_are_named() -> None:
    model = adapted(tiny(), 1)
    images, masks = inputs()
    with pytest.raises(ValueError, match=r"masks: got shape \[4, 32, 32\]; expected \[4, 1, 32, 32\]"):
        model.encode_image(images, masks[:, 0])
    with pytest.raises(ValueError, match=r"masks: got shape \[3, 1, 32, 32\]; expected \[4, 1, 32, 32\]"):
        model.encode_image(images, masks[:3])
    with pytest.raises(ValueError, match="images: got 16 x 32 px; expected 32 x 32 px"):
        model.encode_image(images[:, :, :16], masks[:, :, :16])


def test_oblong_inputs_keep_the_order_of_patches() -> None:
    model = adapted(tiny(image_size=[16, 32]), 3)
    assert isinstance(model.clip.visual, VisionTransformer)
    assert model.mask_embedding is not None
    images, masks = (tensor[:, :, :16] for tensor in inputs())
    with torch.no_grad():
        expected = by_hand(model.clip.visual, model.mask_embedding, images, masks)
        torch.testing.assert_close(model.encode_image(images, masks), expected)
