"""How the code is built: the bounds of benchmarks/house.py hold, and its counting finds what it should."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import house


@pytest.mark.parametrize("figure", house.figures(), ids=lambda figure: figure.what.partition(" (")[0])
def test_bound_holds(figure: house.Figure) -> None:
    assert figure.found <= figure.most, ", ".join(figure.where)


def module(code: str) -> house.Module:
    return house.Module("stages.x", Path("x.py"), ast.parse(code))


def test_imports_are_counted_once_each_wherever_they_stand() -> None:
    code = """
import stages.boxes
from stages.boxes import Box
from stages import boxes, records
def later():
    from train.losses import in_batch
import numpy
"""
    known = {"stages", "stages.boxes", "stages.records", "train.losses"}
    assert house.internal_imports(module(code), known) == {"stages.boxes", "stages.records", "train.losses"}


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("tarfile.open(file)", True),
        ("tarfile.open(fileobj=file, mode='r:')", True),
        ("tarfile.open(fileobj=file, mode='w')", False),
        ("open(file)", False),
    ],
)
def test_reading_a_tar_is_told_from_writing_one(code: str, reads: bool) -> None:
    assert house.opens_tars(module(code)) is reads


def test_tables_of_types_and_columns_are_seen() -> None:
    assert house.has_dtype_table(module("{'fp32': torch.float32, 'bf16': torch.bfloat16}"))
    assert not house.has_dtype_table(module("{'a': torch.float32}"))
    assert house.knows_columns(module("row['score_cosine']"))
    assert not house.knows_columns(module("row.score_cosine"))
