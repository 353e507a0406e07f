"""Which cells of a grid are asked for a region, and what their loss is made of."""

from __future__ import annotations

import pytest
import torch

from stages.proposals.grid import Cells, GridConfig, GridGenerator
from tests.train.generator.conftest import TINY
from train.generator import grid_loss
from train.generator.grid_loss import GridObjective
from train.generator.samples import MaskBatch, MaskSample
from train.loop import Processes

SIDE = 64
ALONE = Processes(0, 1, "cpu")


def sample(*boxes: tuple[int, int, int, int], stuff: int = 0, valid: int = SIDE, seed: int = 0) -> MaskSample:
    """Masks of boxes (top, left, bottom, right); the last `stuff` of them are stuff."""
    masks = torch.zeros((len(boxes), SIDE, SIDE), dtype=torch.bool)
    for number, (top, left, bottom, right) in enumerate(boxes):
        masks[number, top:bottom, left:right] = True
    is_thing = torch.arange(len(boxes)) < len(boxes) - stuff
    ignored = torch.zeros((SIDE, SIDE), dtype=torch.bool)
    return MaskSample(masks, is_thing, torch.zeros(len(boxes), dtype=torch.int64), ignored, (valid, valid), seed)


def test_a_small_thing_has_the_cell_of_its_middle() -> None:
    owner = grid_loss._thing_cells(sample((8, 24, 14, 32)))
    assert (owner >= 0).nonzero().tolist() == [[1, 3]]


def test_a_large_thing_has_the_cells_around_its_middle_and_the_smaller_one_wins() -> None:
    owner = grid_loss._thing_cells(sample((0, 0, 64, 64), (28, 28, 36, 36)))
    assert (owner == 0).sum() + (owner == 1).sum() == 4
    assert owner[4, 4] == 1
    assert owner[3, 3] == 0
    assert (owner[:2] == -1).all()


def test_stuff_has_the_cells_that_it_covers_and_at_least_one() -> None:
    owner = grid_loss._stuff_cells(sample((0, 0, 40, 64), (60, 0, 64, 20), stuff=2))
    assert (owner[:2] == 0).all()  # 16 px each; the third row is covered by half
    assert (owner == 1).nonzero().tolist() == [[3, 0]]
    assert (grid_loss._stuff_cells(sample((0, 0, 9, 9))) == -1).all()


def test_cells_that_show_no_mask_of_their_region_do_not_count() -> None:
    owner = torch.full((4, 4), -1)
    owner[:2] = 0
    shown, counts = grid_loss._draw_cells(owner, 3, torch.Generator().manual_seed(0))
    assert shown.shape == (3, 3)
    assert counts.sum() == 8 + 3
    assert all(counts[row, column] for _, row, column in shown.tolist())


def parts(logit: float, score: float) -> grid_loss.Parts:
    """Of one cell that shows a mask, right where the logit is positive."""
    fine = torch.zeros(1, 16)
    fine[0, :8] = 1
    features = torch.where(fine > 0, 1.0, -1.0)
    kernels, scores = torch.zeros(1, 2, 2), torch.full((2, 2), -20.0)
    kernels[0, 0, 1], scores[0, 1] = logit, score
    shown = torch.tensor([[0, 0, 1]])
    return grid_loss._grid_parts(Cells(scores, kernels), shown, torch.ones(2, 2, dtype=torch.bool), features, fine)


def test_a_right_mask_with_a_high_score_costs_nothing_and_a_wrong_one_should_have_a_low_score() -> None:
    right, wrong = parts(20.0, 20.0), parts(-20.0, 20.0)
    assert float(right.dice + right.bce + right.score) == pytest.approx(0.0, abs=1e-6)
    assert float(right.iou) == 1.0
    assert float(wrong.iou) == 0.0
    assert float(wrong.dice) > 0.9
    assert float(wrong.score) > 10
    assert float(parts(-20.0, -20.0).score) == pytest.approx(0.0, abs=1e-6)
    assert float(parts(20.0, -20.0).score) > 10


def test_padding_and_crowds_are_no_background() -> None:
    torch.manual_seed(0)
    network = GridGenerator(GridConfig.model_validate(TINY)).eval()
    one = sample((8, 8, 24, 24))
    crowd = torch.zeros((SIDE, SIDE), dtype=torch.bool)
    crowd[:, 32:] = True
    small = MaskSample(one.masks, one.is_thing, one.names, one.ignored, (32, 32), 0)
    crowded = MaskSample(one.masks, one.is_thing, one.names, crowd, (SIDE, SIDE), 0)
    pixels = torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8)
    scores = [float(_loss(network, MaskBatch(pixels, [each]))[1]["score"]) for each in (one, small, crowded)]
    assert scores[1] < 0.5 * scores[0]
    assert scores[2] < 0.7 * scores[0]


def _loss(network: GridGenerator, batch: MaskBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return GridObjective(3, ALONE).loss(network, batch)


def test_a_picture_without_a_mask_still_teaches_what_is_nothing() -> None:
    torch.manual_seed(0)
    network = GridGenerator(GridConfig.model_validate(TINY)).eval()
    loss, told = _loss(network, MaskBatch(torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8), [sample()]))
    torch.autograd.backward(loss)
    assert float(told["score"]) > 0
    assert float(told["dice"]) == 0


def test_the_loss_of_a_batch_is_over_all_its_masks() -> None:
    torch.manual_seed(0)
    network = GridGenerator(GridConfig.model_validate(TINY)).eval()
    pixels = torch.randint(0, 255, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    samples = [
        sample((8, 8, 24, 24), seed=1),
        sample((0, 0, 64, 64), (8, 8, 16, 16), (30, 30, 60, 60), stuff=1, seed=2),
    ]
    both, _ = _loss(network, MaskBatch(pixels, samples))
    alone = [_loss(network, MaskBatch(pixels[at : at + 1], [one])) for at, one in enumerate(samples)]
    counts = [
        len(grid_loss._draw_cells(owner, 3, torch.Generator())[0]) for owner in map(grid_loss._thing_cells, samples)
    ]
    stuff = [
        len(grid_loss._draw_cells(owner, 3, torch.Generator())[0]) for owner in map(grid_loss._stuff_cells, samples)
    ]
    shown = [one + other for one, other in zip(counts, stuff, strict=True)]
    expected = sum(float(loss) * count for (loss, _), count in zip(alone, shown, strict=True)) / sum(shown)
    assert float(both) == pytest.approx(expected, rel=1e-4)
