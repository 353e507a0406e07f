"""Class-agnostic mask proposals: how many of the true masks they find."""

from __future__ import annotations

from train.evaluate.proposals.counter import RecallCounter, TruthMask

__all__ = ["RecallCounter", "TruthMask"]
