"""Mask classification against figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.tiny_clip import save_tiny_clip
from stages.clip import RegionEncoder
from stages.clip_config import ClipConfig, RegionRules
from stages.common import Rle, UserError, load
from train.clip.model import MaskPromptCLIP
from train.evaluate.classify import ClassifyManifest, classify
from train.evaluate.classify.run import GroundTruth
from train.evaluate.classify.scores import score

NAMES = ("cat", "dog", "sofa")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Any]:
    """Two noisy pictures; three regions and a crowd."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    masks = []
    for number in (1, 2):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / f"images/{number}.png")
    for box in ((0, 0, 20, 20), (10, 15, 40, 45), (0, 0, 40, 50), (5, 5, 9, 9)):
        mask = np.zeros((40, 50), bool)
        mask[box[0] : box[2], box[1] : box[3]] = True
        masks.append(Rle.encode(mask))
    entries = [
        {"image_id": 2, "category_id": 3, "segmentation": masks[0].to_coco(), "iscrowd": 0},
        {"image_id": 1, "category_id": 1, "segmentation": masks[1].to_coco()},
        {"image_id": 1, "category_id": 2, "segmentation": masks[2].to_coco(), "iscrowd": 1},
        {"image_id": 1, "category_id": 2, "segmentation": masks[3].to_coco(), "iscrowd": 0},
    ]
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)],
        "annotations": entries,
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return {"kind": "coco", "images": str(tmp_path / "images"), "annotations": [str(tmp_path / "instances.json")]}


def manifest(clip: str, regions: dict[str, Any], /, **settings: Any) -> ClassifyManifest:  # noqa: ANN401 - any key's value
    values = {"kind": "mask_classification", "clip": {"model": clip}, "regions": regions}
    return ClassifyManifest.model_validate({**values, "templates": ["a {}"], "batch_size": 2, **settings})


def test_masked_regions_are_named_as_the_miner_names_them(clip: str, coco: dict[str, Any]) -> None:
    encoder = RegionEncoder.load(ClipConfig(model=clip), RegionRules(), ("a {}",))
    text = torch.stack([encoder.encode_noun(name) for name in NAMES])
    truth = GroundTruth(manifest(clip, coco).regions)
    right = total = 0
    for picture in truth.pictures():
        features = encoder.encode_regions((picture.pixels, rle) for _, rle in picture.regions)
        best = (features @ text.T).argmax(dim=1)
        total += len(best)
        right += sum(NAMES[int(number)] == name for number, (name, _) in zip(best, picture.regions, strict=True))
    scores = classify(manifest(clip, coco))
    assert scores["regions"] == total == 3
    assert scores["top1"] == pytest.approx(100 * right / 3)
    assert scores["top5"] == 100  # of three classes


def test_region_inputs_differ_and_a_plain_clip_takes_prompted_as_masked(clip: str, coco: dict[str, Any]) -> None:
    seen = {
        seen_as: classify(manifest(clip, coco, region_input=seen_as))
        for seen_as in ("picture", "crop", "masked", "prompted")
    }
    assert seen["masked"] == seen["prompted"]


def test_regions_of_other_classes_and_small_ones_are_counted_apart(clip: str, coco: dict[str, Any]) -> None:
    scores = classify(manifest(clip, coco, classes=["cat", "dog"], min_area_px=17))
    assert scores["left_out"] == {"other_class": 1, "below_min_area": 1}
    assert scores["regions"] == 1


def test_masks_that_cannot_be_used_are_left_out_and_counted(clip: str, coco: dict[str, Any]) -> None:
    file = Path(coco["annotations"][0])
    document = json.loads(file.read_text())
    document["annotations"] += [
        {"image_id": 1, "category_id": 1, "segmentation": []},
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 1, "category_id": 9, "segmentation": [[1, 1, 9, 1, 9, 9]]},
    ]
    file.write_text(json.dumps(document))
    scores = classify(manifest(clip, coco))
    assert scores["regions"] == 3
    assert scores["left_out"] == {
        "other_class": 0,
        "below_min_area": 0,
        "no_mask": 1,
        "no_category": 1,
        "bad_segmentation": 1,
    }
    assert scores["notes"][-1].startswith("left out of the ground truth: ")


def test_label_maps_give_one_region_a_class(tmp_path: Path, clip: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    labels = np.zeros((20, 30), np.uint16)
    labels[:10], labels[15:, :5], labels[12, 12] = 700, 3, 9
    Image.fromarray(labels).save(tmp_path / "labels/a.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images/a.jpg")
    (tmp_path / "classes.json").write_text('[{"id": 3, "name": "cat"}, {"id": 700, "name": "sky"}]')
    regions = {
        "kind": "labels",
        "images": str(tmp_path / "images"),
        "labels": str(tmp_path / "labels"),
        "classes": str(tmp_path / "classes.json"),
    }
    asked = manifest(clip, regions)
    (picture,) = GroundTruth(asked.regions).pictures()
    assert [(name, rle.area_px) for name, rle in picture.regions] == [("cat", 25), ("sky", 300)]
    scores = classify(asked)
    assert scores["regions"] == 2
    (note,) = scores["notes"]
    assert note.endswith("0 (45.7 %), 9 (0.2 %); add the classes, or name ids that mean none under 'ignore'")
    (tmp_path / "classes.json").write_text('[{"id": 5, "name": "cat"}]')
    with pytest.raises(UserError, match=r"no region is left to name .*100\.0 % of the pixels in"):
        classify(manifest(clip, regions))


def test_scores_by_hand() -> None:
    top = np.array([[0, 1], [1, 0], [2, 1], [0, 2]])
    labels = np.array([0, 0, 1, 2])
    scores = score(top, labels, 4, np.array([True, False, False, True]))
    assert scores["top1"] == 25
    assert scores["top5"] == 100
    assert scores["mean_class"] == pytest.approx(100 * (0.5 + 0 + 0) / 3)
    assert scores["seen"] == {"regions": 2, "top1": 50, "top5": 100, "mean_class": 50}
    assert scores["unseen"]["top1"] == 0
    assert scores["harmonic"]["top1"] == 0
    assert scores["harmonic"]["top5"] == 100


def test_a_part_without_regions_has_no_score() -> None:
    scores = score(np.array([[0]]), np.array([0]), 2, np.array([True, False]))
    assert scores["unseen"]["top1"] is None
    assert scores["harmonic"]["top1"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seen": ["cow"]}, "'cow' is none of the 3 classes"),
        ({"classes": ["cow"]}, "no region is left"),
        ({"clip": {"weights": "/nowhere"}}, "/nowhere: there is no such"),
    ],
)
def test_mistakes_are_named(clip: str, coco: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        classify(manifest(clip, coco, **settings))


def test_missing_picture_is_named(clip: str, coco: dict[str, Any]) -> None:
    (Path(coco["images"]) / "2.png").unlink()
    with pytest.raises(UserError, match=r"2\.png"):
        classify(manifest(clip, coco))


def test_manifest_lists_all_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("version: 2\nkind: mask_classification\nclip: {}\nregions: {kind: labels, images: a}\nsights: x\n")
    with pytest.raises(UserError) as caught:
        load(ClassifyManifest, path)
    for part in ("clip: expected 'model'", "regions.labels: this key is required", "sights: unknown key"):
        assert part in str(caught.value)


def test_a_clip_that_gives_nan_is_refused_and_not_scored(
    clip: str, coco: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MaskPromptCLIP, images: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full((len(images), 64), torch.nan)

    monkeypatch.setattr(MaskPromptCLIP, "encode_image", broken)
    with pytest.raises(UserError, match=r"clip: the image tower gives NaN or infinity.*[Cc]heck the weights"):
        classify(manifest(clip, coco))


def test_a_clip_whose_texts_are_nan_ranks_nothing(coco: dict[str, Any], tmp_path: Path) -> None:
    folder = save_tiny_clip(tmp_path / "broken")
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text_projection"][0, 0] = torch.nan
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="text tower gives NaN or infinity"):
        classify(manifest(f"local-dir:{folder}", coco))
