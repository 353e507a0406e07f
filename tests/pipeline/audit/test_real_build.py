"""A build of the real miner, and the command."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from pipeline.audit import audit
from pipeline.cli.entry import main
from pipeline.manifest import BuildManifest
from tests.pipeline.conftest import manifest_values, run_build


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, photos: Path, tiny_clip: str) -> Path:
    """Ten photos with two shapes each, their true masks as proposals."""
    out = tmp_path_factory.mktemp("audit") / "out"
    run_build(BuildManifest.model_validate(manifest_values(photos, tiny_clip)), out)
    return out


def test_a_pair_is_right_where_noun_and_label_of_the_true_mask_agree(built: Path, photos: Path) -> None:
    """The proposals are the true masks and carry their class, so that the index alone tells which pairs are right."""
    columns = ["image_id", "noun_canonical", "proposal_label"]
    pairs = pyarrow.parquet.read_table(built / "index.parquet", columns=columns).to_pylist()
    truth = json.loads((photos / "instances.json").read_text())
    names = {entry["id"]: entry["name"] for entry in truth["categories"]}
    shown: dict[str, set[str]] = {}
    for entry in truth["annotations"]:
        shown.setdefault(str(entry["image_id"]), set()).add(names[entry["category_id"]])
    counts = Counter[str]()
    for pair in pairs:
        noun, image = pair["noun_canonical"], pair["image_id"]
        counts["right"] += noun == pair["proposal_label"]
        counts["other_class"] += noun in shown[image] and noun != pair["proposal_label"]
        counts["unknown"] += noun not in names.values()
    report = audit(str(built), [str(photos / "instances.json")])
    outcomes = report["outcomes"]["0.75"]
    assert len(pairs) == report["pairs"] > 40
    assert min(counts.values()) > 0
    assert {name: outcomes[name] for name in counts} == counts
    assert sum(counts.values()) == report["pairs"]
    assert report["mask_on_a_region"]["all"] == 1.0
    assert report["grounded"]["share"] == 1.0  # every noun takes its best mask
    assert report["recall"]["0.5"]["instances"] == len(truth["annotations"])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; gives exit status, output, errors."""
    monkeypatch.setattr("pipeline.cli.entry.install", lambda stop: None)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maskmine", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


def test_the_command_prints_and_writes_what_the_audit_found(
    built: Path, photos: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    truth = photos / "instances.json"
    status, out, _ = run(built, "--truth", truth, "--json", tmp_path / "audit.json")
    assert status == 0
    report: dict[str, Any] = json.loads((tmp_path / "audit.json").read_text())
    assert report == audit(str(built), [str(truth)])
    right = report["precision"]["0.5"]["exact"]
    assert f"noun is the class's name {100 * right:.1f} %" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert "Most often wrong: " in out


def test_mistakes_are_one_message_and_exit_status_2(
    built: Path, photos: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    truth = photos / "instances.json"
    for arguments, words in (
        ((built, "--truth", tmp_path / "none.json"), "none.json"),
        ((tmp_path, "--truth", truth), "no finished build"),
        ((built, "--truth", photos / "captions.json"), "captions.json"),
        ((built, "--truth", truth, "--json", tmp_path / "no/such/folder.json"), "folder.json"),
        ((built,), "--truth"),
    ):
        status, _, err = run(*arguments)
        assert status == 2
        assert words in err
        assert "Traceback" not in err
