"""Manifests of several kinds: the kind decides which keys are right, and which texts are locations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common import UserError, load
from train.manifests import AdaptManifest, ClassifyManifest, EvaluateManifest, TrainManifest
from train.segmenter.config import SegmenterManifest

REGIONS = {"kind": "labels", "images": "a", "labels": "b", "classes": "c.json"}


def written(folder: Path, **values: Any) -> Path:  # noqa: ANN401 - YAML values
    file = folder / "m.yaml"
    file.write_text(yaml.safe_dump({"version": 2, **values}))
    return file


@pytest.mark.parametrize("kind", ["build", "mask_classification", ["adapt"]])
def test_a_kind_of_another_command_is_refused(tmp_path: Path, kind: object) -> None:
    file = written(tmp_path, kind=kind, odd=1)
    with pytest.raises(UserError) as caught:
        load(TrainManifest, file)
    assert str(caught.value) == f"{file}: kind: expected adapt or generator or pretrain, found {kind!r}"


def test_the_kind_s_mistakes_are_told_with_the_file_s_keys(tmp_path: Path) -> None:
    """pydantic puts kinds of unions into a mistake's place; the manifest has no such keys."""
    regions = {**REGIONS, "ignore": ["x"], "odd": 1}
    file = written(tmp_path, kind="mask_classification", clip={"weights": "w"}, regions=regions)
    with pytest.raises(UserError) as caught:
        load(EvaluateManifest, file)
    _, *told = str(caught.value).splitlines()
    assert [line.split(": ")[0].strip() for line in told] == ["regions.ignore.0", "regions.odd"]


def test_the_same_key_is_a_location_in_one_place_and_names_in_another(tmp_path: Path) -> None:
    file = written(tmp_path, kind="mask_classification", clip={"weights": "w"}, regions=REGIONS, classes=["sea", "dog"])
    found = load(EvaluateManifest, file, ["regions.labels=2024", "seen=[sea]"])
    assert isinstance(found, ClassifyManifest)
    assert found.regions.classes == str(tmp_path / "c.json")  # type: ignore[union-attr]
    assert found.regions.labels == str(Path.cwd() / "2024")  # type: ignore[union-attr]
    assert (found.classes, found.seen) == (("sea", "dog"), ("sea",))


def test_shards_in_lists_of_sections_are_locations(tmp_path: Path) -> None:
    values = {
        "init": {"weights": "w"},
        "data": {"sets": [{"shards": ["a"]}]},
        "phases": [{"train": "tower", "steps": 1}],
    }
    found = load(TrainManifest, written(tmp_path, kind="adapt", **values), ["data.sets.0.shards.0={0..3}.tar"])
    assert isinstance(found, AdaptManifest)
    assert found.data.sets[0].shards == (str(Path.cwd() / "{0..3}.tar"),)
    assert found.init.weights == str(tmp_path / "w")


def test_old_keys_are_those_of_the_kind(tmp_path: Path) -> None:
    """A tuning's held_out has kept its name."""
    old = {"version": 1, "kind": "adapt", "held_out": {"every": 1, "sight": "crop"}, "interpolation": 0.5, "sight": 1}
    with pytest.raises(UserError) as caught:
        load(TrainManifest, written(tmp_path, **old))
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "set version: 2",
        "held_out is now validation",
        "held_out.sight is now validation.region_input",
        "interpolation is now wise_ft_alpha",
    ]


def test_a_segmenter_of_version_1_had_no_kind(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("proposer: {kind: classical}\njudge: {clip: {model: ViT-B-16}}\n")
    with pytest.raises(UserError) as caught:
        load(SegmenterManifest, file)
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "set version: 2",
        "set kind: segmenter",
        "judge.clip.model is now clip.model",
    ]
