"""An OVSeg file in `maskmine segment`, `export`, an evaluation and a build, as a user has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from benchmarks.tiny_clip import save_tiny_clip
from pipeline.cli.app import app
from stages.common import UserError, identity, validate
from tests.photos import write_photos
from tests.tiny_ovseg import CONFIG, QUERIES, write_ovseg
from train.evaluate.semantic import evaluate_semantic
from train.evaluate.semantic.scorer import SemanticManifest
from train.segmenter import Segmenter, SegmenterConfig

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted by the command; its settings are those of small photos."""
    root = tmp_path_factory.mktemp("ovseg")
    run("export", str(write_ovseg(root / "ovseg.pth")), "--layout", "ovseg_folder", "--out", str(root / "ovseg"))
    about = json.loads((root / "ovseg/ovseg.json").read_text())
    about["config"] |= CONFIG
    (root / "ovseg/ovseg.json").write_text(json.dumps(about))
    return root / "ovseg"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def run(*arguments: str) -> Any:  # noqa: ANN401 - click's Result
    return RUNNER.invoke(app, list(arguments), catch_exceptions=False)


def values(folder: Path, **given: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"proposer": {"kind": "ovseg", "model": str(folder)}, **given}


def test_a_photo_is_segmented_by_any_words_with_the_files_own_clip(tmp_path: Path, folder: Path, photo: Path) -> None:
    manifest = tmp_path / "segment.yaml"
    manifest.write_text(yaml.safe_dump({"version": 2, "kind": "segmenter", **values(folder)}))
    arguments = ("segment", str(photo), "--classes", "sea, sofa|couch", "--config", str(manifest))
    result = run(*arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    found = json.loads((tmp_path / "out/photo.json").read_text())
    assert found["classes"] == ["sea", "sofa"]
    assert sum(found["areas_px"].values()) == 40 * 52, "each pixel gets a class"
    assert len(found["regions"]) == QUERIES
    assert {tuple(one["rle"]["size"]) for one in found["regions"]} == {(40, 52)}


def test_words_and_the_weight_decide(folder: Path, photo: Path) -> None:
    segmenter = Segmenter.load(SegmenterConfig.model_validate(values(folder, precision="fp32")))
    image = np.asarray(Image.open(photo))
    text = segmenter.text(("sea", "sofa"))
    masks = segmenter.propose(image)
    p_clip = segmenter.name(image, masks, text)
    generator_alone = segmenter.with_settings(clip_weight=0.0).combine(masks, p_clip, text)
    assert np.allclose(generator_alone, segmenter.namer.generator_opinion(masks, text), atol=1e-6)
    assert np.allclose(segmenter.with_settings(clip_weight=1.0).combine(masks, p_clip, text), p_clip, atol=1e-6)
    assert not np.allclose(generator_alone, p_clip, atol=1e-3)
    with_everything = Segmenter.load(
        SegmenterConfig.model_validate(values(folder, precision="fp32", everything_else=["background"]))
    )
    result = with_everything.segment(image, ["sea", "sofa"])
    assert result.labels.shape == (40, 52)


def test_a_set_is_scored_and_no_class_is_called_known(tmp_path: Path, folder: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / f"images/{number}.png")
        Image.fromarray(rng.integers(0, 2, (30, 40), dtype=np.uint8)).save(tmp_path / f"labels/{number}.png")
    (tmp_path / "classes.json").write_text(
        json.dumps([{"id": number, "name": name} for number, name in enumerate(("sea", "sofa"))])
    )
    places = {name: str(tmp_path / name) for name in ("images", "labels")}
    asked = {
        "version": 2,
        "kind": "semantic_segmentation",
        "set": {"kind": "folder", **places, "classes": str(tmp_path / "classes.json")},
        "segmenter": values(folder),
        "open_metrics": False,
    }
    scores = evaluate_semantic(SemanticManifest.model_validate(asked), tmp_path / "run")
    assert scores["images"] == 2
    assert "known_to_generator" not in scores
    again = evaluate_semantic(SemanticManifest.model_validate(asked), tmp_path / "run")
    assert again["iou"] == scores["iou"]


def test_another_clip_takes_the_place_of_the_files_own(tmp_path: Path, folder: Path, photo: Path) -> None:
    clip = f"local-dir:{save_tiny_clip(tmp_path / 'clip')}"
    config = SegmenterConfig.model_validate(values(folder, clip={"model": clip}))
    with pytest.raises(UserError, match="expected the CLIP that the generator was trained with"):
        Segmenter.load(config).segment(np.asarray(Image.open(photo)), ["sea", "sofa"])


def test_other_proposers_need_a_clip_and_one_place_for_the_threshold(folder: Path) -> None:
    with pytest.raises(UserError, match="expected 'clip'; only a proposer of kind 'ovseg' has a CLIP of its own"):
        validate(SegmenterConfig, {"proposer": {"kind": "classical"}}, "segment.yaml")
    asked = {"proposer": {"kind": "ovseg", "model": str(folder), "mask_threshold": 0.5}}
    with pytest.raises(UserError, match=r"proposer\.mask_threshold is for mining"):
        validate(SegmenterConfig, asked, "segment.yaml")


def test_where_the_file_lies_is_no_part_of_an_identity(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    here, there = (SegmenterConfig.model_validate(values(place)) for place in (folder, tmp_path / "elsewhere"))
    assert identity(here) == identity(there)


def test_a_build_mines_with_its_masks(tmp_path: Path, folder: Path) -> None:
    write_photos(tmp_path / "photos", 3)
    clip = f"local-dir:{save_tiny_clip(tmp_path / 'clip')}"
    manifest = {
        "version": 2,
        "kind": "build",
        "source": {
            "kind": "coco",
            "images": str(tmp_path / "photos/images"),
            "captions": str(tmp_path / "photos/captions.json"),
        },
        "proposals": {"proposer": {"kind": "ovseg", "model": str(folder)}},
        "nouns": {"extractor": {"kind": "nltk"}},
        "matching": {"clip": {"model": clip}},
    }
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(manifest))
    place = ("--out", str(tmp_path / "build"), "--cache", "none")
    result = run("build", str(tmp_path / "build.yaml"), "--runner", "loop", *place)
    assert result.exit_code == 0, result.output
    lock = json.loads((tmp_path / "build/build.lock.json").read_text())
    assert "ovseg.safetensors" in json.dumps(lock)
