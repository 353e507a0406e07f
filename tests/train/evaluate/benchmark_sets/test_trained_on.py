"""Which generator has seen which data set."""

from __future__ import annotations

import pytest

from train.evaluate.benchmark_sets import overlap_warning, training_sets
from train.evaluate.benchmark_sets.classes import benchmark_classes

CITYSCAPES = (
    "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,person,rider,car,truck,"
    "bus,train,motorcycle,bicycle"
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("facebook/mask2former-swin-large-ade-semantic", {"ADE20K"}),
        ("facebook/mask2former-swin-base-IN21k-ade-semantic", {"ADE20K"}),
        ("facebook/mask2former-swin-large-coco-panoptic", {"COCO"}),
        ("facebook/mask2former-swin-small-cityscapes-panoptic", {"Cityscapes"}),
        ("facebook/mask2former-swin-large-mapillary-vistas-semantic", {"Mapillary Vistas"}),
        ("facebook/maskformer-swin-base-ade", {"ADE20K"}),
        ("facebook/maskformer-resnet50-coco-stuff", {"COCO"}),
        ("shi-labs/oneformer_ade20k_swin_large", {"ADE20K"}),
        ("shi-labs/oneformer_coco_dinat_large", {"COCO"}),
        ("tue-mps/ade20k_semantic_eomt_large_512", {"ADE20K"}),
        ("tue-mps/coco_panoptic_eomt_large_640", {"COCO"}),
        ("tue-mps/eomt-dinov3-ade-semantic-large-512", {"ADE20K"}),
        ("facebook/sam-vit-huge", {"SA-1B"}),
        ("Zigeng/SlimSAM-uniform-50", {"SA-1B"}),
        ("facebook/sam2.1-hiera-large", {"SA-1B", "SA-V"}),
        ("syscv-community/sam-hq-vit-base", {"SA-1B", "HQSeg-44K"}),
        ("/models/mask2former-swin-tiny-ade-semantic/", {"ADE20K"}),
        ("/cache/models--facebook--mask2former-swin-tiny-ade-semantic/snapshots/0123abc", {"ADE20K"}),
        ("/data/coco/weights", set()),
        ("somebody/facade-segmenter", set()),
    ],
)
def test_names_of_models_tell_their_data(model: str, expected: set[str]) -> None:
    assert training_sets(model, None) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([names.name for names in benchmark_classes("coco_stuff171").names[:80]] + ["banner", "wall-brick"], {"COCO"}),
        ([", ".join(names.forms) for names in benchmark_classes("a150").names], {"ADE20K"}),
        (CITYSCAPES.split(","), {"Cityscapes"}),
        (["Bird", "Ground Animal", "Curb", "Curb Cut", "Catch Basin"], {"Mapillary Vistas"}),
        (["cat", "dog", "road"], set()),
        ([], set()),
    ],
)
def test_labels_tell_the_data_of_a_folder_without_a_name(labels: list[str], expected: set[str]) -> None:
    assert training_sets("/models/mine", dict(enumerate(labels))) == expected


def test_a_generator_that_has_seen_the_benchmark_is_warned_of() -> None:
    model = "facebook/mask2former-swin-large-ade-semantic"
    for kind in ("a150", "a847"):
        warning = overlap_warning(model, None, kind)
        assert warning is not None
        assert f"generator {model} was trained on ADE20K, the data set that {kind} is scored on" in warning
    for kind in ("pc59", "pc459", "pas20", "coco_stuff171", "folder"):
        assert overlap_warning(model, None, kind) is None
    assert overlap_warning("facebook/mask2former-swin-large-coco-panoptic", None, "coco_stuff171") is not None
    assert overlap_warning("facebook/sam-vit-huge", None, "a150") is None
