"""The common cleaning of masks: one set of rules that every source of proposals goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pydantic import Field

from stages.common import Config, Proposal, Rle

CHANGES = ("holes_filled", "islands_removed")
"""Counts of refine that are no drops: masks that were changed."""


class MaskRules(Config):
    """Which masks of an image are kept, and how they are cleaned.

    Areas are fractions, so that one manifest serves photos of any size.
    """

    min_area_fraction: float = Field(
        default=0.001, ge=0, lt=1, description="smallest mask, as a fraction of the image's area; 0 = no limit"
    )
    min_area_px: int = Field(
        default=16, ge=0, description="smallest mask in pixels, whatever the image's size; 0 = no limit"
    )
    min_score: float = Field(default=0.0, ge=0, le=1, description="smallest objectness score")
    nms_iou: float | None = Field(
        default=0.9,
        gt=0,
        le=1,
        description="a mask that overlaps a better one with a greater IoU is a duplicate; null = off",
    )
    max_count: int = Field(default=100, ge=1, description="most masks of an image, best score first")
    max_hole_fraction: float = Field(
        default=0.01, ge=0, le=1, description="holes up to this fraction of the mask's own area are filled; 0 = off"
    )
    max_island_fraction: float = Field(
        default=0.01, ge=0, le=1, description="islands up to this fraction of the mask's own area are removed; 0 = off"
    )


def refine(proposals: Sequence[Proposal], rules: MaskRules) -> tuple[list[Proposal], dict[str, int]]:
    """Cleans, filters, de-duplicates and ranks the masks of one image.

    Steps, in this order:
      1. empty masks (``empty_mask``) and scores under the threshold (``below_min_score``) go;
      2. the rest is ranked by score; ties: the larger mask, then the one that came first;
      3. down the ranking, one mask at a time: small holes are filled, then small islands removed; a mask that is
         now too small goes (``below_min_area``), and so does one too similar to a mask already kept
         (``duplicate_mask``);
      4. with `max_count` masks kept, what is left of the ranking goes unexamined (``over_max_count``).

    At most one mask is decoded at any time, so memory is a few bytes per pixel for any number of masks.

    Args:
        proposals: masks of one image, all of that image's size.
        rules: what to keep.

    Returns:
        The kept proposals, best score first, and how often each of the above reasons applied, beside the numbers of
        masks that were changed (``holes_filled``, ``islands_removed``: no drops). Reasons that never applied are
        absent.

    Raises:
        ValueError: the masks have different sizes.
    """
    sizes = {(proposal.rle.height, proposal.rle.width) for proposal in proposals}
    if len(sizes) > 1:
        raise ValueError(f"masks of one image must have one size (height, width), got {sorted(sizes)}")
    counts: Counter[str] = Counter()
    ranked = _ranked(proposals, rules, counts)
    kept: list[Proposal] = []
    for number, candidate in enumerate(ranked):
        if len(kept) == rules.max_count:
            counts["over_max_count"] += len(ranked) - number
            break
        cleaned = _clean(candidate, rules, counts)
        reason = _reason_to_drop(cleaned.rle, kept, rules)
        if reason:
            counts[reason] += 1
        else:
            kept.append(cleaned)
    return kept, dict(counts)


def _ranked(proposals: Sequence[Proposal], rules: MaskRules, counts: Counter[str]) -> list[Proposal]:
    """Drops what can be dropped without decoding, and sorts the rest."""
    with_area: list[tuple[int, Proposal]] = []
    for proposal in proposals:
        area_px = proposal.rle.area_px
        if area_px == 0:
            counts["empty_mask"] += 1
        elif proposal.score < rules.min_score:
            counts["below_min_score"] += 1
        else:
            with_area.append((area_px, proposal))
    with_area.sort(key=lambda item: (-item[1].score, -item[0]))  # a stable sort: ties keep the order they came in
    return [proposal for _, proposal in with_area]


def _reason_to_drop(rle: Rle, kept: Sequence[Proposal], rules: MaskRules) -> str | None:
    if rle.area_px < max(rules.min_area_px, rules.min_area_fraction * rle.height * rle.width):
        return "below_min_area"
    if rules.nms_iou is not None and kept:
        # iscrowd 0 is the plain IoU; with 1, a part inside a large mask would count as its duplicate.
        others = [proposal.rle.to_coco() for proposal in kept]
        iou = coco_mask.iou([rle.to_coco()], others, [0] * len(others))
        if float(iou.max()) > rules.nms_iou:
            return "duplicate_mask"
    return None


def _clean(proposal: Proposal, rules: MaskRules, counts: Counter[str]) -> Proposal:
    """Fills small holes, then removes small islands; gives the same object back if there was nothing to do."""
    if not (rules.max_hole_fraction or rules.max_island_fraction):
        return proposal
    mask = proposal.rle.decode()
    left, top, right, bottom = proposal.rle.box_xyxy_px
    part = mask[top:bottom, left:right]  # a view: what lies outside the box is neither hole nor island
    area_px = int(np.count_nonzero(part))
    filled = fill_holes(part, rules.max_hole_fraction * area_px)
    cleaned = remove_islands(filled, rules.max_island_fraction * area_px)
    holes, islands = filled is not part, cleaned is not filled
    if not (holes or islands):
        return proposal
    if holes:
        counts["holes_filled"] += 1
    if islands:
        counts["islands_removed"] += 1
    mask[top:bottom, left:right] = cleaned
    return replace(proposal, rle=Rle.encode(mask))


def fill_holes(mask: NDArray[np.bool_], max_area_px: float) -> NDArray[np.bool_]:
    """Fills holes of at most `max_area_px`.

    A hole is background that the mask encloses (4-connected, as the mask is 8-connected); a bay that is open to the
    frame of the array is none.

    Args:
        mask: [H, W], bool.
        max_area_px: largest hole to fill, in pixels.

    Returns:
        [H, W], bool; `mask` itself if there is nothing to fill.
    """
    if max_area_px < 1:
        return mask
    background = np.pad(~mask, 1, constant_values=True).view(np.uint8)  # the rim joins all that is outside
    _, labels, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] <= max_area_px
    fill[0] = False  # label 0 is the mask
    fill[labels[0, 0]] = False  # the outside
    if not fill.any():
        return mask
    filled: NDArray[np.bool_] = mask | fill[labels[1:-1, 1:-1]]
    return filled


def remove_islands(mask: NDArray[np.bool_], max_area_px: float) -> NDArray[np.bool_]:
    """Removes islands (8-connected) of at most `max_area_px`; the largest always stays.

    Args:
        mask: [H, W], bool.
        max_area_px: largest island to remove, in pixels.

    Returns:
        [H, W], bool; `mask` itself if there is nothing to remove.
    """
    if max_area_px < 1:
        return mask
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    area, top, left = (stats[:, column] for column in (cv2.CC_STAT_AREA, cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT))
    keep = area > max_area_px
    keep[0] = False
    # Labels may be numbered in another order by another number of threads; positions decide between equals.
    keep[1 + np.lexsort((left[1:], top[1:], -area[1:]))[0]] = True
    if keep[1:].all():
        return mask
    cleaned: NDArray[np.bool_] = keep[labels]
    return cleaned
