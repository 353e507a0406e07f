"""What a manifest's identity leaves out is what is marked, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.manifest import BuildManifest
from stages.common import Manifest, canonical_json, identity
from train.adapt.config import AdaptManifest
from train.evaluate.semantic.scorer import SemanticManifest
from train.pretrain.config import PretrainManifest

CLIP = {"model": "local-dir:clips/a"}
REGIONS = {"kind": "labels", "images": "a", "labels": "b", "classes": "c.json", "ignore": [3]}
BUILD = {
    "source": {"kind": "coco", "images": "a", "captions": "b", "masks": ["c"], "panoptic_folder": "d"},
    "proposals": {"proposer": {"kind": "precomputed", "path": "e"}},
    "nouns": {"extractor": {"kind": "nltk", "tagger": "f"}},
    "matching": {"clip": CLIP},
    "run": {"cache": "g", "pools": []},
}
ADAPT = {
    "kind": "adapt",
    "init": CLIP,
    "data": {"sets": [{"shards": ["a"]}, {"shards": ["b", "c"], "weight": 2}]},
    "phases": [{"train": "tower", "steps": 1}],
    "validation": {"every": 1, "regions": REGIONS},
}
TOWERS = {"embed_dim": 8, "vision_cfg": {"image_size": 8}, "text_cfg": {"vocab_size": 8}}
PRETRAIN = {"kind": "pretrain", "shards": ["a", "b"], "model": TOWERS, "steps": 1}
SEMANTIC = {
    "kind": "semantic_segmentation",
    "set": {"kind": "a150", "root": "a"},
    "segmenter": {"proposer": {"kind": "maskformer", "model": "hub/name"}, "clip": {**CLIP, "weights": "b"}},
}


def leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON values
    """Dotted keys of what is neither a section nor a list of them."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from leaves(value, f"{key}.{name}" if key else name)
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        yield from leaves(dict(enumerate(values)), key)
    else:
        yield key, values


@pytest.mark.parametrize(
    ("model", "values", "left_out"),
    [
        (
            BuildManifest,
            BUILD,
            {
                *("version", "run", "source.images", "source.captions", "source.masks", "source.panoptic_folder"),
                *("proposals.proposer.path", "nouns.extractor.tagger"),
            },
        ),
        (
            AdaptManifest,
            ADAPT,
            {
                *("version", "init", "device", "checkpoint_every", "log_every", "tensorboard"),
                *("data.workers", "data.sets.0.shards", "data.sets.1.shards"),
                *("validation.regions.images", "validation.regions.labels", "validation.regions.classes"),
            },
        ),
        (PretrainManifest, PRETRAIN, {"version", "shards", "device", "workers", "checkpoint_every", "log_every"}),
        (
            SemanticManifest,
            SEMANTIC,
            {
                *("version", "seen", "open_metrics", "set.root"),
                *("segmenter.batch_size", "segmenter.device", "segmenter.clip.weights"),
            },
        ),
    ],
    ids=["build", "adapt", "pretrain", "semantic_segmentation"],
)
def test_identity_leaves_out_what_is_marked(model: type[Manifest], values: dict[str, Any], left_out: set[str]) -> None:
    manifest = model.model_validate(values)
    every, kept = dict(leaves(manifest.model_dump(mode="json"))), dict(leaves(identity(manifest)))
    missing = every.keys() - kept.keys()
    assert {key for key in missing if not key.startswith(("run.", "init."))} == left_out - {"run", "init"}
    assert {key.partition(".")[0] for key in missing if key.startswith(("run.", "init."))} == left_out & {"run", "init"}
    assert kept == {key: "local" if value == CLIP["model"] else value for key, value in every.items() if key in kept}
    canonical_json(identity(manifest))  # raises where something is no JSON
