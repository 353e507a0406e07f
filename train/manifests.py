"""The manifests of the commands that take more than one kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from train.adapt.config import AdaptManifest
from train.evaluate.classify.run import ClassifyManifest
from train.evaluate.proposals.run import ProposalsManifest
from train.evaluate.semantic.scorer import SemanticManifest
from train.generator.config import GeneratorManifest
from train.pretrain.config import PretrainManifest

__all__ = [
    "AdaptManifest",
    "ClassifyManifest",
    "EvaluateManifest",
    "GeneratorManifest",
    "PretrainManifest",
    "ProposalsManifest",
    "SemanticManifest",
    "TrainManifest",
]

TrainManifest = Annotated[AdaptManifest | GeneratorManifest | PretrainManifest, Field(discriminator="kind")]
EvaluateManifest = Annotated[ClassifyManifest | SemanticManifest | ProposalsManifest, Field(discriminator="kind")]
