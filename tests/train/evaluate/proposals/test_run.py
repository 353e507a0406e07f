"""Proposals scored on photos with COCO's files beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from rich.console import Console

from stages.common import Rle, UserError
from tests.photos import write_photos
from tests.train.evaluate.proposals.cocoeval import cocoeval_of
from train.evaluate.proposals import ProposalsManifest, evaluate_proposals, print_proposals

Change = Callable[[Path], dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four photos of 72 x 96 px with two shapes each."""
    write_photos(tmp_path, 4)
    return tmp_path


def manifest(folder: Path, **changes: Any) -> ProposalsManifest:  # noqa: ANN401 - YAML values
    truth = {"images": str(folder / "images"), "annotations": [str(folder / "instances.json")]}
    values = {"kind": "proposals", "truth": truth, "proposer": {"kind": "ground_truth"}, "device": "cpu"}
    return ProposalsManifest.model_validate({**values, **changes})


def edited(folder: Path, change: Callable[[dict[str, Any]], Any], name: str = "instances.json") -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


def results(folder: Path, masks: list[dict[str, Any]]) -> dict[str, Any]:
    """A proposer of masks that a file has."""
    (folder / "results.json").write_text(json.dumps(masks))
    return {"kind": "precomputed", "path": str(folder / "results.json")}


def moved(mask: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """A mask that is shifted by a few pixels, as RLE."""
    return Rle.encode(np.roll(mask, tuple(rng.integers(-6, 7, 2)), (0, 1))).to_coco()


def test_real_photos_with_polygons_and_crowds_score_as_cocoeval_has_it(shared_data: Path, tmp_path: Path) -> None:
    (file,) = shared_data.glob("coco-mini/**/instances*.json")
    rng = np.random.default_rng(0)
    coco = COCO(str(file))
    assert any(one["iscrowd"] for one in coco.anns.values())
    found = [
        {
            "image_id": one["image_id"],
            "segmentation": moved(coco.annToMask(one), rng),
            "score": int(rng.integers(9)) / 9,
        }
        for one in coco.anns.values()
        for _ in range(int(rng.integers(0, 4)))
    ]
    truth = {"images": str(file.parents[1] / "train2017"), "annotations": [str(file)]}
    scores = evaluate_proposals(
        manifest(tmp_path, truth=truth, proposer=results(tmp_path, found), max_proposals=[3, 10, 100])
    )
    expected = cocoeval_of(json.loads(file.read_text()), found, (3, 10, 100))
    assert 0.1 < (expected["ar_small@100"] or 0) < (expected["ar_large@100"] or 0) < 1
    for part in ("all", "things"):
        assert {name: scores[f"{part}/{name}"] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert scores["stuff/masks"] == 0
    assert scores["photos"] == len(coco.imgs)


def test_true_masks_find_all_and_rules_clean_before_they_are_counted(folder: Path) -> None:
    scores = evaluate_proposals(manifest(folder, max_proposals=[2, 1]))
    assert (scores["photos"], scores["photos_without_truth"], scores["proposals_per_photo"]) == (4, 0, 2)
    assert (scores["all/ar@1"], scores["all/ar@2"]) == (0.5, 1.0)
    assert scores["photos_per_second"] > 0
    one_each = evaluate_proposals(manifest(folder, rules={"max_count": 1}, max_proposals=[2]))
    assert (one_each["all/ar@2"], one_each["proposals_per_photo"]) == (0.5, 1)


def test_names_and_their_split_are_those_of_the_manifest(folder: Path) -> None:
    scores = evaluate_proposals(manifest(folder, seen=["ball", "box"], limit=1))
    assert scores["photos"] == 1
    assert {name: (of["seen"], of["masks"], of["ar@10"]) for name, of in scores["names"].items()} == {
        "ball": (True, 1, 1.0),
        "box": (True, 1, 1.0),
    }
    assert (scores["things_seen/masks"], scores["things_unseen/masks"]) == (2, 0)
    assert "seen" not in evaluate_proposals(manifest(folder))["names"]["ball"]


def test_stuff_is_what_lies_in_a_file_of_stuff(folder: Path) -> None:
    truth = {"images": str(folder / "images"), "stuff": [str(folder / "instances.json")]}
    scores = evaluate_proposals(manifest(folder, truth=truth))
    assert (scores["things/masks"], scores["stuff/masks"], scores["stuff/ar@10"]) == (0, 8, 1.0)


def test_panoptic_categories_say_what_is_a_thing_and_segments_how_large_they_are(folder: Path) -> None:
    ids = np.zeros((72, 96, 3), np.uint8)
    ids[:40, :40, 0], ids[50:, 40:, 1] = 5, 1
    (folder / "panoptic").mkdir()
    Image.fromarray(ids).save(folder / "panoptic/100.png")
    segments = [{"id": 5, "category_id": 1, "area": 1024}, {"id": 256, "category_id": 2, "iscrowd": 0}]
    document = {
        "images": [{"id": 100, "file_name": "000100.jpg"}],
        "annotations": [{"image_id": 100, "file_name": "100.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "dog", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}],
    }
    (folder / "panoptic.json").write_text(json.dumps(document))
    truth = {"images": str(folder / "images"), "annotations": [str(folder / "panoptic.json")]}
    scores = evaluate_proposals(manifest(folder, truth=truth))
    assert (scores["things/masks"], scores["stuff/masks"]) == (1, 1)
    assert (scores["things/ar_small@10"], scores["things/ar_medium@10"]) == (1.0, 1.0)  # 1,600 pixels, said to be 1,024
    assert (scores["stuff/ar_small@10"], scores["stuff/ar_medium@10"]) == (None, 1.0)


def test_photos_without_masks_are_counted_and_asked_no_masks(folder: Path) -> None:
    edited(folder, lambda document: document["images"].insert(0, {"id": 1, "file_name": "none.jpg"}))
    scores = evaluate_proposals(manifest(folder))
    assert (scores["photos"], scores["photos_without_truth"], scores["all/ar@10"]) == (5, 1, 1.0)
    console = Console(record=True, width=120)
    print_proposals(scores, console)
    assert "without a true mask: 1 photo" in console.export_text()


def test_photos_of_lvis_are_named_by_folder_and_file(folder: Path) -> None:
    def by_url(document: dict[str, Any]) -> None:
        for image in document["images"]:
            image["coco_url"] = f"http://images.cocodataset.org/images/{image.pop('file_name')}"

    edited(folder, by_url)
    truth = {"images": str(folder), "annotations": [str(folder / "instances.json")]}
    assert evaluate_proposals(manifest(folder, truth=truth))["photos"] == 4


def test_each_photo_is_told_and_each_part_that_has_masks_is_printed(folder: Path) -> None:
    done: list[tuple[int, int]] = []
    scores = evaluate_proposals(
        manifest(folder, max_proposals=[1, 2], seen=["box"]), lambda now, total: done.append((now, total))
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    console = Console(record=True, width=80)
    print_proposals(scores, console)
    lines = console.export_text().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["all", "2", "things", "2", "seen", "2", "unseen", "2"]
    assert lines[2].split() == ["2", "1.000", "1.000", "1.000", "-", "1.000", "1.000"]
    assert lines[-1].startswith("4 photos, 2.0 proposals a photo; ")


def test_masks_that_cannot_be_used_are_left_out_and_counted(folder: Path) -> None:
    """Of eight true masks and five given ones."""

    def spoil(document: dict[str, Any]) -> None:
        masks = document["annotations"]
        masks[0]["segmentation"] = []
        masks[1].update(area="large")
        masks[2].pop("category_id")
        masks[3]["segmentation"] = Rle.encode(np.ones((20, 20), bool)).to_coco()
        masks[4]["segmentation"] = None

    edited(folder, spoil)
    good = {"segmentation": Rle.encode(np.ones((72, 96), bool)).to_coco(), "score": 1}
    odd = [{"segmentation": []}, {"score": 2}, {"segmentation": Rle.encode(np.ones((20, 20), bool)).to_coco()}]
    image_id = json.loads((folder / "instances.json").read_text())["images"][0]["id"]
    given = [{"image_id": image_id, **good, **change} for change in ({}, *odd)]
    scores = evaluate_proposals(manifest(folder, proposer=results(folder, given)))
    assert scores["all/masks"] == 4
    assert scores["left_out"] == {"no_mask": 1, "no_category": 1, "mask_size_mismatch": 1, "bad_segmentation": 1}
    assert scores["proposals_per_photo"] * (scores["photos"] - scores["photos_without_truth"]) == 1
    truth, masks = scores["notes"]
    assert truth.startswith("left out of the ground truth: ")
    assert masks.startswith("left out of the masks to be scored: 1 bad_score, 1 bad_segmentation, 1 mask_size_mismatch")
    console = Console(record=True, width=400)
    print_proposals(scores, console)
    assert "left out of the masks to be scored: " in console.export_text()


def no_masks(folder: Path) -> dict[str, Any]:
    edited(folder, lambda document: document["annotations"].clear())
    return {}


def no_images(folder: Path) -> dict[str, Any]:
    edited(folder, lambda document: document["images"].clear())
    return {}


def no_file_name(folder: Path) -> dict[str, Any]:
    edited(folder, lambda document: document["images"][0].pop("file_name"))
    return {}


def photo_of_another_size(folder: Path) -> dict[str, Any]:
    Image.new("RGB", (48, 36)).save(folder / "images/000100.jpg")
    return {}


def proposal_of_another_size(folder: Path) -> dict[str, Any]:
    mask = Rle.encode(np.ones((20, 20), bool)).to_coco()
    return {"proposer": results(folder, [{"image_id": 100, "segmentation": mask, "score": 1}])}


def proposals_of_other_photos(folder: Path) -> dict[str, Any]:
    mask = Rle.encode(np.ones((72, 96), bool)).to_coco()
    return {"proposer": results(folder, [{"image_id": "a", "segmentation": mask, "score": 1}])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_masks, "truth: none of the 4 photos has a mask; expected annotations of these photos"),
        (no_images, r"instances\.json: expected COCO annotations, .*; no images"),
        (no_file_name, r"instances\.json: image 100 has no 'file_name'; expected one, below truth\.images"),
        (photo_of_another_size, r"000100\.jpg: is 36 x 48 pixels \(height x width\), annotated as 72 x 96; expected"),
        (
            proposal_of_another_size,
            r"results\.json: image 100: mask 0: it is \[20, 20\].*the image is \[72, 96\].*; mend",
        ),
        (
            proposals_of_other_photos,
            r"results\.json: has no mask of the 4 photos; expected image ids .*'100', found 'a'",
        ),
        (lambda folder: {"seen": ["ball", "cat"]}, "seen: 'cat' is none of the 4 names of the truth; remove or mend"),
    ],
)
def test_mistakes_are_told_with_their_place_and_a_remedy(folder: Path, change: Change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_proposals(manifest(folder, **change(folder)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_proposals": [10, 10]}, r"expected each number once, got \[10, 10\]"),
        ({"max_proposals": []}, "max_proposals"),
        ({"truth": {"images": "a"}}, "expected a file of masks in 'annotations' or 'stuff'"),
    ],
)
def test_manifests_that_ask_for_nothing_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        manifest(folder, **changes)
