"""The head for words: it tells names apart after training, is found again, and knows its own CLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.tiny_clip import save_tiny_clip
from stages.common import UserError
from stages.proposals import build_generator
from stages.proposals.query_masks import QueryMasks
from tests.train.generator.query_sets import CONFIGS, manifest
from train.generator import train_generator
from train.generator.query_init import PROPOSALS
from train.segmenter import Segmenter, SegmenterConfig

Line = dict[str, Any]


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
