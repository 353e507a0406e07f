"""Which regions a cascade looks at, by hand-worked examples; and what its coarse CLIP sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stages.cascade import first_for_nouns, first_for_pixels
from stages.clip import RegionEncoder
from stages.clip_config import RegionRules
from stages.clip_tower import at_grid, tower_of
from stages.coarse_clip import CoarseClip, coarse_encoder
from stages.common import Rle, UserError
from tests.train.tiny_clips import adapted, inputs, timm_clip, tiny, tiny_lnd

#            cat   dog
COARSE = [
    [0.20, 0.30],  # 0: a dog
    [0.40, 0.30],  # 1: a cat
    [0.10, 0.50],  # 2: a dog, and more so; 0 comes first all the same
    [0.25, 0.24],  # 3: a cat, though hardly
]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(1, [1]), (2, [0, 1]), (3, [0, 1, 3]), (4, [0, 1, 2, 3]), (99, [0, 1, 2, 3])],
)
def test_nouns_choose_in_turns_what_is_theirs_in_the_order_of_proposals(keep: int, expected: list[int]) -> None:
    assert first_for_nouns(np.array(COARSE, np.float32), keep).tolist() == expected


def test_a_noun_that_is_nowhere_best_takes_where_it_is_least_behind() -> None:
    scores = np.array([[0.5, 0.1], [0.4, 0.3], [0.6, 0.2]], np.float32)
    assert first_for_nouns(scores, 2).tolist() == [0, 1]


def test_without_nouns_nothing_is_ruled_out() -> None:
    assert first_for_nouns(np.zeros((3, 0), np.float32), 1).tolist() == [0, 1, 2]


def box(left: int, right: int) -> Rle:
    mask = np.zeros((96, 96), dtype=bool)
    mask[:, left:right] = True
    return Rle.encode(mask)


def test_the_largest_say_is_looked_at_and_what_is_like_it_is_not() -> None:
    rles = [box(0, 10), box(10, 90), box(12, 90), box(90, 96)]
    weights = np.array([1, 1, 0.9, 1], np.float32)
    chosen, like = first_for_pixels(rles, weights, 2)
    assert chosen.tolist() == [1, 2]
    assert like.tolist() == [-1, 0, 1, -1]
    chosen, like = first_for_pixels(rles, np.array([1, 1, 0.1, 1], np.float32), 2)
    assert chosen.tolist() == [1, 0]
    assert like.tolist() == [1, 0, 0, -1]  # the third is like the second


def test_who_keeps_all_looks_at_all() -> None:
    chosen, like = first_for_pixels([box(0, 10), box(0, 11)], np.ones(2, np.float32), 2)
    assert chosen.tolist() == like.tolist() == [0, 1]
    assert [part.tolist() for part in first_for_pixels([], np.ones(0, np.float32), 3)] == [[], []]


TOWERS: dict[str, Callable[[], Any]] = {
    "open_clip": tiny,
    "tokens first": tiny_lnd,
    "timm": lambda: timm_clip("test_vit", 160, "token"),
    "eva": lambda: timm_clip("eva02_tiny_patch14_224", 224),
    "attention pool": lambda: timm_clip("test_vit3", 160, "map"),
    "no class token": lambda: timm_clip("test_vit", 160, "avg", class_token=False),
}


@pytest.mark.parametrize("name", TOWERS)
def test_a_clip_of_another_grid_shares_its_weights_and_leaves_it_as_it_was(name: str) -> None:
    clip = TOWERS[name]()
    tower = tower_of(clip)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    other = at_grid(clip, 2, 2)
    assert tower_of(other).grid == (2, 2)
    own = {id(value) for value in clip.parameters()}
    assert sum(id(value) not in own for value in other.parameters()) == 1  # the positions
    side = 2 * tower.patch_px
    assert other.encode_image(torch.zeros(1, 3, side, side)).shape == (1, 16)
    assert tower_of(clip).grid == tower.grid
    assert all(torch.equal(value, clip.state_dict()[name]) for name, value in before.items())


def test_the_same_grid_gives_the_same_features() -> None:
    clip, (images, _) = tiny(), inputs()
    torch.testing.assert_close(at_grid(clip, 4, 4).encode_image(images), clip.encode_image(images))


def test_a_coarse_clip_sees_the_mean_of_its_input_and_any_pixel_of_a_mask() -> None:
    model = adapted(tiny(), 2)
    images, masks = inputs()
    coarse = CoarseClip(model, 0.5)
    small = torch.nn.functional.avg_pool2d(images, 2)
    kept = torch.nn.functional.max_pool2d(masks, 2)
    with torch.no_grad():
        torch.testing.assert_close(coarse.encode_image(images, masks), model.at_grid(2, 2).encode_image(small, kept))
        assert not torch.allclose(coarse.encode_image(images, masks)[1], coarse.encode_image(images)[1])
    assert coarse.visual is model.visual


def test_prompts_of_another_grid_are_interpolated() -> None:
    model = adapted(tiny(), 3)
    assert model.mask_embedding is not None
    with torch.no_grad():
        model.mask_embedding.copy_(torch.arange(3.0)[:, None, None].expand_as(model.mask_embedding))
    other = model.at_grid(2, 2)
    assert other.depth == 3
    assert other.mask_embedding is not None
    torch.testing.assert_close(other.mask_embedding.data, torch.arange(3.0)[:, None, None].expand(3, 4, 32))


def test_a_tower_without_patches_cannot_be_coarse() -> None:
    import open_clip

    clip = open_clip.CLIP(
        16,
        {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
        {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
    )
    clip.visual.image_mean = clip.visual.image_std = (0.5, 0.5, 0.5)
    encoder = RegionEncoder(clip.eval().requires_grad_(False), list, RegionRules(), ("{}",))
    with pytest.raises(UserError, match=r"naming: kind 'cascade'.*ModifiedResNet.*naming: \{kind: exact\}"):
        coarse_encoder(encoder, 0.5)
