"""Masks that came with the input, and the readers of their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages.common import ImageRecord, Rle, SampleError, SourceMask
from stages.proposals import build_proposer, propose
from stages.proposals.models import GroundTruthProposals, PrecomputedProposals
from stages.proposals.provided import mask_files

HEIGHT_PX, WIDTH_PX = 7, 11
IMAGE = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)


def record_of(*masks: SourceMask, mask_size_hw_px: tuple[int, int] | None = None) -> ImageRecord:
    return ImageRecord("1", "1.jpg", ("a cat",), masks=masks, mask_size_hw_px=mask_size_hw_px)


GOOD = SourceMask([[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]])


def bad_of(*masks: SourceMask, mask_size_hw_px: tuple[int, int] | None = None) -> list[tuple[str, str]]:
    """What is wrong with those of the masks that are bad."""
    record = record_of(*masks, mask_size_hw_px=mask_size_hw_px)
    good, bad = propose(build_proposer(GroundTruthProposals()), record, IMAGE)
    assert len(good) + len(bad) == len(masks)
    return [(one.reason, one.message) for one in bad]


def refusal_of(*masks: SourceMask, mask_size_hw_px: tuple[int, int] | None = None) -> tuple[str, str]:
    """Why the whole photo is refused."""
    with pytest.raises(SampleError) as caught:
        bad_of(*masks, mask_size_hw_px=mask_size_hw_px)
    return caught.value.reason, caught.value.message


def reference(png: Path, segment_id: object) -> SourceMask:
    return SourceMask(json.dumps({"png": str(png), "segment_id": segment_id}))


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


def test_a_mask_of_another_size_is_bad_alone_and_named_with_both_sizes(mask: NDArray[np.bool_]) -> None:
    turned = SourceMask(Rle.encode(np.ascontiguousarray(mask.T)).to_coco())
    ((reason, message),) = bad_of(GOOD, turned)
    assert reason == "mask_size_mismatch"
    assert message == "mask 1: it is [11, 7] (height, width) in pixels, the image is [7, 11]"
    assert refusal_of(turned, turned) == (reason, message.replace("mask 1", "mask 0"))


def test_polygons_of_an_image_of_another_size_are_bad_and_masks_of_the_right_one_good(mask: NDArray[np.bool_]) -> None:
    assert refusal_of(GOOD, mask_size_hw_px=(14, 22))[0] == "mask_size_mismatch"
    rle = SourceMask(Rle.encode(mask).to_coco())
    assert [reason for reason, _ in bad_of(rle, GOOD, mask_size_hw_px=(14, 22))] == ["mask_size_mismatch"]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [7, 11], "counts": [3, 4]},
        {"size": [7, 11], "counts": [70, -3, 10]},
        {"size": [7, 11], "counts": [77.5, "a"]},
        {"size": [7, 11], "counts": [70.5, 6.5]},
        {"size": [7, 11], "counts": [float("nan"), 77]},
        {"size": [7, 11], "counts": [10**30]},
        {"size": [7, 11], "counts": [[77]]},
        {"size": [7, 11], "counts": None},
        {"size": [7, 11], "counts": {"a": 77}},
        {"size": [7, 11], "counts": [True] * 77},
        {"size": [7, 11], "counts": "34"},
        {"size": [7, 11], "counts": "zzzz"},
        {"size": [7, 11], "counts": "0\\oP" * 20},
        {"size": [7, 11], "counts": "b'0\\oP'"},
        {"size": [7, 11], "counts": ""},
        {"size": [7, 11], "counts": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
        {"size": [7], "counts": [77]},
        {"size": [7.5, 11], "counts": [77]},
        {"size": [-7, -11], "counts": [77]},
        {"size": None, "counts": [77]},
        {"size": [7, 11]},
        {},
        [],
        [[]],
        [[1, 1, 2, 2]],
        [1, 1, 2, 2],
        [[1, 1], [2, 2]],
        [[1, 1, 2, 2, 3]],
        [[1, 1, 3, 1, 3, 3], [1, 1, 2, 2, 3]],
        [[1, 1, 2, float("nan"), 3, 3]],
        [[1, 1, 2, float("inf"), 3, 3]],
        [[1, 1, 2, None, 3, 3]],
        [[1, 1, 2, 1e9, 3, 3]],
        [[1, 1, 2, 10**400, 3, 3]],
        [[[[1, 1], [3, 1], [3, 3]]]],
        [1, 1, [3, 1], 3, 3],
        [{"size": [7, 11], "counts": [77]}],
        ["not", "numbers"],
        "not JSON",
        "[" * 100_000,
        "3",
        None,
        5,
    ],
)
def test_a_malformed_mask_is_bad_alone(segmentation: object) -> None:
    assert [reason for reason, _ in bad_of(GOOD, SourceMask(segmentation), GOOD)] == ["bad_segmentation"]
    assert [reason for reason, _ in bad_of(SourceMask(segmentation))] == ["bad_segmentation"]


@pytest.mark.parametrize(
    "segmentation",
    [
        [2, 1, 6, 1, 6, 5, 2, 5],
        ["2", "1.0", 6, 1, 6, 5, 2, 5],
        [[2, 1], [6, 1], [6, 5], [2, 5]],
        [[[2, 1], [6, 1], [6, 5], [2, 5]]],
        [[2, 1, 6, 1, 6, 5, 2, 5], [3, 3]],
        [[2, 1, 6, 1, 6, 5, 2, 5], []],
    ],
)
def test_polygons_are_read_where_they_mean_one_thing(segmentation: object) -> None:
    record = record_of(GOOD, SourceMask(segmentation), SourceMask(json.dumps(segmentation)))
    first, second, third = build_proposer(GroundTruthProposals()).propose(record, IMAGE)
    assert first.rle == second.rle == third.rle


@pytest.mark.parametrize("counts", [[22, 3, 52], [22.0, 3.0, 52.0]])
@pytest.mark.parametrize("size", [[7, 11], [7.0, 11.0], ["7", "11"]])
def test_whole_numbers_of_an_rle_may_be_written_as_floats(size: object, counts: object) -> None:
    (found,) = build_proposer(GroundTruthProposals()).propose(
        record_of(SourceMask({"size": size, "counts": counts})), IMAGE
    )
    assert found.rle.area_px == 3


def test_score_outside_0_1_is_bad_alone() -> None:
    odd = [SourceMask(GOOD.segmentation, score=score) for score in (float("nan"), -1.0, 2.0)]
    assert [reason for reason, _ in bad_of(GOOD, *odd)] == ["bad_score"] * 3


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


def test_a_segment_that_its_png_lacks_is_bad_alone(tmp_path: Path) -> None:
    png = tmp_path / "1.png"
    write_panoptic_png(png, np.full((HEIGHT_PX, WIDTH_PX), 5))
    bad = bad_of(reference(png, 5), reference(png, 6), reference(png, None), reference(png, "x"))
    assert [reason for reason, _ in bad] == ["bad_segmentation"] * 3
    assert bad[0][1].startswith("mask 1: segment 6 has no pixel in ")
    assert [reason for reason, _ in bad_of(reference(png, 6))] == ["bad_segmentation"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken.png", "unreadable_mask_file"),
        ("none.png", "unreadable_mask_file"),
        ("folder", "unreadable_mask_file"),
        ("a\0b.png", "unreadable_mask_file"),
        ("a\ud83d.png", "unreadable_mask_file"),
        ("small.png", "mask_size_mismatch"),
    ],
)
def test_a_bad_png_costs_its_own_masks_and_the_photo_only_if_there_are_no_others(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "folder").mkdir()
    write_panoptic_png(tmp_path / "small.png", np.full((3, 4), 5))
    masks = [reference(tmp_path / name, 5), reference(tmp_path / name, 6)]
    assert [found for found, _ in bad_of(*masks, GOOD)] == [reason, reason]
    assert refusal_of(*masks)[0] == reason
    assert "0x" not in refusal_of(*masks)[1]  # an address would make two builds differ
