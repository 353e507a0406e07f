"""A generator's run: it learns, goes on exactly after a stop, in two processes as in one, and leaves a proposer."""

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
from stages.proposals.models import GridProposals
from tests.train.adapt.test_processes import torchrun
from tests.train.generator.conftest import SIDE, Recipe
from train.evaluate.proposals import RecallCounter
from train.generator import train_generator
from train.generator.mask_index import index_masks


def silent(line: dict[str, Any]) -> None:
    """Nobody follows."""


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


class StoppedError(Exception):
    """Somebody stops the run."""


def test_it_learns_to_find_shapes(recipe: Recipe, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    asked = recipe(steps=120, ema_decay=0.8, scores={"every": 60, "max_proposals": 10})
    folder = train_generator(asked, tmp_path / "run", lines.append)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    scored = [line for line in lines if "held_out" in line]
    assert [line["step"] for line in scored] == [60, 120]
    assert scored[-1]["things/recall_50@10"] > 0.8
    assert scored[-1]["stuff/recall_50@10"] > 0.8
    # What was scored is what the folder holds, rounded to half precision.
    proposer = build_proposer(GridProposals(model=str(folder)))
    index, counter = index_masks(asked.data), RecallCounter((10,))
    for picture in index.held_out:
        pixels, regions = index.read(picture)
        counter.add(proposer.propose(ImageRecord("1", "1.png", ()), pixels), regions)
    assert counter.scores()["all/ar@10"] == pytest.approx(scored[-1]["held_out"], abs=0.02)
    about = json.loads((tmp_path / "run/best/generator.json").read_text())
    assert about["held_out"]["all/ar@10"] == pytest.approx(max(line["held_out"] for line in scored), abs=1e-4)


@pytest.mark.parametrize("stopped_at", [3, 4])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(recipe: Recipe, tmp_path: Path, stopped_at: int) -> None:
    asked = recipe(scores={"every": 3})
    whole = train_generator(asked, tmp_path / "whole", silent)

    def stop(line: dict[str, Any]) -> None:
        if "loss" in line and line["step"] == stopped_at:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_generator(asked, tmp_path / "parts", stop)
    lines: list[dict[str, Any]] = []
    parts = train_generator(asked, tmp_path / "parts", lines.append)
    assert next(line["step"] for line in lines if "loss" in line) == 3  # the last checkpoint is of step 2
    for name, value in state(whole).items():
        assert torch.equal(state(parts)[name], value), name
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("whole", "parts")]
    told = [[json.loads(line)["loss"] for line in log if '"loss"' in line] for log in logs]
    assert told[0] == told[1]


def test_a_finished_run_is_left_as_it_is(recipe: Recipe, tmp_path: Path) -> None:
    folder = train_generator(recipe(), tmp_path / "run", silent)
    before = state(folder)
    lines: list[dict[str, Any]] = []
    train_generator(recipe(), tmp_path / "run", lines.append)
    assert not [line for line in lines if "loss" in line]
    assert all(torch.equal(value, before[name]) for name, value in state(folder).items())


def test_another_recipe_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    train_generator(recipe(steps=2), tmp_path / "run", silent)
    with pytest.raises(UserError, match="holds a run of another recipe"):
        train_generator(recipe(steps=2, lr=1e-3), tmp_path / "run", silent)


def test_two_processes_see_the_loss_and_the_gradient_of_one(recipe: Recipe, tmp_path: Path) -> None:
    """At a rate that leaves the weights as they are: AdamW makes a whole step of a gradient that is nearly zero."""
    asked = recipe(steps=3, ema_decay=None, lr=1e-7)
    lines: list[dict[str, Any]] = []
    one = state(train_generator(asked, tmp_path / "one", lines.append))
    manifest = tmp_path / "m.yaml"
    manifest.write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    done = torchrun(manifest, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    logged = [json.loads(line) for line in (tmp_path / "two/log.jsonl").read_text().splitlines()]
    for name in ("loss", "dice", "bce", "score", "iou", "grad_norm"):
        expected = [line[name] for line in lines if name in line]
        assert len(expected) == 3
        assert [line[name] for line in logged if name in line] == pytest.approx(expected, rel=3e-4), name
    two = state(tmp_path / "two/last")
    norms = [name for name in one if name.endswith(("running_mean", "running_var"))]
    assert norms
    for name in norms:
        torch.testing.assert_close(two[name], one[name], rtol=2e-3, atol=1e-4)


def test_the_weights_kept_are_the_moving_average_of_those_of_the_steps(recipe: Recipe, tmp_path: Path) -> None:
    """With a decay that is lower in the beginning: (1 + n) / (10 + n) after n steps."""
    name, found = "stem.0.0.weight", []

    def look(line: dict[str, Any] | None) -> None:
        """A step is told before its checkpoint is written, so that the last one is that of the step before."""
        if line is None or ("loss" in line and line["step"] > 1):
            found.append(torch.load(tmp_path / "state.pt", weights_only=True))

    train_generator(recipe(steps=4, checkpoint_every=1, ema_decay=0.3), tmp_path, look)
    look(None)
    kept, *others = (state["module"][name] for state in found)
    for count, weights in enumerate(others, start=1):
        share = min(0.3, (1 + count) / (10 + count))
        kept = share * kept + (1 - share) * weights
    assert len(found) == 4
    torch.testing.assert_close(found[-1]["average"][f"module.{name}"], kept)


def test_a_run_begins_with_the_weights_of_another(recipe: Recipe, tmp_path: Path) -> None:
    first = train_generator(recipe(steps=2), tmp_path / "first", silent)
    network = {"kind": "grid", "init": str(first)}
    second = train_generator(recipe(steps=1, lr=1e-9, ema_decay=None, network=network), tmp_path / "second", silent)
    weight = "stages.3.0.first.0.weight"
    torch.testing.assert_close(state(second)[weight], state(first)[weight], rtol=0, atol=1e-3)


def test_a_loss_that_is_no_number_stops_the_run(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step \d: the loss is (nan|inf); lower lr"):
        train_generator(recipe(lr=1e30, max_grad_norm=None, warmup_steps=0), tmp_path / "run", silent)


def test_scores_want_pictures_that_are_held_out(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scores: no picture is held out; raise data.held_out"):
        train_generator(recipe(data={"held_out": 0.0}, scores={"every": 1}), tmp_path / "run", silent)


def test_a_folder_of_another_model_is_refused_before_training(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "maskformer"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"network.init: .*model_type 'maskformer'.*kind 'grid' expects maskmine_grid"):
        train_generator(recipe(network={"kind": "grid", "init": str(tmp_path)}), tmp_path / "run", silent)


def test_what_is_wrong_with_the_folder_of_another_model_is_its_kind(recipe: Recipe, tmp_path: Path) -> None:
    """A grid's folder has no image processor, and needs none."""
    folder = train_generator(recipe(steps=1), tmp_path / "grid", silent)
    with pytest.raises(UserError, match=r"network.init: .*model_type 'maskmine_grid'.*'maskformer' expects maskformer"):
        train_generator(recipe(network={"kind": "maskformer", "init": str(folder)}), tmp_path / "run", silent)


@pytest.mark.parametrize("content", ["none", "cut off", "a list", "another's"])
def test_a_state_that_is_none_is_named(recipe: Recipe, tmp_path: Path, content: str) -> None:
    train_generator(recipe(steps=2), tmp_path, silent)
    file = tmp_path / "state.pt"
    whole = file.read_bytes()
    file.write_bytes(b"" if content == "none" else whole[:2000])
    if content in ("a list", "another's"):
        torch.save([1] if content == "a list" else {"model": {}}, file)
    with pytest.raises(UserError, match=r"state\.pt: .+; .*remove it to begin again"):
        train_generator(recipe(steps=2), tmp_path, silent)


def test_a_field_that_the_network_does_not_have_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network.config.width: .*"):
        train_generator(recipe(network={"kind": "grid", "config": {"width": 3}}), tmp_path / "run", silent)


def test_a_batch_that_no_epoch_fills_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch_size: got 64"):
        train_generator(recipe(batch_size=64), tmp_path / "run", silent)


def test_tensorboard_has_the_log(recipe: Recipe, tmp_path: Path) -> None:
    train_generator(recipe(steps=2, tensorboard=True), tmp_path / "run", silent)
    assert list((tmp_path / "run/tensorboard").iterdir())


def test_pictures_of_any_shape_are_used(recipe: Recipe, shapes: Path, tmp_path: Path) -> None:
    folder = train_generator(recipe(steps=1), tmp_path / "run", silent)
    proposer = build_proposer(GridProposals(model=str(folder), min_score=0.0))
    picture = cv2.imread(str(shapes / "images/1.png"))
    for height, width in ((SIDE, SIDE), (90, 33), (1, 300), (7, 7)):
        for proposal in proposer.propose(ImageRecord("1", "1.png", ()), cv2.resize(picture, (width, height))):
            assert (proposal.rle.height, proposal.rle.width) == (height, width)


def test_scores_tell_seen_from_unseen_names(recipe: Recipe, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    asked = recipe(steps=1, data={"names": ["box", "sky"]}, scores={"every": 1})
    train_generator(asked, tmp_path / "run", lines.append)
    (scored,) = [line for line in lines if "held_out" in line]
    assert {"things_seen/ar@100", "things_unseen/ar@100", "stuff_unseen/recall_50@100"} <= scored.keys()
