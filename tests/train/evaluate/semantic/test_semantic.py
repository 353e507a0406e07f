"""Semantic segmentation scored from files, in one process and several, stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index
from typer.testing import CliRunner

from pipeline.cli.app import app
from stages.common import UserError, load
from tests import tiny_models
from tests.train.evaluate.semantic.conftest import NAMES, labels_of, manifest, segmenter
from train.evaluate.semantic import SemanticManifest, evaluate_semantic
from train.segmenter import Segmenter


def save_maps(folder: Path, maps: dict[str, np.ndarray]) -> dict[str, Any]:
    folder.mkdir()
    for key, labels in maps.items():
        Image.fromarray(labels.astype(np.uint8)).save(folder / f"{key}.png")
    return {"folder": str(folder), "first": 7}


def test_perfect_label_maps_score_100(folder: dict[str, Any], tmp_path: Path) -> None:
    predictions = save_maps(tmp_path / "maps", labels_of(folder))
    scores = evaluate_semantic(manifest(folder, predictions=predictions))
    keys = ("miou_gt", "miou_gt_or_predicted", "fwiou", "macc", "pacc", "open_miou_gt")
    assert [scores[key] for key in keys] == [100.0] * 6
    assert scores["images"] == 4
    assert scores["pixels"] == 4 * 48 * 62


def test_scores_of_wrong_maps_are_torchmetrics(folder: dict[str, Any], tmp_path: Path) -> None:
    truth = labels_of(folder)
    wrong = {key: np.roll(np.where(labels == 0, 8, labels), 9, axis=0) for key, labels in truth.items()}
    scores = evaluate_semantic(manifest(folder, predictions=save_maps(tmp_path / "maps", wrong)))
    target = torch.from_numpy(np.stack(list(truth.values())).astype(np.int64)) - 7
    ours = torch.from_numpy(np.stack(list(wrong.values())).astype(np.int64)) - 7
    target[target < 0] = -1
    iou = multiclass_jaccard_index(ours, target, 3, ignore_index=-1)
    accuracy = multiclass_accuracy(ours, target, 3, average="micro", ignore_index=-1)
    assert scores["miou_gt"] == pytest.approx(100 * float(iou), abs=1e-4)
    assert scores["pacc"] == pytest.approx(100 * float(accuracy), abs=1e-4)
    assert scores["miou_gt"] < 100
    assert scores["open_miou_gt"] > scores["miou_gt"]


def lost(folder: dict[str, Any], place: Path, *names: str) -> dict[str, Any]:
    """The set with a list of classes that has these alone."""
    place.mkdir()
    listed = [one for one in json.loads(Path(folder["classes"]).read_text()) if one["name"] in names]
    (place / "classes.json").write_text(json.dumps(listed or [{"id": 100, "name": "dog"}]))
    return {**folder, "classes": str(place / "classes.json")}


@pytest.mark.parametrize("workers", [1, 2])
def test_pixels_of_ids_that_no_class_has_are_told_with_their_share(
    folder: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    asked = manifest(lost(folder, tmp_path / "set", "cat"), predictions=save_maps(tmp_path / "maps", labels_of(folder)))
    scores = evaluate_semantic(asked, tmp_path / "run", workers)
    assert scores["miou_gt"] == 100.0
    ids, counts = np.unique(np.stack(list(labels_of(folder).values())), return_counts=True)
    share = {int(id_): 100 * count / counts.sum() for id_, count in zip(ids, counts, strict=True)}
    (note,) = scores["notes"]
    assert note.startswith(f"{100 - share[7]:.1f} % of the pixels in {folder['labels']} are not scored")
    assert f"9 ({share[9]:.1f} %), 8 ({share[8]:.1f} %), 0 ({share[0]:.1f} %)" in note
    assert evaluate_semantic(asked, tmp_path / "run") == scores  # read from what the folder keeps
    named = manifest({**asked.set.model_dump(), "ignore": [8, 9, 0]}, predictions=asked.predictions)
    assert evaluate_semantic(named)["notes"] == []


def test_a_set_whose_pixels_are_all_ignored_is_no_set(folder: dict[str, Any], tmp_path: Path) -> None:
    asked = manifest(lost(folder, tmp_path / "set"), predictions=save_maps(tmp_path / "maps", labels_of(folder)))
    with pytest.raises(
        UserError, match=r"no pixel of the 4 pictures .* among the 1 classes.* 100\.0 % of the pixels in"
    ):
        evaluate_semantic(asked)


def test_values_that_are_no_class_count_as_nothing(folder: dict[str, Any], tmp_path: Path) -> None:
    maps = {key: np.where(labels == 7, 200, labels) for key, labels in labels_of(folder).items()}
    scores = evaluate_semantic(manifest(folder, predictions=save_maps(tmp_path / "maps", maps)))
    assert scores["iou"] == {"cat": 0.0, "grass": 100.0, "sky": 100.0}
    assert scores["pixels_without_class"] == sum(int((labels == 7).sum()) for labels in labels_of(folder).values())


def test_a_segmenter_scores_as_the_label_maps_that_it_writes(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    asked = manifest(folder, segmenter=segmenter(clip))
    assert asked.segmenter is not None
    works = Segmenter.load(asked.segmenter)
    for path in sorted(Path(folder["images"]).iterdir()):
        works.segment_file(path, NAMES).save(tmp_path / "written")
    direct = evaluate_semantic(asked)
    read = evaluate_semantic(manifest(folder, predictions={"folder": str(tmp_path / "written")}))
    assert direct == read


def test_the_number_of_processes_changes_nothing(folder: dict[str, Any], clip: str) -> None:
    asked = manifest(folder, segmenter=segmenter(clip))
    assert evaluate_semantic(asked, workers=2) == evaluate_semantic(asked)


def test_a_stopped_run_goes_on_and_ends_the_same(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    asked = manifest(folder, segmenter=segmenter(clip))

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_semantic(asked, tmp_path / "run", progress=stop)
    went: list[int] = []
    scores = evaluate_semantic(asked, tmp_path / "run", progress=lambda done, total: went.append(done))
    assert went == [3, 4]
    assert scores == evaluate_semantic(asked)


def test_counts_are_saved_on_the_way(
    folder: dict[str, Any], clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.evaluate.semantic.run._PICTURES_PER_SAVE", 1)
    seen: list[int] = []

    def look(done: int, total: int) -> None:
        seen.append(torch.load(tmp_path / "state.pt", weights_only=True)["done"])

    evaluate_semantic(manifest(folder, segmenter=segmenter(clip)), tmp_path, progress=look)
    assert seen == [1, 2, 3, 4]


def test_counts_of_files_that_have_changed_are_refused(folder: dict[str, Any], tmp_path: Path) -> None:
    asked = manifest(folder, predictions=save_maps(tmp_path / "maps", labels_of(folder)))
    assert evaluate_semantic(asked, tmp_path / "run")["pacc"] == 100.0
    assert evaluate_semantic(asked, tmp_path / "run")["pacc"] == 100.0
    Image.fromarray(np.full((48, 64), 8, np.uint8)).save(tmp_path / "maps/1.png")
    with pytest.raises(UserError, match="another recipe"):
        evaluate_semantic(asked, tmp_path / "run")


def test_a_misspelt_seen_class_is_told_before_anything_is_scored(folder: dict[str, Any], tmp_path: Path) -> None:
    asked = manifest(folder, predictions={"folder": str(tmp_path / "nowhere")}, seen=["cat", "sky", "gras"])
    with pytest.raises(UserError, match="'gras' is none of the 3 classes"):
        evaluate_semantic(asked)


def test_another_evaluation_in_the_folder_is_refused(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    evaluate_semantic(manifest(folder, segmenter=segmenter(clip), limit=1), tmp_path / "run")
    with pytest.raises(UserError, match="another recipe"):
        evaluate_semantic(manifest(folder, segmenter=segmenter(clip, temperature=50), limit=1), tmp_path / "run")


def test_perfect_masks_with_perfect_names_score_100(folder: dict[str, Any], clip: str) -> None:
    asked = manifest(folder, segmenter=segmenter(clip, "ground_truth"), best_labels=True)
    assert evaluate_semantic(asked)["miou_gt"] == 100.0


def test_perfect_masks_are_named_whole(folder: dict[str, Any], clip: str) -> None:
    scores = evaluate_semantic(manifest(folder, segmenter=segmenter(clip, "ground_truth")))
    assert scores["pixels_without_class"] == 0
    assert scores["miou_gt"] < 100  # a random CLIP names at least one of twelve regions wrong


def test_perfect_names_bound_what_clip_gets_right(folder: dict[str, Any], clip: str) -> None:
    named = evaluate_semantic(manifest(folder, segmenter=segmenter(clip)))
    bound = evaluate_semantic(manifest(folder, segmenter=segmenter(clip), best_labels=True))
    assert bound["pacc"] > named["pacc"]


def test_classes_that_the_generator_knows_are_the_seen_ones(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    model = tiny_models.tiny_maskformer(tmp_path / "maskformer")  # knows cat, dog, grass
    keys = segmenter(clip, proposer={"kind": "maskformer", "model": str(model)}, similarity_threshold=1.0)
    scores = evaluate_semantic(manifest(folder, segmenter=keys, seen="generator", limit=1))
    assert scores["known_to_generator"] == ["cat", "grass"]
    assert scores["seen"]["classes_with_gt"] == 2
    assert scores["unseen"]["classes_with_gt"] == 1


def test_a_generator_trained_on_the_set_is_told(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    for name in ("images", "annotations"):
        (tmp_path / "ade" / name).mkdir(parents=True)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "ade/images/ADE_val_00000001.jpg")
    Image.fromarray(np.ones((40, 40), np.uint8)).save(tmp_path / "ade/annotations/ADE_val_00000001.png")
    model = tiny_models.tiny_maskformer(tmp_path / "maskformer-swin-tiny-ade")
    keys = segmenter(clip, proposer={"kind": "maskformer", "model": str(model)})
    ade = {"kind": "a150", "root": str(tmp_path / "ade"), "partial": True}
    notes = evaluate_semantic(manifest(ade, segmenter=keys))["notes"]
    assert any("was trained on ADE20K" in note for note in notes)
    assert any("only a part" in note for note in notes)


KIND = {"version": 2, "kind": "semantic_segmentation"}


def test_the_command_prints_scores_and_writes_them(folder: dict[str, Any], tmp_path: Path) -> None:
    predictions = save_maps(tmp_path / "maps", labels_of(folder))
    file = tmp_path / "evaluate.json"
    file.write_text(json.dumps({**KIND, "set": folder, "predictions": predictions, "seen": ["cat"]}))
    ended = CliRunner().invoke(app, ["evaluate", str(file), "--json", str(tmp_path / "scores.json")])
    assert ended.exit_code == 0, ended.output
    assert "harmonic" in ended.output
    assert json.loads((tmp_path / "scores.json").read_bytes())["unseen"]["classes_with_gt"] == 2


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    folder = {"kind": "folder", "images": "images", "labels": "labels", "classes": "classes.json"}
    asked = {**KIND, "set": folder, "predictions": {"folder": "maps"}}
    (tmp_path / "evaluate.json").write_text(json.dumps(asked))
    loaded = load(SemanticManifest, tmp_path / "evaluate.json")
    assert loaded.set.classes == str(tmp_path / "classes.json")  # type: ignore[union-attr]
    assert loaded.predictions is not None
    assert loaded.predictions.folder == str(tmp_path / "maps")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "either 'segmenter' or 'predictions'"),
        ({"predictions": {"folder": "nowhere"}, "best_labels": True}, "need a 'segmenter'"),
    ],
)
def test_what_is_scored_must_be_clear(folder: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        manifest(folder, **keys)


def test_a_missing_prediction_is_named(folder: dict[str, Any], tmp_path: Path) -> None:
    maps = labels_of(folder)
    maps.pop("2")
    with pytest.raises(UserError, match=r"2\.png: cannot be read"):
        evaluate_semantic(manifest(folder, predictions=save_maps(tmp_path / "maps", maps)))


def test_a_prediction_of_another_size_is_refused(folder: dict[str, Any], tmp_path: Path) -> None:
    maps = {key: labels[:40] for key, labels in labels_of(folder).items()}
    with pytest.raises(UserError, match="is 64x40, its ground truth 64x48"):
        evaluate_semantic(manifest(folder, predictions=save_maps(tmp_path / "maps", maps)))


def test_real_ade20k_is_scored_end_to_end(shared_data: Path, clip: str) -> None:
    sample = shared_data / "ade20k-sample/sampleData"
    if not sample.is_dir():
        pytest.skip(f"test data not found at {sample}")
    ade = {"kind": "a150", "root": str(sample), "partial": True}
    for maps in ("annotations", "predictions"):  # the sample's predictions are its annotations, pixel for pixel
        scores = evaluate_semantic(manifest(ade, predictions={"folder": str(sample / maps)}))
        assert scores["miou_gt"] == scores["miou_gt_or_predicted"] == 100.0
        assert scores["images"] == 3
    scores = evaluate_semantic(manifest(ade, segmenter=segmenter(clip, "ground_truth", limit=8)))
    assert 0 <= scores["miou_gt_or_predicted"] < 50
