"""Settings of a segmenter, tried on held-out training pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli.app import app
from stages.common import UserError, load
from tests import tiny_models
from tests.train.evaluate.semantic.conftest import manifest, segmenter
from train.evaluate.semantic import evaluate_semantic, print_tuning, tune
from train.evaluate.semantic.scorer import TuneManifest


def tuning(folder: dict[str, Any], **keys: Any) -> TuneManifest:  # noqa: ANN401 - any key's value
    return TuneManifest.model_validate({"kind": "segmenter_tuning", "set": folder, **keys})


def test_each_row_is_what_an_evaluation_with_its_settings_gives(
    folder: dict[str, Any], clip: str, tmp_path: Path
) -> None:
    model = {"kind": "maskformer", "model": str(tiny_models.tiny_maskformer(tmp_path / "maskformer"))}
    keys = segmenter(clip, proposer=model, clip_weight=0.5)
    rows = tune(tuning(folder, segmenter=keys, clip_weight=[0.0, 1.0], temperature=[1.0], score_threshold=[0.2])).rows
    assert len(rows) == 2 * 3 * 2
    assert [row["miou_gt"] for row in rows] == sorted((row["miou_gt"] for row in rows), reverse=True)
    for row in rows[::5]:
        settings = {name: row[name] for name in ("clip_weight", "temperature", "score_threshold")}
        scores = evaluate_semantic(manifest(folder, segmenter={**keys, **settings}))
        assert {name: scores[name] for name in ("miou_gt", "pacc")} == {name: row[name] for name in ("miou_gt", "pacc")}


def test_the_ensemble_weight_is_not_tried_where_nothing_is_to_be_weighed(folder: dict[str, Any], clip: str) -> None:
    rows = tune(tuning(folder, segmenter=segmenter(clip), temperature=[50.0], held_out=0.5)).rows
    assert {row["clip_weight"] for row in rows} == {0.7}
    assert {row["temperature"] for row in rows} == {50.0, 100.0}


def test_test_data_is_refused(clip: str, tmp_path: Path) -> None:
    asked = {
        "version": 2,
        "kind": "segmenter_tuning",
        "set": {"kind": "a150", "root": "ade"},
        "segmenter": segmenter(clip),
    }
    (tmp_path / "tune.json").write_text(json.dumps(asked))
    with pytest.raises(UserError, match="a150 is test data"):
        load(TuneManifest, tmp_path / "tune.json")


def test_the_command_prints_the_best_settings_and_writes_all(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    asked = {
        "version": 2,
        "kind": "segmenter_tuning",
        "set": folder,
        "segmenter": segmenter(clip),
        "temperature": [1.0],
    }
    (tmp_path / "tune.json").write_text(json.dumps(asked))
    ended = CliRunner().invoke(app, ["tune", str(tmp_path / "tune.json"), "--json", str(tmp_path / "rows.json")])
    assert ended.exit_code == 0, ended.output
    rows = json.loads((tmp_path / "rows.json").read_bytes())["rows"]
    assert f"temperature: {rows[0]['temperature']:g}" in ended.output
    assert len(rows) == 2


def test_what_is_left_out_of_the_pictures_is_told(folder: dict[str, Any], clip: str, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('[{"id": 7, "name": "cat"}, {"id": 8, "name": "grass"}]')
    asked = {**folder, "classes": str(tmp_path / "classes.json"), "ignore": [0]}
    tried = tune(tuning(asked, segmenter=segmenter(clip), temperature=[100.0], held_out=0.5))
    (note,) = tried.notes
    assert "9 (" in note
    console = Console(record=True, width=400)
    print_tuning(tried, "miou_gt", console)
    assert f"Note: {note}" in console.export_text()
    (tmp_path / "classes.json").write_text('[{"id": 77, "name": "cat"}]')
    with pytest.raises(UserError, match="no pixel of the 2 pictures"):
        tune(tuning(asked, segmenter=segmenter(clip), temperature=[100.0], held_out=0.5))


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_at_least_one_picture_is_drawn_and_a_seed_draws_the_same(
    folder: dict[str, Any], clip: str, share: float
) -> None:
    counts: list[int] = []
    asked = tuning(folder, segmenter=segmenter(clip), temperature=[100.0], held_out=share, seed=3)
    first = tune(asked, lambda done, total: counts.append(total))
    assert counts[-1] == max(1, round(4 * share))
    assert tune(asked) == first
