"""Mask proposals: one configuration class per kind, and what builds a proposer from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.common import ImageRecord, Precision, Proposal
from stages.proposals.annotations import read_coco_masks, read_precomputed
from stages.proposals.base import BatchProposer, Proposer
from stages.proposals.classical import ClassicalProposals, ClassicalProposer
from stages.proposals.local_model import LocalModel
from stages.proposals.models import (
    EomtProposals,
    GridProposals,
    GroundTruthProposals,
    Mask2FormerProposals,
    MaskFormerProposals,
    ModelConfig,
    OneFormerProposals,
    OvsegProposals,
    PrecomputedProposals,
    QueryProposals,
    QueryRules,
    SamProposals,
)
from stages.proposals.provided import BadMask, ProvidedProposer, mask_files
from stages.proposals.refine import CHANGES, MaskRules, refine

if TYPE_CHECKING:
    from stages.proposals.query_masks import QueryGenerator

__all__ = [
    "CHANGES",
    "AnyProposals",
    "BatchProposer",
    "GroundTruthProposals",
    "MaskRules",
    "ModelConfig",
    "OvsegProposals",
    "PrecomputedProposals",
    "ProposalsConfig",
    "Proposer",
    "QueryProposals",
    "QueryRules",
    "build_generator",
    "build_proposer",
    "mask_files",
    "model_files",
    "propose",
    "read_coco_masks",
    "read_precomputed",
    "refine",
]

AnyProposals = (
    MaskFormerProposals
    | Mask2FormerProposals
    | OneFormerProposals
    | EomtProposals
    | GridProposals
    | OvsegProposals
    | SamProposals
    | ClassicalProposals
    | GroundTruthProposals
    | PrecomputedProposals
)
ProposalsConfig = Annotated[AnyProposals, Field(discriminator="kind")]


def build_proposer(config: AnyProposals, device: str = "cpu", precision: Precision = "fp32") -> Proposer:
    """Builds the proposer that `config` describes; kinds without a model ignore device and precision.

    Args:
        config: which masks.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp16`` and ``bf16`` run the model under autocast.

    Raises:
        UserError: the model's folder or hub id cannot be used.
    """
    if isinstance(config, GroundTruthProposals | PrecomputedProposals):
        return ProvidedProposer(config)
    if isinstance(config, ClassicalProposals):
        return ClassicalProposer(config)
    if isinstance(config, SamProposals):
        from stages.proposals.sam import load_sam

        return load_sam(config, device, precision)
    from stages.proposals.queries import QueryProposer

    return QueryProposer(config, build_generator(config, device, precision))


def propose(proposer: Proposer, record: ImageRecord, image: NDArray[np.uint8]) -> tuple[list[Proposal], list[BadMask]]:
    """Masks of a photo, and those that came with it and are bad; see `Proposer.propose`.

    Raises:
        SampleError: the photo cannot be used.
    """
    if isinstance(proposer, ProvidedProposer):
        return proposer.check(record, image)
    return proposer.propose(record, image), []


def build_generator(
    config: QueryProposals | OvsegProposals, device: str = "cpu", precision: Precision = "fp32"
) -> QueryGenerator:
    """Builds the generator of soft masks that `config` describes; see `build_proposer`.

    Raises:
        UserError: the model's file, folder or hub id cannot be used.
    """
    if isinstance(config, GridProposals):
        from stages.proposals.grid_masks import load_grid_model

        return load_grid_model(config, device, precision)
    if isinstance(config, OvsegProposals):
        from stages.proposals.ovseg import load_ovseg_generator

        return load_ovseg_generator(config.model, device, precision)
    from stages.proposals.queries import load_query_model

    return load_query_model(config, device, precision)


def model_files(config: AnyProposals) -> list[Path]:
    """Every local file that the masks depend on, weights included; downloads a hub id; [] for kinds without a model.

    Raises:
        UserError: the folder lacks a file or holds another kind of model, or the hub cannot be reached.
    """
    if isinstance(config, OvsegProposals):
        return config.files()
    if not isinstance(config, ModelConfig):
        return []
    return LocalModel.find(config).files
