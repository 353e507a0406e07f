"""Class-agnostic mask proposals: how many of the true masks they find."""

from __future__ import annotations

from train.evaluate.proposals.counter import RecallCounter, TruthMask
from train.evaluate.proposals.printing import print_proposals
from train.evaluate.proposals.run import ProposalsManifest, evaluate_proposals

__all__ = ["ProposalsManifest", "RecallCounter", "TruthMask", "evaluate_proposals", "print_proposals"]
