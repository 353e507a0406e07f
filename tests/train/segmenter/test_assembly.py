"""Label maps against the plain sum over masks, and their memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common import Rle
from stages.proposals.models import EomtProposals, MaskFormerProposals
from stages.proposals.queries import load_query_model
from stages.proposals.query_masks import QueryMasks, Window
from tests.train.segmenter.conftest import photo
from train.segmenter import assembly
from train.segmenter.assembly import assemble, cells_of
from train.segmenter.masks import Masks

HEIGHT, WIDTH = 37, 53


def boxes(*wanted: tuple[int, int, int, int], height: int = HEIGHT, width: int = WIDTH) -> Masks:
    rles = []
    for left, top, right, bottom in wanted:
        mask = np.zeros((height, width), dtype=bool)
        mask[top:bottom, left:right] = True
        rles.append(Rle.encode(mask))
    return Masks.of(rles, height, width)


def soft_masks(count: int, seed: int = 0) -> Masks:
    """Random smooth logits at a coarse size."""
    logits = 4 * torch.randn(count, 6, 9, generator=torch.Generator().manual_seed(seed))
    window = Window((24, 36), (22, 36), (22, 36))
    queries = QueryMasks(logits, torch.full((count, 4), 0.25), (window,))
    empty = Rle.encode(np.zeros((HEIGHT, WIDTH), dtype=bool))
    return Masks(HEIGHT, WIDTH, (empty,) * count, torch.ones(count), None, queries, tuple(range(count)))


def probabilities(masks: int, classes: int, seed: int = 1) -> torch.Tensor:
    return (3 * torch.randn(masks, classes, generator=torch.Generator().manual_seed(seed))).softmax(dim=1)


def test_the_sum_over_covering_masks_decides() -> None:
    masks = boxes((0, 0, 20, 20), (10, 0, 30, 20), (10, 0, 20, 20))
    scores = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9]])
    labels = assemble(masks, scores, HEIGHT, WIDTH)
    assert labels[5, 5] == 0  # 0.7 against 0.3
    assert labels[5, 15] == 1  # 1.2 against 1.8
    assert labels[5, 25] == 1
    assert labels[30, 40] == -1  # covered by nothing
    assert labels.dtype == np.int32
    assert (assemble(masks, scores, HEIGHT, WIDTH, threshold=0.65)[5, 20:30] == -1).all()


def test_random_binary_masks_give_the_plain_sum() -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((12, HEIGHT, WIDTH)) < 0.3
    dense[3] = False
    masks = Masks.of([Rle.encode(mask) for mask in dense], HEIGHT, WIDTH)
    scores = probabilities(12, 7)
    sums = np.einsum("nc,nhw->chw", scores.numpy(), dense.astype(np.float32))
    expected = np.where(dense.any(axis=0), sums.argmax(axis=0), -1)
    np.testing.assert_array_equal(assemble(masks, scores, HEIGHT, WIDTH), expected)


def test_cells_are_pixels_with_the_same_masks() -> None:
    masks = boxes((0, 0, 20, 20), (10, 10, 30, 30))
    cells, members = cells_of(masks.rles, HEIGHT, WIDTH)
    for row, column in ((5, 5), (15, 15), (25, 25), (35, 50)):
        expected = [bool(rle.decode()[row, column]) for rle in masks.rles]
        assert members[cells[row, column]].tolist() == expected


@pytest.mark.parametrize("block_values", [1 << 24, 10 * WIDTH * 3, 1])
def test_soft_masks_give_the_plain_sum_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, block_values: int
) -> None:
    monkeypatch.setattr(assembly, "_BLOCK_VALUES", block_values)
    monkeypatch.setattr(assembly, "_TILE_PX", 8)
    masks, scores = soft_masks(10), probabilities(10, 20)
    assert masks.queries is not None
    full = torch.stack([masks.queries.logits_on_photo(number, HEIGHT, WIDTH) for number in range(10)]).sigmoid()
    sums = torch.einsum("nc,nhw->chw", scores, full)
    labels = assemble(masks, scores, HEIGHT, WIDTH)
    assert (labels == sums.argmax(dim=0).numpy()).mean() > 0.9999
    assert len(np.unique(labels)) > 3


def test_soft_masks_can_be_assembled_at_another_size() -> None:
    masks, scores = soft_masks(4), probabilities(4, 3)
    small = assemble(masks, scores, 20, 30)
    assert small.shape == (20, 30)
    with pytest.raises(ValueError, match="binary masks of 37 x 53"):
        assemble(boxes((0, 0, 5, 5)), torch.ones(1, 2), 20, 30)
    with pytest.raises(ValueError, match="3 rows for 4 masks"):
        assemble(masks, scores[:3], 20, 30)


def test_no_mask_is_nothing() -> None:
    assert (assemble(Masks.of([], 4, 5), torch.ones(0, 3), 4, 5) == -1).all()


@pytest.mark.parametrize("kind", ["maskformer", "eomt"])
@pytest.mark.parametrize(("height", "width"), [(77, 131), (131, 77)])
def test_rows_are_those_of_the_whole_photo(generators: dict[str, Path], kind: str, height: int, width: int) -> None:
    make = {"maskformer": MaskFormerProposals, "eomt": EomtProposals}[kind]
    queries = load_query_model(make(model=str(generators[kind])), "cpu").queries(photo(height, width))
    chosen = list(range(len(queries.mask_logits)))[::2]
    whole = torch.stack([queries.logits_on_photo(number, height, width) for number in chosen])
    assert len(queries.windows) == (2 if kind == "eomt" else 1)
    for first, last in ((0, 1), (5, 40), (height - 3, height), (0, height)):
        rows = queries.rows_on_photo(chosen, first, last, height, width)
        torch.testing.assert_close(rows, whole[:, first:last], rtol=1e-4, atol=1e-4)


def peak_mib(masks: Masks, classes: int) -> float:
    scores = probabilities(len(masks), classes)
    tracemalloc.start()
    assemble(masks, scores, masks.height, masks.width)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def test_binary_masks_of_a_large_photo_take_a_few_bytes_a_pixel() -> None:
    height, width, count = 1500, 2000, 40
    rles = [Rle.encode(np.eye(height, width, 10 * number, dtype=bool)) for number in range(count)]
    # The label map and the cells have 4 bytes per pixel each; 847 classes of float32 would have 3,388.
    assert peak_mib(Masks.of(rles, height, width), 847) < 40 * height * width / 2**20


def test_soft_blocks_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    original = QueryMasks.rows_on_photo

    def watched(self: QueryMasks, *args: int) -> torch.Tensor:
        nonlocal largest
        rows = original(self, *args)  # type: ignore[arg-type]
        largest = max(largest, rows.numel())
        return rows

    monkeypatch.setattr(QueryMasks, "rows_on_photo", watched)
    monkeypatch.setattr(assembly, "_BLOCK_VALUES", 1 << 16)
    masks = soft_masks(20)
    assemble(masks, probabilities(20, 847), 400, 1000)
    assert 0 < largest <= 1 << 16
