"""Recall against pycocotools' COCOeval, and by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stages.common import Proposal, Rle
from tests.train.evaluate.proposals.cocoeval import Photo, cocoeval
from train.evaluate.proposals import RecallCounter, TruthMask

NAMES = ("cat", "dog", "sky", "sea")
LIMITS = (1, 5, 20)


def box(top: int, left: int, bottom: int, right: int, side: int = 40) -> Rle:
    mask = np.zeros((side, side), bool)
    mask[top:bottom, left:right] = True
    return Rle.encode(mask)


def blob(rng: np.random.Generator, side: int) -> np.ndarray:
    """A rectangle whose sides are of all sizes, often a tiny one."""
    size = np.exp(rng.uniform(1, np.log(side), 2)).astype(int) + 1
    top, left = (rng.integers(0, side - extent + 1) for extent in np.minimum(size, side))
    mask = np.zeros((side, side), bool)
    mask[top : top + size[0], left : left + size[1]] = True
    return mask


def photo(rng: np.random.Generator) -> Photo:
    """Overlapping masks, crowds among them; proposals near them and anywhere, with few different scores."""
    side = int(rng.integers(100, 160))
    truth, proposals = [], []
    for _ in range(rng.integers(0, 12)):
        mask, name = blob(rng, side), int(rng.integers(len(NAMES)))
        area = float(mask.sum()) * rng.uniform(0.9, 1.1) if rng.random() < 0.5 else None
        truth.append(TruthMask(Rle.encode(mask), NAMES[name], name < 2, rng.random() < 0.2, area))
        for _ in range(rng.integers(0, 4)):
            shifted = np.roll(mask, tuple(rng.integers(-3, 4, 2)), (0, 1))
            proposals.append(Proposal(Rle.encode(shifted), int(rng.integers(10)) / 10, "test"))
    for _ in range(rng.integers(0, 12)):
        proposals.append(Proposal(Rle.encode(blob(rng, side)), int(rng.integers(10)) / 10, "test"))
    return [proposals[at] for at in rng.permutation(len(proposals))], truth


PARTS: dict[str, Callable[[TruthMask], bool]] = {
    "all": lambda mask: True,
    "things": lambda mask: mask.is_thing,
    "stuff": lambda mask: not mask.is_thing,
    "things_seen": lambda mask: mask.is_thing and mask.name == "cat",
    "things_unseen": lambda mask: mask.is_thing and mask.name != "cat",
    "stuff_seen": lambda mask: mask.name == "sky",
    "stuff_unseen": lambda mask: mask.name == "sea",
}


@pytest.mark.parametrize("seed", range(4))
def test_every_part_equals_cocoeval_with_that_ground_truth_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    photos = [photo(rng) for _ in range(12)]
    counter = RecallCounter(LIMITS, seen=["cat", "sky"])
    for proposals, truth in photos:
        counter.add(proposals, truth)
    scores, by_name = counter.scores(), counter.by_name()
    parts = dict.fromkeys(name.partition("/")[0] for name in scores)
    assert parts.keys() == PARTS.keys()
    for part, belongs in PARTS.items():
        expected = cocoeval([(found, [one for one in truth if belongs(one)]) for found, truth in photos], LIMITS)
        assert 0 < (expected["ar@20"] or 0) < 1  # otherwise nothing is compared
        assert {f"{part}/{name}": pytest.approx(value, abs=1e-12) for name, value in expected.items()} == {
            name: value for name, value in scores.items() if name.startswith(f"{part}/") and "masks" not in name
        }
    assert list(by_name) == sorted(NAMES)
    for name in NAMES:
        expected = cocoeval([(found, [one for one in truth if one.name == name]) for found, truth in photos], LIMITS)
        assert {key: pytest.approx(value, abs=1e-12) for key, value in expected.items()} == {
            key: value for key, value in by_name[name].items() if key != "masks"
        }


def test_a_thing_is_found_by_a_proposal_that_finds_stuff_better() -> None:
    """All together, the one proposal goes to the stuff."""
    counter = RecallCounter((10,))
    truth = [TruthMask(box(0, 0, 20, 16), "dog"), TruthMask(box(0, 0, 20, 20), "sea", is_thing=False)]
    counter.add([Proposal(box(0, 0, 20, 20), 1.0, "test")], truth)
    scores = counter.scores()
    assert [scores[f"{part}/recall_50@10"] for part in ("all", "things", "stuff")] == [0.5, 1.0, 1.0]
    assert [scores[f"{part}/masks"] for part in ("all", "things", "stuff")] == [2, 1, 1]
    assert scores["things/recall_75@10"] == 1.0  # IoU 0.8
    assert scores["things/ar@10"] == pytest.approx(0.7)


def test_the_best_scores_are_looked_at_first_whatever_the_order() -> None:
    counter = RecallCounter((1, 2))
    proposals = [Proposal(box(0, 0, 9, 9), 0.2, "test"), Proposal(box(20, 20, 30, 30), 0.9, "test")]
    counter.add(proposals, [TruthMask(box(0, 0, 9, 9), "dog")])
    assert [counter.scores()[f"things/recall_50@{limit}"] for limit in (1, 2)] == [0.0, 1.0]


def test_of_masks_that_a_proposal_overlaps_equally_the_last_is_found() -> None:
    """The halves of the first proposal; the second one then has nothing left."""
    truth = [TruthMask(box(0, 0, 20, 10), "dog"), TruthMask(box(0, 10, 20, 20), "cat")]
    proposals = [Proposal(box(0, 0, 20, 20), 0.9, "test"), Proposal(box(0, 10, 20, 20), 0.5, "test")]
    counter = RecallCounter((2,))
    counter.add(proposals, truth)
    assert counter.scores()["all/recall_50@2"] == cocoeval([(proposals, truth)], (2,))["recall_50@2"] == 0.5


@pytest.mark.parametrize(
    ("area_px", "sizes"),
    [
        (None, {"small"}),
        (1023.0, {"small"}),
        (1024.0, {"small", "medium"}),
        (9216.0, {"medium", "large"}),
        (9217.0, {"large"}),
    ],
)
def test_the_area_that_the_truth_gives_decides_the_size_and_both_ends_belong_to_it(
    area_px: float | None, sizes: set[str]
) -> None:
    counter = RecallCounter((1,))
    counter.add([Proposal(box(0, 0, 9, 9), 1.0, "test")], [TruthMask(box(0, 0, 9, 9), "dog", area_px=area_px)])
    scores = counter.scores()
    assert {size for size in ("small", "medium", "large") if scores[f"all/ar_{size}@1"] == 1.0} == sizes


def test_photos_without_truth_or_proposals_and_crowds_change_nothing_but_masks_that_are_missed() -> None:
    counter = RecallCounter((10,), seen=())
    counter.add([Proposal(box(0, 0, 9, 9), 1.0, "test")], [])
    counter.add([], [TruthMask(box(0, 0, 9, 9), "dog", is_crowd=True)])
    assert set(counter.scores().values()) == {0, None}
    assert counter.by_name() == {}
    counter.add([], [TruthMask(box(0, 0, 9, 9), "dog")])
    assert counter.scores()["things_unseen/recall_50@10"] == 0.0
    assert counter.by_name()["dog"]["masks"] == 1


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one size \(height, width\), got \[\(40, 40\), \(50, 50\)\]"):
        RecallCounter().add([Proposal(box(0, 0, 9, 9, 50), 1.0, "test")], [TruthMask(box(0, 0, 9, 9), "dog")])
