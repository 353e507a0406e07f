"""The five steps of a unit, a file each, and the adapter that runs them.

Callers import from here: ``from pipeline.steps import StepAdapter, start_unit``.
"""

from __future__ import annotations

from pipeline.steps.adapter import StepAdapter, check_same, start_unit

__all__ = ["StepAdapter", "check_same", "start_unit"]
