"""The head for words: it tells names apart after training, is found again, and knows its own CLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from benchmarks.tiny_clip import save_tiny_clip
from stages.common import UserError, load
from stages.proposals import build_generator
from stages.proposals.models import GridProposals
from stages.proposals.query_masks import QueryMasks
from tests.train.adapt.test_processes import torchrun
from tests.train.generator.conftest import TINY
from tests.train.generator.query_sets import CONFIGS, manifest
from train.generator import train_generator
from train.generator.config import GeneratorManifest
from train.generator.query_init import PROPOSALS
from train.segmenter import Segmenter, SegmenterConfig

Line = dict[str, Any]
ROOT = Path(__file__).parents[3]


def silent(line: Line) -> None:
    pass


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{save_tiny_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="module")
def trained(clip: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Line]]:
    """The pictures' folder, that of an EoMT with a head, and the log."""
    folder, lines = tmp_path_factory.mktemp("words"), list[Line]()
    asked = manifest(
        folder / "data",
        {"kind": "eomt", "config": CONFIGS["eomt"]},
        open_vocabulary={"clip": {"model": clip}},
        steps=120,
        lr=2e-3,
    )
    return folder / "data", train_generator(asked, folder / "run", lines.append), lines


def asked_of(folder: Path, kind: str, data: Path, photo: int = 1) -> QueryMasks:
    image = cv2.imread(str(data / f"images/{photo}.png"))[..., ::-1].copy()
    return build_generator(PROPOSALS[kind](model=str(folder))).queries(image)


def test_embeddings_tell_two_names_apart(trained: tuple[Path, Path, list[Line]], clip: str) -> None:
    data, folder, lines = trained
    found = [line["words"] for line in lines if "words" in line]
    assert found[-1] < 0.5 * found[0]
    segmenter = Segmenter.load(
        SegmenterConfig.model_validate({"proposer": {"kind": "eomt", "model": str(folder)}, "clip": {"model": clip}}),
        "cpu",
    )
    text = segmenter.namer.encoder.encode_names(["box", "disc"]).clone()
    truth = json.loads((data / "instances.json").read_text())
    right = 0
    for photo in (1, 2, 3, 5, 6, 7):
        queries = asked_of(folder, "eomt", data, photo)
        assert queries.words is not None
        probs = queries.words.probs(text)
        assert torch.allclose(probs.sum(1), torch.ones(len(probs)))
        for annotation in (one for one in truth["annotations"] if one["image_id"] == photo):
            xs, ys = annotation["segmentation"][0][::2], annotation["segmentation"][0][1::2]
            x, y = int(sum(xs) / len(xs)), int(sum(ys) / len(ys))
            inside = torch.stack([queries.logits_on_photo(query, 64, 64)[y, x] for query in range(len(probs))])
            best = int((inside.sigmoid() * queries.objectness).argmax())
            right += int(probs[best, :2].argmax()) == (1 if annotation["category_id"] == 1 else 0)
    assert right >= 10  # of 12


def test_the_segmenter_takes_its_opinion_and_refuses_another_clip(
    trained: tuple[Path, Path, list[Line]], clip: str, tmp_path: Path
) -> None:
    _, folder, _ = trained
    values = {"proposer": {"kind": "eomt", "model": str(folder)}, "clip": {"model": clip}, "clip_weight": 0.0}
    Segmenter.load(SegmenterConfig.model_validate(values), "cpu")
    other = {"model": f"local-dir:{save_tiny_clip(tmp_path / 'other', seed=1)}"}
    with pytest.raises(UserError, match="clip: the mask generator knows words by the text features of another CLIP"):
        Segmenter.load(SegmenterConfig.model_validate({**values, "clip": other}), "cpu")


@pytest.mark.parametrize("kind", ["maskformer", "mask2former"])
def test_the_head_alone_can_be_trained(tmp_path: Path, clip: str, kind: str) -> None:
    first = manifest(tmp_path / "data", {"kind": kind, "config": CONFIGS[kind]}, steps=1)
    init = train_generator(first, tmp_path / "first", silent)
    words = {"clip": {"model": clip}, "only": True, "names": ["disc"]}
    network = {"kind": kind, "init": str(init)}
    lines: list[Line] = []
    asked = manifest(tmp_path / "data", network, steps=6, lr=5e-3, open_vocabulary=words)
    last = train_generator(asked, tmp_path / "run", lines.append)
    before, after = (load_file(each / "model.safetensors") for each in (init, last))
    assert all(torch.equal(after[name], value) for name, value in before.items())
    found = [line["words"] for line in lines if "words" in line]
    assert found[-1] < found[0]
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx([2 * each for each in found], rel=1e-3)
    queries = asked_of(last, kind, tmp_path / "data")
    assert queries.words is not None
    assert queries.words.queries.shape == (6, queries.words.no_object.shape[0])


def test_a_name_that_is_no_category_is_told(tmp_path: Path, clip: str) -> None:
    words = {"clip": {"model": clip}, "names": ["disk"]}
    asked = manifest(tmp_path / "data", {"kind": "eomt", "config": CONFIGS["eomt"]}, open_vocabulary=words)
    with pytest.raises(UserError, match=r"open_vocabulary.names: 'disk' is no category"):
        train_generator(asked, tmp_path / "run", silent)


def test_a_head_that_is_damaged_is_told(trained: tuple[Path, Path, list[Line]], tmp_path: Path) -> None:
    from shutil import copytree

    data, folder, _ = trained
    copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/open_vocabulary.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"open_vocabulary.safetensors: expected the head"):
        asked_of(tmp_path / "copy", "eomt", data)


def test_a_grid_learns_words_too(tmp_path: Path, clip: str) -> None:
    config = {"stem_width": 16, "widths": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "side_px": 64}
    config |= {"neck_width": 32, "tower_width": 16, "mask_width": 16, "kernel_width": 8}
    lines: list[Line] = []
    words = {"clip": {"model": clip}}
    network = {"kind": "grid", "config": config}
    asked = manifest(tmp_path / "data", network, steps=60, lr=5e-3, open_vocabulary=words, batch_size=8)
    first = train_generator(asked, tmp_path / "run", lines.append)
    found = [line["words"] for line in lines if "words" in line]
    assert sum(found[-5:]) < 0.7 * sum(found[:5])
    queries = build_generator(GridProposals(model=str(first), min_score=0.0)).queries(np.zeros((64, 48, 3), np.uint8))
    assert queries.words is not None
    assert len(queries.words.queries) == len(queries.mask_logits) > 0

    alone = {"kind": "grid", "init": str(first)}
    only = {"clip": {"model": clip}, "only": True}
    last = train_generator(manifest(tmp_path / "data", alone, open_vocabulary=only), tmp_path / "only", silent)
    before, after = (load_file(each / "model.safetensors") for each in (first, last))
    for name, value in before.items():
        assert torch.equal(after[name], value) == (not name.startswith("words.") or name == "words.probes"), name


@pytest.mark.parametrize(("name", "kind"), [("coco-generator", "mask2former"), ("coco-maskformer", "maskformer")])
def test_the_manifests_for_coco_train_a_tiny_stand_in(
    name: str, kind: str, clip: str, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco = shared_data / "coco-mini"
    if not coco.is_dir():
        pytest.skip(f"no coco-mini in {shared_data}")
    monkeypatch.setenv("COCO", str(coco))
    config = {**CONFIGS[kind], **({"train_num_points": 256} if kind == "mask2former" else {})}
    settings = [f"network={json.dumps({'kind': kind, 'config': config})}", "steps=2", "batch_size=2", "lr=0.001"]
    settings += ["data.sides_px=[64]", "data.workers=0", "scores=null", "tensorboard=false", "warmup_steps=1"]
    one = {"images": str(coco / "train2017"), "annotations": [str(coco / "annotations/instances_train2017.json")]}
    settings.append(f"data.sets={json.dumps([one])}")
    if name == "coco-generator":
        settings.append("open_vocabulary.clip=" + json.dumps({"model": clip}))
    asked = load(GeneratorManifest, ROOT / f"manifests/train/{name}.yaml", settings)
    lines: list[Line] = []
    last = train_generator(asked, tmp_path / "run", lines.append)
    assert [line["step"] for line in lines if "loss" in line] == [2]
    build_generator(PROPOSALS[kind](model=str(last)))


@pytest.mark.parametrize("kind", ["maskformer", "grid"])
def test_two_processes_see_the_loss_of_one(kind: str, clip: str, tmp_path: Path) -> None:
    config = TINY if kind == "grid" else CONFIGS[kind]
    settings = {"open_vocabulary": {"clip": {"model": clip}}, "steps": 2, "lr": 1e-7, "warmup_steps": 0}
    asked = manifest(tmp_path / "data", {"kind": kind, "config": config}, **settings)
    lines: list[Line] = []
    train_generator(asked, tmp_path / "one", lines.append)
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    done = torchrun(path, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line) for line in (tmp_path / "two/log.jsonl").read_text().splitlines()]
    for name in ("loss", "words", "grad_norm"):
        expected = [line[name] for line in lines if name in line]
        assert len(expected) == 2
        assert [line[name] for line in logged if name in line] == pytest.approx(expected, rel=1e-3), name
