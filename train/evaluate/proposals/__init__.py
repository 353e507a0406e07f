"""Class-agnostic mask proposals: how many of the true masks they find."""

from __future__ import annotations

from train.evaluate.proposals.counter import RecallCounter, TruthMask
from train.evaluate.proposals.printing import print_proposals
from train.evaluate.proposals.run import ProposalsManifest, evaluate_proposals
from train.evaluate.proposals.truth import MaskTruth, TruthSet

__all__ = [
    "MaskTruth",
    "ProposalsManifest",
    "RecallCounter",
    "TruthMask",
    "TruthSet",
    "evaluate_proposals",
    "print_proposals",
]
