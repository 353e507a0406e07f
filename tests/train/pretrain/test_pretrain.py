"""A CLIP from scratch, on a handful of scenes."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch

from pipeline.world import WorldConfig, write_captioned_shards
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.common import UserError, load
from stages.nouns import SpacyNouns
from train.pretrain import PretrainManifest, pretrain
from train.pretrain.nouns import find_nouns
from train.pretrain.trainer import schedule

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 400,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": "x",
    },
}


class KilledError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("captioned") / "shards"
    write_captioned_shards(out, 24, 5, WorldConfig(size_px=64))
    return out


def recipe(captioned: Path, **settings: Any) -> PretrainManifest:  # noqa: ANN401 - any key's value
    values = {
        "kind": "pretrain",
        "shards": [str(captioned / "{00000..00000}.tar")],
        "model": MODEL,
        "nouns": {"sample": 100, "min_mentions": 1},
        "batch_size": 8,
        "steps": 6,
        "warmup_steps": 2,
        "checkpoint_every": 2,
        "workers": 0,
        "device": "cpu",
        **settings,
    }
    return PretrainManifest.model_validate(values)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, _ = load_clip(ClipConfig(model=f"local-dir:{folder}"), "cpu")
    return dict(model.state_dict())


def test_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(captioned: Path, tmp_path: Path) -> None:
    whole = pretrain(recipe(captioned, log_every=1), tmp_path / "whole", lambda line: None)

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == 5:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(recipe(captioned, log_every=1), tmp_path / "killed", kill)
    resumed = pretrain(recipe(captioned, log_every=1, workers=1), tmp_path / "killed", lambda line: None)
    one, other = weights(whole), weights(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [json.loads(line) for line in (tmp_path / "killed/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "precision" not in line] == [1, 2, 3, 4, 5, 6]


def test_training_learns(captioned: Path, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    pretrain(recipe(captioned, steps=40, lr=0.01, log_every=1), tmp_path, lines.append)
    assert lines.pop(0).keys() == {"step", "precision", "device"}
    assert lines[-1]["noun_loss"] < 0.9 * lines[0]["noun_loss"]
    assert lines[-1]["caption_loss"] < 0.9 * lines[0]["caption_loss"]


def test_model_loads_like_any_other_and_knows_its_tokens(captioned: Path, tmp_path: Path) -> None:
    folder = pretrain(recipe(captioned, steps=1), tmp_path, lambda line: None)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    tokens = tokenize(["A dog.", "a dog.", "never seen: ☃"])
    assert tokens.shape == (3, 32)
    assert torch.equal(tokens[0], tokens[1])
    ends = tokens.argmax(dim=1)
    assert tokens.max() < 400
    assert all((tokens[row, end + 1 :] == 0).all() for row, end in enumerate(ends))


def test_another_recipe_in_the_same_folder_is_refused(captioned: Path, tmp_path: Path) -> None:
    pretrain(recipe(captioned, steps=1), tmp_path, lambda line: None)
    with pytest.raises(UserError, match="another recipe"):
        pretrain(recipe(captioned, steps=2), tmp_path, lambda line: None)


def test_nouns_that_are_all_too_rare_are_an_error_with_the_commonest(captioned: Path, tmp_path: Path) -> None:
    rare = recipe(captioned, nouns={"sample": 100, "min_mentions": 1000})
    with pytest.raises(UserError, match=r"nouns\.min_mentions: no noun has 1000 mentions in \d+ captions; the common"):
        pretrain(rare, tmp_path, lambda line: None)
    with pytest.raises(UserError, match="no noun was found at all"):
        find_nouns(["of the", "and"], SpacyNouns(), 10, 1, seed=0)


def test_what_is_left_out_of_the_shards_stands_in_the_log(captioned: Path, tmp_path: Path) -> None:
    (shard,) = captioned.glob("*.tar")
    (tmp_path / "cut.tar").write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    lines: list[dict[str, Any]] = []
    pretrain(recipe(captioned, shards=[str(tmp_path / "cut.tar")], steps=1), tmp_path / "run", lines.append)
    assert lines[0]["left_out"]["cut_shard"] == 1


def test_learning_rate_warms_up_follows_the_cosine_and_cools_down(captioned: Path) -> None:
    plain = recipe(captioned, steps=100, warmup_steps=10)
    assert schedule(0, plain) == 0.1
    assert schedule(10, plain) == 1.0
    assert schedule(55, plain) == pytest.approx(0.5)
    short = recipe(captioned, steps=55, cosine_steps=100, cooldown_steps=20, warmup_steps=10)
    assert schedule(35, short) == schedule(35, plain)
    assert schedule(45, short) == pytest.approx(0.5 * schedule(45, plain))


def test_manifest_of_the_worlds_clip_is_valid() -> None:
    found = load(PretrainManifest, Path("manifests/train/world-clip.yaml"))
    assert Path(found.shards[0]).parent.parts[-3:] == ("out", "clip", "captioned")


def test_several_processes_are_refused(captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = SimpleNamespace(rank=0, world_size=2, device="cpu")
    monkeypatch.setattr("train.pretrain.trainer.join_processes", lambda device: nullcontext(two))
    with pytest.raises(UserError, match="start it without torchrun"):
        pretrain(recipe(captioned), tmp_path, lambda line: None)


@pytest.mark.gpu
def test_a_gpu_trains_where_there_is_one(captioned: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    lines: list[dict[str, Any]] = []
    pretrain(recipe(captioned, device="auto", steps=20, lr=0.01, log_every=1), tmp_path, lines.append)
    assert lines.pop(0)["device"] == "cuda"
    assert lines[-1]["noun_loss"] < lines[0]["noun_loss"]


def test_model_without_a_vocabulary_is_refused(captioned: Path) -> None:
    with pytest.raises(ValueError, match="image_size"):
        recipe(captioned, model={"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}})
