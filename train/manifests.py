"""Reading the manifests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.common import Unions, read_values, validate
from stages.nouns import NounsConfig
from stages.proposals import ProposalsConfig
from train.adapt.config import AdaptManifest
from train.evaluate.benchmark_sets.config import SetConfig
from train.evaluate.classify.config import ClassifyManifest, RegionsConfig
from train.evaluate.semantic.config import SemanticManifest
from train.evaluate.semantic.tune_config import TuneManifest
from train.pretrain.config import PretrainManifest
from train.segmenter.config import SegmenterConfig

PHOTO_SEGMENTER = Path(__file__).parent / "segmenter/photo.yaml"


def load_pretrain(path: Path, overrides: Sequence[str] = ()) -> PretrainManifest:
    """Reads the manifest of a CLIP from scratch; see stages.common.manifests.read_values.

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
    return validate(AdaptManifest, data, str(path), {("validation", "regions"): RegionsConfig})


def load_classify(path: Path, overrides: Sequence[str] = ()) -> ClassifyManifest:
    """Reads the manifest of a mask classification.

    Raises:
        UserError: as load_pretrain.
    """
    data = read_values(path, "kind, clip, regions", overrides)
    return validate(ClassifyManifest, data, str(path), {("regions",): RegionsConfig})


def load_segmenter(path: Path | None, overrides: Sequence[str] = ()) -> SegmenterConfig:
    """Reads what a segmenter is made of; without a file, the models for photos.

    Raises:
        UserError: as load_pretrain.
    """
    data = read_values(path or PHOTO_SEGMENTER, "proposer, clip", overrides)
    return validate(SegmenterConfig, data, str(path or "the segmenter for photos"), {("proposer",): ProposalsConfig})


def load_semantic(path: Path, overrides: Sequence[str] = ()) -> SemanticManifest:
    """Reads what is scored on which pictures.

    Raises:
        UserError: as load_pretrain.
    """
    data = read_values(path, "kind, set, segmenter", overrides)
    unions: Unions = {("set",): SetConfig, ("segmenter", "proposer"): ProposalsConfig}
    return validate(SemanticManifest, data, str(path), unions)


def load_tuning(path: Path, overrides: Sequence[str] = ()) -> TuneManifest:
    """Reads which settings of a segmenter are tried.

    Raises:
        UserError: as load_pretrain.
    """
    data = read_values(path, "kind, set, segmenter", overrides)
    return validate(TuneManifest, data, str(path), {("segmenter", "proposer"): ProposalsConfig})
