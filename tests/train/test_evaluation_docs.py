"""docs/evaluate.md and manifests/evaluate are what the manifests take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from stages.common import Config, load
from train.evaluate.benchmark_sets.layouts import FACTS
from train.evaluate.classify.run import ClassifyManifest
from train.evaluate.proposals import ProposalsManifest
from train.evaluate.semantic import SemanticManifest
from train.evaluate.semantic.scorer import TuneManifest
from train.manifests import EvaluateManifest

ROOT = Path(__file__).parents[2]
IN_WORDS = {(ClassifyManifest, "rules"), (ClassifyManifest, "templates")}
MANIFESTS = sorted((ROOT / "manifests/evaluate").glob("*.yaml"))


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("Mask classification", ClassifyManifest),
        ("Semantic segmentation", SemanticManifest),
        ("Proposals", ProposalsManifest),
        ("Tune", TuneManifest),
    ],
)
def test_every_key_is_documented_with_its_default(title: str, model: type[Config]) -> None:
    page = (ROOT / "docs/evaluate.md").read_text(encoding="utf-8")
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    fields = {name: field for name, field in model.model_fields.items() if name not in ("version", "kind")}
    assert said.keys() == fields.keys()
    for name, field in fields.items():
        if field.is_required():
            assert said[name] == "required", name
        elif field.default is None:
            assert said[name] in ("none", "one required"), name
        elif (model, name) not in IN_WORDS:
            assert TypeAdapter(field.annotation).validate_python(yaml.safe_load(said[name])) == field.default, name


def test_there_is_a_manifest_for_every_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADE", "VOC", "COCO"):
        monkeypatch.setenv(name, "/data")
    kinds = []
    for path in MANIFESTS:
        asked = load(EvaluateManifest, path)
        if isinstance(asked, SemanticManifest):
            kinds.append(asked.set.kind)
    assert sorted(kinds) == sorted([*FACTS, "folder"])


@pytest.mark.parametrize(
    ("name", "published"),
    [("a-150", 0.7), ("a-847", 0.7), ("pc-59", 0.6), ("pc-459", 0.6), ("pas-20", 0.45)],
)
def test_manifests_have_the_published_weight_of_clip(
    name: str, published: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the published commands; the one for Pascal VOC stands in no configuration of theirs."""
    for variable in ("ADE", "VOC"):
        monkeypatch.setenv(variable, "/somewhere")
    segmenter = load(SemanticManifest, ROOT / f"manifests/evaluate/{name}.yaml").segmenter
    assert (segmenter.clip_weight, segmenter.mask_threshold) == (published, 0.4)
