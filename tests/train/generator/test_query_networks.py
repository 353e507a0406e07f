"""Transformers' models in the trainer: they learn, stop and go on, train in two processes, and are found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.common import ImageRecord, UserError
from stages.proposals import build_proposer
from tests.tiny_models import tiny_mask2former, tiny_maskformer
from tests.train.adapt.test_processes import torchrun
from tests.train.generator.query_sets import CONFIGS, SWIN, manifest, save_pictures
from train.generator import train_generator
from train.generator.config import GeneratorManifest
from train.generator.query_init import PROPOSALS

Line = dict[str, Any]


def silent(line: Line) -> None:
    pass


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def losses(lines: list[Line]) -> list[float]:
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("kind", ["maskformer", "mask2former", "eomt"])
def test_loss_falls_and_the_folder_proposes_masks(tmp_path: Path, kind: str) -> None:
    lines: list[Line] = []
    asked = manifest(tmp_path / "data", {"kind": kind, "config": CONFIGS[kind]}, steps=16, lr=2e-3)
    last = train_generator(asked, tmp_path / "run", lines.append)
    found = losses(lines)
    assert sum(found[-4:]) < 0.8 * sum(found[:4])
    proposer = build_proposer(PROPOSALS[kind](model=str(last)))
    photo = cv2.imread(str(tmp_path / "data/images/0.png"))
    proposals = proposer.propose(ImageRecord("0", "", ()), photo)
    assert len(proposals) == 6
    assert {one.label for one in proposals} == {"object"}
    assert all(one.rle.decode().shape == photo.shape[:2] for one in proposals)


class StoppedError(Exception):
    pass


def test_a_stopped_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    network = {"kind": "maskformer", "config": CONFIGS["maskformer"]}
    asked = manifest(tmp_path / "data", network, checkpoint_every=2, ema_decay=0.9)
    whole = weights(train_generator(asked, tmp_path / "whole", silent))

    def stop(line: Line) -> None:
        if line["step"] == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_generator(asked, tmp_path / "stopped", stop)
    lines: list[Line] = []
    resumed = weights(train_generator(asked, tmp_path / "stopped", lines.append))
    assert lines[0]["step"] == 2
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    config = {**CONFIGS["maskformer"], "no_object_weight": 0.3}
    asked = manifest(tmp_path / "data", {"kind": "maskformer", "config": config}, steps=3, lr=1e-4)
    lines: list[Line] = []
    one = weights(train_generator(asked, tmp_path / "one", lines.append))
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    done = torchrun(path, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    two = weights(tmp_path / "two/last")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=5e-4)
    logged = [json.loads(line) for line in (tmp_path / "two/log.jsonl").read_text().splitlines()]
    for name in ("loss", "grad_norm", "class", "dice"):  # AdamW would hide a gradient that is wrong by a factor
        expected = [line[name] for line in lines if name in line]
        assert len(expected) == 3
        assert [line[name] for line in logged if name in line] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ["maskformer", "mask2former", "eomt"])
def test_bf16_steps_give_about_the_loss_of_fp32(tmp_path: Path, kind: str) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        lines: list[Line] = []
        network = {"kind": kind, "config": CONFIGS[kind]}
        asked = manifest(tmp_path / "data", network, steps=1, precision=precision)
        train_generator(asked, tmp_path / precision, lines.append)
        found[precision] = losses(lines)[0]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.05)
    assert found["bf16"] != found["fp32"]


def test_fine_tuning_replaces_the_classes_alone(tmp_path: Path) -> None:
    init = tiny_mask2former(tmp_path / "init")
    asked = manifest(tmp_path / "data", {"kind": "mask2former", "init": str(init)}, steps=1, lr=1e-9)
    last = train_generator(asked, tmp_path / "run", silent)
    before, after = weights(init), weights(last)
    assert after["class_predictor.weight"].shape == (2, 32)
    for name, value in before.items():
        if not name.startswith(("class_predictor", "criterion")):
            torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert json.loads((last / "config.json").read_text())["id2label"] == {"0": "object"}
    kept = json.loads((last / "preprocessor_config.json").read_text())["size"]
    assert kept == json.loads((init / "preprocessor_config.json").read_text())["size"]


def test_classes_may_be_the_names_of_the_sets(tmp_path: Path) -> None:
    network = {"kind": "mask2former", "config": CONFIGS["mask2former"], "classes": "names"}
    last = train_generator(manifest(tmp_path / "data", network, steps=1), tmp_path / "run", silent)
    assert json.loads((last / "config.json").read_text())["id2label"] == {"0": "box", "1": "disc"}
    again = {"kind": "mask2former", "init": str(last), "classes": "names"}
    tuned = train_generator(manifest(tmp_path / "data", again, steps=1, lr=1e-9), tmp_path / "again", silent)
    name = "class_predictor.weight"
    torch.testing.assert_close(weights(tuned)[name], weights(last)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["maskformer", "mask2former"])
def test_a_backbone_begins_with_the_weights_of_a_classifier_and_learns_slower(tmp_path: Path, kind: str) -> None:
    from transformers import SwinConfig, SwinForImageClassification

    classifier = SwinForImageClassification(SwinConfig(**{**SWIN, "model_type": "swin"}))  # type: ignore[arg-type]
    classifier.save_pretrained(tmp_path / "swin")
    network = {"kind": kind, "config": CONFIGS[kind], "backbone_weights": str(tmp_path / "swin")}
    last = train_generator(manifest(tmp_path / "data", network, steps=1, lr=1e-3), tmp_path / "run", silent)
    (name,) = (each for each in weights(last) if each.endswith("patch_embeddings.projection.weight"))
    moved = (weights(last)[name] - classifier.swin.embeddings.patch_embeddings.projection.weight).abs().max()
    assert 0 < moved <= 1.01e-4  # one step of AdamW moves by the learning rate, a tenth of 1e-3 here


def test_the_weights_kept_have_whole_numbers_as_they_are(tmp_path: Path) -> None:
    """Swin's relative positions are a buffer of indices, and no average of them is one."""
    network = {"kind": "maskformer", "config": CONFIGS["maskformer"]}
    last = train_generator(manifest(tmp_path / "data", network, ema_decay=0.9), tmp_path / "run", silent)
    state = torch.load(tmp_path / "run/state.pt", weights_only=True)["module"]
    (name, *_) = (each for each in weights(last) if each.endswith("relative_position_index"))
    assert torch.equal(weights(last)[name], state[f"model.{name}"])


def change(folder: Path, asked: GeneratorManifest, edit: Any) -> None:  # noqa: ANN401 - a function of the truth
    path = folder / "instances.json"
    truth = json.loads(path.read_text())
    edit(truth)
    path.write_text(json.dumps(truth))


def test_masks_of_one_name_can_be_one_and_names_left_out(tmp_path: Path) -> None:
    from train.generator.mask_index import index_masks

    def all_discs(truth: Any) -> None:  # noqa: ANN401
        for annotation in truth["annotations"]:
            annotation["category_id"] = 1

    asked = manifest(tmp_path, {"kind": "eomt", "config": CONFIGS["eomt"]})
    change(tmp_path, asked, all_discs)
    apart = index_masks(asked.data)
    joined = index_masks(asked.data.model_copy(update={"one_mask_per_name": True}))
    (_, two), (_, one) = apart.read(apart.training[0]), joined.read(joined.training[0])
    assert [len(two), len(one)] == [2, 1]
    assert one[0].rle.area_px == sum(region.rle.area_px for region in two)
    save_pictures(tmp_path)
    data = asked.data.model_copy(update={"sets": (asked.data.sets[0].model_copy(update={"leave_out": ("box",)}),)})
    without = index_masks(data)
    assert without.names == ("disc",)
    assert all(len(without.read(picture)[1]) == 1 for picture in without.training)


BAD_NETWORKS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "mask2former", "init": "maskformer"}, r"network.init: .*model_type 'maskformer'.*'mask2former' expects"),
    ({"kind": "maskformer", "init": "empty"}, r"network.init: .*empty.*config.json"),
    ({"kind": "maskformer", "init": "no-weights"}, r"network.init: .*no-weights.*model.safetensors"),
    ({"kind": "maskformer", "init": "half"}, r"network.init: the weights in .*half lack"),
    ({"kind": "eomt", "config": {**CONFIGS["eomt"], "image_size": 96}}, r"data.sides_px: got \[64\].*96 px"),
    ({"kind": "eomt", "config": {"hidden_sizes": 3}}, "network.config.hidden_sizes: .*EomtConfig has no such field"),
    ({"kind": "eomt", "config": {"hidden_size": "3"}}, "network.config: transformers cannot build a eomt"),
    (
        {"kind": "maskformer", "config": CONFIGS["maskformer"], "backbone_weights": "maskformer"},
        "network.backbone_weights: the weights in .*maskformer lack",
    ),
]


@pytest.mark.parametrize(("network", "message"), BAD_NETWORKS)
def test_a_network_that_cannot_be_used_is_told_before_training(
    tmp_path: Path, network: dict[str, Any], message: str
) -> None:
    tiny_maskformer(tmp_path / "maskformer")
    (tmp_path / "empty").mkdir()
    tiny_maskformer(tmp_path / "no-weights")
    (tmp_path / "no-weights/model.safetensors").unlink()
    tiny_maskformer(tmp_path / "half")
    from safetensors.torch import save_file

    state = {name: value for name, value in weights(tmp_path / "half").items() if "mask_embedder" not in name}
    save_file(state, tmp_path / "half/model.safetensors", {"format": "pt"})
    for key in ("init", "backbone_weights"):
        if key in network:
            network = {**network, key: str(tmp_path / network[key])}
    lines: list[Line] = []
    with pytest.raises(UserError, match=message):
        train_generator(manifest(tmp_path / "data", network), tmp_path / "run", lines.append)
    assert lines == []


def other_size(truth: Any) -> None:  # noqa: ANN401
    truth["annotations"][1]["segmentation"] = {"size": [10, 20], "counts": [0, 200]}


def no_name(truth: Any) -> None:  # noqa: ANN401
    del truth["categories"][1]["name"]


def no_masks(truth: Any) -> None:  # noqa: ANN401
    truth["annotations"] = []


def no_pictures(truth: Any) -> None:  # noqa: ANN401
    truth["annotations"], truth["images"] = [], []


def another_picture(truth: Any) -> None:  # noqa: ANN401
    truth["images"][0]["file_name"] = "none.png"


BAD_DATA = [
    (other_size, r"data.sets\[0\]: 1 mask_size_mismatch, .*instances.json: a mask of image 0: it is \[10, 20\]"),
    (no_name, r"data.sets\[0\]: \d+ no_category, .*instances.json: a mask of image 0 has no category with a name"),
    (no_masks, r"data.sets\[0\]: none of its 8 pictures has a mask"),
    (no_pictures, r"instances.json: expected COCO annotations.*images"),
    (another_picture, r"none.png: cannot be read"),
]


@pytest.mark.parametrize(("edit", "message"), BAD_DATA)
def test_masks_that_cannot_be_used_are_told_before_training(tmp_path: Path, edit: Any, message: str) -> None:  # noqa: ANN401
    asked = manifest(tmp_path / "data", {"kind": "eomt", "config": CONFIGS["eomt"]})
    change(tmp_path / "data", asked, edit)
    lines: list[Line] = []
    with pytest.raises(UserError, match=message):
        train_generator(asked, tmp_path / "run", lines.append)
    assert lines == []
