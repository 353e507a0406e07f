"""The common cleaning of masks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from stages.common import Proposal, Rle
from stages.proposals.refine import MaskRules, refine

OFF = MaskRules(
    min_area_fraction=0, min_area_px=0, min_score=0, nms_iou=None, max_hole_fraction=0, max_island_fraction=0
)
CLEANING = {"max_hole_fraction": 0.01, "max_island_fraction": 0.01}


def box(left: int, top: int, right: int, bottom: int, size: int = 100) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def proposal(mask: NDArray[np.bool_], score: float = 0.5) -> Proposal:
    return Proposal(Rle.encode(mask), score, "test")


def rules(**changes: object) -> MaskRules:
    return MaskRules.model_validate(OFF.model_dump() | changes)


def test_no_proposals_give_no_masks_and_no_reasons() -> None:
    assert refine([], MaskRules()) == ([], {})


def test_drops_empty_mask() -> None:
    kept, counts = refine([proposal(box(0, 0, 0, 0)), proposal(box(0, 0, 9, 9))], OFF)
    assert [item.rle.area_px for item in kept] == [81]
    assert counts == {"empty_mask": 1}


def test_drops_mask_below_min_score_and_keeps_one_at_it() -> None:
    kept, counts = refine([proposal(box(0, 0, 9, 9), 0.3), proposal(box(0, 0, 9, 9), 0.29)], rules(min_score=0.3))
    assert [item.score for item in kept] == [0.3]
    assert counts == {"below_min_score": 1}


@pytest.mark.parametrize("limit", [{"min_area_fraction": 0.01}, {"min_area_px": 100}])
def test_drops_mask_below_min_area_and_keeps_one_at_it(limit: dict[str, float]) -> None:
    kept, counts = refine([proposal(box(0, 0, 10, 10)), proposal(box(50, 50, 60, 59))], rules(**limit))
    assert [item.rle.area_px for item in kept] == [100]
    assert counts == {"below_min_area": 1}


def test_of_two_duplicates_the_better_stays() -> None:
    worse, better = proposal(box(0, 0, 50, 50), 0.4), proposal(box(0, 0, 50, 48), 0.6)
    kept, counts = refine([worse, better], rules(nms_iou=0.9))
    assert kept == [better]
    assert counts == {"duplicate_mask": 1}


def test_overlap_at_the_nms_threshold_is_no_duplicate() -> None:
    pair = [proposal(box(0, 0, 10, 10)), proposal(box(0, 0, 10, 5))]
    assert len(refine(pair, rules(nms_iou=0.5))[0]) == 2


def test_a_part_inside_a_larger_mask_is_no_duplicate() -> None:
    kept, _ = refine([proposal(box(0, 0, 90, 90), 0.9), proposal(box(10, 10, 20, 20), 0.1)], rules(nms_iou=0.5))
    assert len(kept) == 2


def test_a_mask_that_duplicates_only_a_dropped_one_stays() -> None:
    """A chain: the second is too close to the first, the third to the second alone."""
    chain = [proposal(box(0, 0, width, 10), score) for width, score in ((10, 0.9), (8, 0.8), (6, 0.7))]
    kept, counts = refine(chain, rules(nms_iou=0.7))
    assert kept == [chain[0], chain[2]]
    assert counts == {"duplicate_mask": 1}


def test_ranks_by_score_then_area_then_order_of_arrival() -> None:
    small, large = proposal(box(0, 0, 5, 5), 0.5), proposal(box(0, 0, 30, 30), 0.5)
    also_small, best = proposal(box(90, 90, 95, 95), 0.5), proposal(box(0, 0, 2, 2), 0.6)
    assert refine([small, large, also_small, best], OFF)[0] == [best, large, small, also_small]


def test_keeps_at_most_max_count() -> None:
    masks = [proposal(box(0, row, 100, row + 1), row / 100) for row in range(30)]
    kept, counts = refine(masks, rules(max_count=10))
    assert [item.score for item in kept] == [row / 100 for row in range(29, 19, -1)]
    assert counts == {"over_max_count": 20}


def test_every_mask_is_kept_or_counted_once() -> None:
    masks = [proposal(box(0, 0, width, 40), 0.5 + width / 200) for width in range(60)]
    kept, counts = refine(masks, MaskRules(min_score=0.55, max_count=5))
    assert len(kept) + sum(counts.values()) == len(masks)
    assert set(counts) == {"empty_mask", "below_min_score", "duplicate_mask", "over_max_count"}


def test_fills_small_holes_and_leaves_large_ones() -> None:
    mask = box(10, 10, 60, 60)  # 2500 px
    mask[20:24, 20:24] = False  # 16 px
    mask[40:50, 40:50] = False  # 100 px
    kept, counts = refine([proposal(mask)], rules(max_hole_fraction=0.01))
    assert kept[0].rle.decode()[20:24, 20:24].all()
    assert not kept[0].rle.decode()[40:50, 40:50].any()
    assert kept[0].rle.area_px == 2400
    assert counts == {"holes_filled": 1}


def test_a_bay_open_to_the_outside_is_no_hole() -> None:
    mask = box(0, 10, 60, 60)
    mask[20:22, 58:60] = False
    mask[30:32, 0:2] = False  # at the image's border
    assert refine([proposal(mask)], rules(max_hole_fraction=0.01)) == ([proposal(mask)], {})


def test_removes_islands_and_leaves_large_parts() -> None:
    mask = box(0, 0, 50, 50) | box(60, 60, 70, 70) | box(90, 90, 93, 93)
    kept, counts = refine([proposal(mask)], rules(max_island_fraction=0.01))
    assert kept[0].rle == Rle.encode(box(0, 0, 50, 50) | box(60, 60, 70, 70))
    assert counts == {"islands_removed": 1}


def test_the_largest_part_stays_when_all_are_islands() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[::4, ::4] = True
    mask[8, 9] = True
    kept, _ = refine([proposal(mask)], rules(max_island_fraction=0.01))
    assert kept[0].rle.box_xyxy_px == (8, 8, 10, 9)


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = box(0, 0, 50, 50) | box(50, 50, 53, 53)
    assert refine([proposal(mask)], rules(max_island_fraction=0.01))[0][0].rle.area_px == 2509


def test_area_and_duplicates_are_judged_after_cleaning() -> None:
    islandled = box(0, 0, 31, 31)
    islandled[50::9, 50::9] = True
    holed = box(0, 0, 31, 31)
    holed[10:13, 10:13] = False
    kept, counts = refine([proposal(islandled, 0.9), proposal(holed, 0.8)], rules(nms_iou=0.999, **CLEANING))
    assert len(kept) == 1
    assert counts == {"holes_filled": 1, "islands_removed": 1, "duplicate_mask": 1}
    assert refine([proposal(islandled)], rules(min_area_px=962, **CLEANING))[1]["below_min_area"] == 1


def test_keeps_source_label_and_score_of_a_cleaned_mask() -> None:
    mask = box(0, 0, 50, 50) | box(90, 90, 93, 93)
    kept, _ = refine([Proposal(Rle.encode(mask), 0.7, "sam", "dog")], MaskRules())
    assert (kept[0].score, kept[0].source, kept[0].label) == (0.7, "sam", "dog")


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        refine([proposal(box(0, 0, 9, 9)), proposal(box(0, 0, 9, 9, size=50))], MaskRules())


@pytest.mark.parametrize("bad", [{"nms_iou": 0}, {"nms_iou": 1.1}, {"max_count": 0}, {"min_area_fraction": -0.1}])
def test_rules_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        MaskRules.model_validate(bad)
