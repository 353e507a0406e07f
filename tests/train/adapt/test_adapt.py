"""Recipes on a handful of pairs: what trains, exact resume, what is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.common import UserError, load
from tests.train.adapt.conftest import Recipe, equal, weights
from train.adapt import adapt
from train.clip.checkpoint.folder import read_description
from train.manifests import TrainManifest

FT = {"train": "tower", "steps": 3, "tower_lr": 1e-3, "warmup_steps": 1}
MPT = {"train": "prompts", "steps": 3, "prompts_lr": 1e-2, "warmup_steps": 1}


class KilledError(Exception):
    """Stands for whatever ends a run."""


def ignore(line: dict[str, Any]) -> None:
    """A report that nobody reads."""


def changed(clip: str, tuned: dict[str, torch.Tensor]) -> set[str]:
    """Names of the plain CLIP's tensors that are others now."""
    plain, _ = load_clip(ClipConfig(model=clip), "cpu")
    return {name for name, value in plain.state_dict().items() if not torch.equal(value, tuned[f"clip.{name}"])}


def test_prompt_tuning_changes_no_weight_of_the_clip(recipe: Recipe, clip: str, tmp_path: Path) -> None:
    tuned = weights(adapt(recipe(phases=[MPT]), tmp_path, ignore))
    assert not changed(clip, tuned)
    assert tuned["mask_embedding"].shape == (2, 16, 32)


def test_fine_tuning_changes_the_image_tower_alone_and_leaves_no_prompts(
    recipe: Recipe, clip: str, tmp_path: Path
) -> None:
    tuned = weights(adapt(recipe(phases=[FT]), tmp_path, ignore))
    assert "mask_embedding" not in tuned
    names = changed(clip, tuned)
    assert len(names) > 20
    assert all(name.startswith("visual.") for name in names)


def test_two_phases_are_the_two_runs_one_after_the_other(recipe: Recipe, tmp_path: Path) -> None:
    first = weights(adapt(recipe(phases=[FT]), tmp_path / "first", ignore))
    both = weights(adapt(recipe(phases=[FT, MPT]), tmp_path / "both", ignore))
    assert all(torch.equal(first[name], both[name]) for name in first)
    start = {"weights": str(tmp_path / "first/last")}
    second = weights(adapt(recipe(phases=[MPT], init=start), tmp_path / "second", ignore))
    assert all(torch.equal(second[name], both[name]) for name in first)
    assert second["mask_embedding"].shape == both["mask_embedding"].shape


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_run_killed_at_any_step_ends_with_the_weights_of_one_that_was_not(
    recipe: Recipe, tmp_path: Path, stop: int
) -> None:
    asked = recipe(phases=[FT, {**MPT, "train": "both"}], ema_decay=0.5, wise_ft_alpha=0.7)
    whole = weights(adapt(asked, tmp_path / "whole", ignore))

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == stop:
            raise KilledError

    with pytest.raises(KilledError):
        adapt(asked, tmp_path / "killed", kill)
    resumed = weights(adapt(asked, tmp_path / "killed", ignore))
    assert equal(whole, resumed)
    lines = [json.loads(line) for line in (tmp_path / "killed/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "precision" not in line] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["in_batch", "multi_positive", "noun_bank"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(recipe: Recipe, tmp_path: Path, kind: str) -> None:
    def run(name: str, **settings: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        loss = {"kind": kind, "logit_scale": 20}
        return weights(adapt(recipe(loss=loss, **settings), tmp_path / name, ignore))

    whole, parts = run("whole"), run("parts", micro_batch=3)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradient_checkpointing_runs_blocks_again_and_changes_no_weight(
    recipe: Recipe, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[torch.dtype] = []
    forward = ResidualAttentionBlock.forward

    def counted(self: Any, x: Tensor, *args: Any, **keys: Any) -> Tensor:  # noqa: ANN401 - what a block takes
        found: Tensor = forward(self, x, *args, **keys)
        runs.append(found.dtype)
        return found

    monkeypatch.setattr(ResidualAttentionBlock, "forward", counted)
    plain = weights(adapt(recipe(precision=precision), tmp_path / "plain", ignore))
    without = len(runs)
    runs.clear()
    saving = weights(adapt(recipe(precision=precision, gradient_checkpointing=True), tmp_path / "saving", ignore))
    assert len(runs) > without
    for name, value in plain.items():
        torch.testing.assert_close(saving[name], value, rtol=1e-3, atol=2e-4)


def test_bf16_computes_in_bf16(recipe: Recipe, tmp_path: Path) -> None:
    full = weights(adapt(recipe(), tmp_path / "fp32", ignore))
    half = weights(adapt(recipe(precision="bf16"), tmp_path / "bf16", ignore))
    assert any(not torch.equal(full[name], half[name]) for name in full)


def test_mistakes_are_told_before_the_first_step(recipe: Recipe, tmp_path: Path) -> None:
    nowhere = {"every": 1, "regions": {"kind": "coco", "images": "a", "annotations": [str(tmp_path / "nowhere.json")]}}
    for keys in ({"prompt_depth": 99}, {"validation": nowhere}):
        lines: list[dict[str, Any]] = []
        with pytest.raises(UserError, match=r"prompt_depth|nowhere"):
            adapt(recipe(phases=[FT, {**FT, "train": "prompts"}], **keys), tmp_path / "run", lines.append)
        assert not lines


def test_a_folder_to_begin_with_needs_its_base_no_more(recipe: Recipe, clip: str, tmp_path: Path) -> None:
    base = Path(shutil.copytree(clip.removeprefix("local-dir:"), tmp_path / "base"))
    adapt(recipe(phases=[FT], init={"model": f"local-dir:{base}"}), tmp_path / "first", ignore)
    shutil.rmtree(base)
    init = {"weights": str(tmp_path / "first/last"), "model": clip}  # the folder has the last word
    written = adapt(recipe(phases=[MPT], init=init), tmp_path / "second", ignore)
    assert read_description(written).base.model == f"local-dir:{base}"


def test_a_log_that_was_cut_off_does_not_stop_a_resumed_run(recipe: Recipe, tmp_path: Path) -> None:
    adapt(recipe(log_every=1), tmp_path, ignore)
    whole = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(whole + '{"step": ')
    adapt(recipe(log_every=1), tmp_path, ignore)
    assert (tmp_path / "log.jsonl").read_text() == whole


def test_a_damaged_state_is_named(recipe: Recipe, tmp_path: Path) -> None:
    adapt(recipe(), tmp_path, ignore)
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 no state")
    with pytest.raises(UserError, match=r"state\.pt: cannot be read"):
        adapt(recipe(), tmp_path, ignore)


def test_wise_ft_alpha_lies_between_the_original_and_the_tuned_tower(recipe: Recipe, clip: str, tmp_path: Path) -> None:
    tuned = weights(adapt(recipe(phases=[FT]), tmp_path / "tuned", ignore))
    mixed = weights(adapt(recipe(phases=[FT], wise_ft_alpha=0.25), tmp_path / "mixed", ignore))
    plain, _ = load_clip(ClipConfig(model=clip), "cpu")
    name = "visual.proj"
    expected = plain.state_dict()[name].lerp(tuned[f"clip.{name}"], 0.25)
    torch.testing.assert_close(mixed[f"clip.{name}"], expected)


@pytest.mark.parametrize("kind", ["in_batch", "multi_positive", "noun_bank"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns(recipe: Recipe, tmp_path: Path, kind: str, precision: str) -> None:
    lines: list[dict[str, Any]] = []
    phase = {"train": "both", "steps": 30, "tower_lr": 1e-3, "prompts_lr": 1e-2, "warmup_steps": 2}
    adapt(recipe(phases=[phase], loss={"kind": kind, "logit_scale": 20}, precision=precision), tmp_path, lines.append)
    lines = [line for line in lines if "loss" in line]
    first, last = (sum(line["loss"] for line in part) for part in (lines[:3], lines[-3:]))
    assert last < 0.9 * first


def test_the_best_by_validation_score_is_kept_and_scored_as_saved(recipe: Recipe, tmp_path: Path) -> None:
    from pipeline.world import WorldConfig, write_world

    write_world(tmp_path / "world", 2, 5, WorldConfig(size_px=64))
    regions = {"images": f"{tmp_path}/world/images", "annotations": [f"{tmp_path}/world/instances.json"]}
    validation = {"every": 2, "regions": {"kind": "coco", **regions}, "limit": 6, "templates": ["{}"]}
    lines: list[dict[str, Any]] = []
    last = adapt(recipe(validation=validation), tmp_path / "run", lines.append)
    scores = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert scores.keys() == {2, 4, 6}
    best = read_description(tmp_path / "run/best").provenance
    assert best["step"] == min(step for step, score in scores.items() if score == max(scores.values()))
    assert best["validation"]["top1"] == pytest.approx(max(scores.values()), abs=1e-3)
    found = read_description(last).provenance
    assert (found["step"], found["data"]["pairs"]) == (6, 24)


def test_kept_weights_are_the_moving_average_worked_by_hand(recipe: Recipe, clip: str, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    each: list[dict[str, torch.Tensor]] = []

    def collect(line: dict[str, Any]) -> None:
        if state.exists():  # of the step before
            each.append(torch.load(state, weights_only=True)["weights"])

    kept = weights(adapt(recipe(phases=[FT], ema_decay=0.6, checkpoint_every=1), tmp_path, collect))
    each.append(torch.load(state, weights_only=True)["weights"])
    assert len(each) == 3
    plain, _ = load_clip(ClipConfig(model=clip), "cpu")
    for name, start in plain.visual.named_parameters():
        first, second, third = (values[f"clip.visual.{name}"] for values in each)
        expected = 0.6**3 * start + 0.4 * (0.6**2 * first + 0.6 * second + third)
        torch.testing.assert_close(kept[f"clip.visual.{name}"], expected)
        assert not torch.allclose(expected, third, atol=1e-5)


def test_another_recipe_in_the_same_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    adapt(recipe(phases=[{**MPT, "steps": 1}]), tmp_path, ignore)
    with pytest.raises(UserError, match="another recipe"):
        adapt(recipe(phases=[{**MPT, "steps": 2}]), tmp_path, ignore)


def test_loss_that_is_no_number_stops_the_run(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learning rate"):
        adapt(recipe(phases=[{**FT, "steps": 30, "tower_lr": 1e30, "warmup_steps": 0}]), tmp_path, ignore)


def test_half_precision_of_gpus_is_refused_on_a_cpu(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fp16"):
        adapt(recipe(precision="fp16"), tmp_path, ignore)


def test_auto_precision_is_what_the_processor_has_units_for_and_part_of_the_recipe(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("stages.common.devices.has_bf16", lambda device: True)
    adapt(recipe(precision="auto"), tmp_path, lines.append)
    assert lines[0] == {"step": 0, "precision": "bf16", "device": "cpu"}
    monkeypatch.setattr("stages.common.devices.has_bf16", lambda device: False)
    with pytest.raises(UserError, match=r"computes in bf16, and this one would in fp32; set precision: bf16"):
        adapt(recipe(precision="auto"), tmp_path, ignore)


def test_what_is_being_done_is_told_and_every_step(recipe: Recipe, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    adapt(recipe(), tmp_path, ignore, lambda what, done=0, total=None: told.append((what, done, total)))
    assert [what for what, _, _ in told[:4]] == [
        "loading the CLIP",
        "reading shards",
        "encoding nouns",
        "hashing weights",
    ]
    assert told[4:] == [("training", step, 6) for step in range(7)]


def test_prompts_of_another_depth_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    last = adapt(recipe(phases=[{**MPT, "steps": 1}]), tmp_path / "a", ignore)
    with pytest.raises(UserError, match="depth 2"):
        adapt(recipe(phases=[MPT], init={"weights": str(last)}, prompt_depth=3), tmp_path / "b", ignore)


def test_tensorboard_files_are_written_when_asked_for(recipe: Recipe, tmp_path: Path) -> None:
    adapt(recipe(phases=[{**MPT, "steps": 1}], tensorboard=True), tmp_path, ignore)
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("file", sorted(Path("manifests/train").glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_manifests_load(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDS", "/somewhere")
    monkeypatch.setenv("COCO", "/somewhere")
    assert load(TrainManifest, file).batch_size


def test_shards_that_are_not_there_say_what_makes_them(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no shard at .*mined .*maskmine build writes one; make demo"):
        adapt(recipe(data={"sets": [{"shards": [str(tmp_path / "mined")]}]}), tmp_path / "run", ignore)


def test_manifest_lists_all_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("version: 2\nkind: adapt\ninit: {}\ndata: {sets: []}\nphases: [{train: tower}]\nlos: 1\n")
    with pytest.raises(UserError) as caught:
        load(TrainManifest, path)
    first, *told = str(caught.value).splitlines()
    assert first == f"{path}: 4 problem(s) in the manifest:"
    parts = ("init: expected 'model'", "data.sets: expected a list", "phases.0: expected either", "los: unknown key")
    assert [line.strip().startswith(part) for line, part in zip(told, parts, strict=True)] == [True] * 4
