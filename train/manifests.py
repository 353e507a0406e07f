"""Reading the manifests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.manifests import read_values, validate
from stages.nouns import NounsConfig
from train.adapt.config import AdaptManifest
from train.classify.config import ClassifyManifest, RegionsConfig
from train.pretrain.config import PretrainManifest


def load_pretrain(path: Path, overrides: Sequence[str] = ()) -> PretrainManifest:
    """Reads the manifest of a CLIP from scratch; see stages.manifests.read_values.

    Raises:
        UserError: naming the file, every wrong key, what was expected and what was found.
    """
    data = read_values(path, "kind, shards, model, steps", overrides)
    return validate(PretrainManifest, data, str(path), {("nouns", "extractor"): NounsConfig})


def load_adapt(path: Path, overrides: Sequence[str] = ()) -> AdaptManifest:
    """Reads the manifest of an adaptation.

    Raises:
        UserError: as load_pretrain.
    """
    data = read_values(path, "kind, init, data, phases", overrides)
    return validate(AdaptManifest, data, str(path), {("held_out", "regions"): RegionsConfig})


def load_classify(path: Path, overrides: Sequence[str] = ()) -> ClassifyManifest:
    """Reads the manifest of a mask classification.

    Raises:
        UserError: as load_pretrain.
    """
    data = read_values(path, "kind, judge, regions", overrides)
    return validate(ClassifyManifest, data, str(path), {("regions",): RegionsConfig})
