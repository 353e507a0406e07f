"""Masks that came with the input, and the readers of their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages.common import ImageRecord, Rle, SampleError, SourceMask
from stages.proposals import build_proposer
from stages.proposals.models import GroundTruthProposals, PrecomputedProposals
from stages.proposals.provided import mask_files

HEIGHT_PX, WIDTH_PX = 7, 11
IMAGE = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)


def record_of(*masks: SourceMask, mask_size_hw_px: tuple[int, int] | None = None) -> ImageRecord:
    return ImageRecord("1", "1.jpg", ("a cat",), masks=masks, mask_size_hw_px=mask_size_hw_px)


def reason_of(segmentation: object, size_hw_px: tuple[int, int] | None = None) -> tuple[str, str]:
    proposer = build_proposer(GroundTruthProposals())
    with pytest.raises(SampleError) as caught:
        proposer.propose(record_of(SourceMask(segmentation), mask_size_hw_px=size_hw_px), IMAGE)
    return caught.value.reason, caught.value.message


@pytest.fixture
def mask() -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    mask[2:5, 1:9] = True
    mask[3, 4] = False
    return mask


def test_all_forms_of_coco_give_the_same_mask(mask: NDArray[np.bool_]) -> None:
    compressed = Rle.encode(mask).to_coco()
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.astype(int), [0]))))
    counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    forms = [compressed, json.dumps(compressed), {"size": [HEIGHT_PX, WIDTH_PX], "counts": counts}]
    proposals = build_proposer(GroundTruthProposals()).propose(record_of(*map(SourceMask, forms)), IMAGE)
    assert len(proposals) == 3
    for proposal in proposals:
        np.testing.assert_array_equal(proposal.rle.decode(), mask)
        assert proposal.source == "ground_truth"
        assert proposal.score == 1.0


def test_polygon_covers_its_pixels() -> None:
    square = [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]]
    proposals = build_proposer(GroundTruthProposals()).propose(record_of(SourceMask(square, label="box")), IMAGE)
    assert proposals[0].rle.box_xyxy_px == (2, 1, 6, 5)
    assert proposals[0].label == "box"


@pytest.mark.parametrize(("include_crowd", "number"), [(False, 1), (True, 2)])
def test_crowd_masks_come_only_when_asked_for(mask: NDArray[np.bool_], include_crowd: bool, number: int) -> None:
    rle = Rle.encode(mask).to_coco()
    record = record_of(SourceMask(rle), SourceMask(rle, is_crowd=True))
    assert len(build_proposer(GroundTruthProposals(include_crowd=include_crowd)).propose(record, IMAGE)) == number


def test_precomputed_masks_keep_score_and_order(mask: NDArray[np.bool_]) -> None:
    rle = Rle.encode(mask).to_coco()
    record = record_of(SourceMask(rle, score=0.25, label="a"), SourceMask(rle, score=0.75))
    proposals = build_proposer(PrecomputedProposals(path="x.json")).propose(record, IMAGE)
    assert [(p.score, p.source, p.label) for p in proposals] == [
        (0.25, "precomputed", "a"),
        (0.75, "precomputed", None),
    ]


def test_another_size_is_named_with_both_sizes(mask: NDArray[np.bool_]) -> None:
    turned = Rle.encode(np.ascontiguousarray(mask.T)).to_coco()
    reason, message = reason_of(turned)
    assert reason == "mask_size_mismatch"
    assert "[11, 7]" in message
    assert "[7, 11]" in message


def test_polygons_of_an_image_of_another_size_are_refused() -> None:
    assert reason_of([[1, 1, 3, 1, 3, 3]], (14, 22))[0] == "mask_size_mismatch"


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [7, 11], "counts": [3, 4]},
        {"size": [7, 11], "counts": [70, -3, 10]},
        {"size": [7, 11], "counts": [77.5, "a"]},
        {"size": [7, 11], "counts": "34"},
        {"size": [7, 11], "counts": "zzzz"},
        {"size": [7, 11], "counts": ""},
        {"size": [7, 11], "counts": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
        {"size": [7], "counts": [77]},
        {"size": [7, 11]},
        {},
        [],
        [[1, 1, 2, 2]],
        [[1, 1, 2, 2, 3]],
        [[1, 1, 2, float("nan"), 3, 3]],
        [[1, 1, 2, 1e9, 3, 3]],
        ["not", "numbers"],
        [1.0, 1.0, 3.0, 1.0, 3.0, 3.0],
        "not JSON",
        "3",
        None,
        5,
    ],
)
def test_malformed_segmentation_is_a_bad_sample(segmentation: object) -> None:
    assert reason_of(segmentation)[0] == "bad_segmentation"


def test_score_outside_0_1_is_a_bad_sample(mask: NDArray[np.bool_]) -> None:
    record = record_of(SourceMask(Rle.encode(mask).to_coco(), score=float("nan")))
    with pytest.raises(SampleError, match="score"):
        build_proposer(PrecomputedProposals(path="x.json")).propose(record, IMAGE)


def write_panoptic_png(path: Path, ids: NDArray[np.int64]) -> None:
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(path)


def test_panoptic_segments_are_read_from_their_png(tmp_path: Path, mask: NDArray[np.bool_]) -> None:
    png = tmp_path / "1.png"
    write_panoptic_png(png, np.where(mask, 70000, 300))
    references = [json.dumps({"png": str(png), "segment_id": number}) for number in (70000, 300)]
    record = record_of(*map(SourceMask, references))
    first, second = build_proposer(GroundTruthProposals()).propose(record, IMAGE)
    np.testing.assert_array_equal(first.rle.decode(), mask)
    np.testing.assert_array_equal(second.rle.decode(), ~mask)
    assert mask_files(record) == (str(png),)


def test_panoptic_errors_are_bad_samples(tmp_path: Path) -> None:
    png = tmp_path / "1.png"
    write_panoptic_png(png, np.full((HEIGHT_PX, WIDTH_PX), 5))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    write_panoptic_png(tmp_path / "small.png", np.full((3, 4), 5))
    assert reason_of({"png": str(png), "segment_id": 6})[0] == "bad_segmentation"
    assert reason_of({"png": str(png)})[0] == "bad_segmentation"
    assert reason_of({"png": str(tmp_path / "broken.png"), "segment_id": 5})[0] == "unreadable_mask_file"
    assert reason_of({"png": str(tmp_path / "none.png"), "segment_id": 5})[0] == "unreadable_mask_file"
    assert reason_of({"png": str(tmp_path / "small.png"), "segment_id": 5})[0] == "mask_size_mismatch"
