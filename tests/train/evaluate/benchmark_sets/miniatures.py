"""Tiny copies of each benchmark's layout: two pictures of 6 x 4 pixels, where the real one has thousands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from train.evaluate.benchmark_sets import BenchmarkSet, SegmentationSet, open_set
from train.evaluate.benchmark_sets.layouts import FACTS, BenchmarkKind

HEIGHT, WIDTH = 4, 6


def picture(path: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(path)


def label_map(path: Path, *ids: int, dtype: type = np.uint8) -> None:
    """A map whose first pixels hold the ids, the others the last of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.full(HEIGHT * WIDTH, ids[-1], dtype)
    labels[: len(ids)] = ids
    labels = labels.reshape(HEIGHT, WIDTH)
    if path.suffix == ".mat":
        scipy.io.savemat(path, {"LabelMap": labels}, do_compression=True)
    else:
        Image.fromarray(labels).save(path)


def names(path: Path, *keys: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(keys) + "\n")


def of_size(monkeypatch: pytest.MonkeyPatch, kind: BenchmarkKind, *pictures: int) -> None:
    """The benchmark as if it had so many pictures."""
    facts = {**FACTS[kind].__dict__, "pictures": pictures}
    monkeypatch.setitem(FACTS, kind, type(FACTS[kind])(**facts))


def opened(kind: BenchmarkKind, root: Path, *, partial: bool = False) -> SegmentationSet:
    return open_set(BenchmarkSet(kind=kind, root=str(root), partial=partial))


def first_row(labels: SegmentationSet, at: int = 0) -> list[int]:
    """The first pixels' classes, up to the first two that are equal to the end."""
    truth: NDArray[np.int32] = labels.truth(labels.items[at])
    assert truth.dtype == np.int32
    assert truth.shape == labels.picture(labels.items[at]).shape[:2]
    return [int(number) for number in truth[0]]
