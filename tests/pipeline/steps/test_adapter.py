"""The adapter keeps the books of every step: cache, numbers, seconds, and whose fault an error is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import BuildManifest
from pipeline.steps import StepAdapter, adapter
from pipeline.unit import BuildSpec, CachedStep, ImageWork, Task, UnitWork
from stages.common import ImageRecord, SampleError

Make = Callable[..., BuildManifest]


class Lengths(CachedStep[ImageWork, int]):
    """Takes the length of each image's file name for the image's hash; counts how often it does."""

    stage = "nouns"
    kind = "lengths"
    statistics = ("measured", "measured_before")
    computes_on = "paper fp32"
    computed = 0
    rule = "characters"

    def __init__(self, spec: BuildSpec) -> None:
        self.finished = False

    @property
    def identity(self) -> list[Any]:
        return [self.rule]

    def tasks(self, unit: UnitWork) -> Iterator[Task[ImageWork]]:
        return (Task(image, 10, image if self.rule == "characters" else None) for image in unit.usable())

    def key(self, content: ImageWork) -> list[Any]:
        return [content.record.file]

    def prepare(self, content: ImageWork) -> str:
        if content.record.file == "unreadable":
            raise SampleError("undecodable_image", "expected a photo")
        return f"prepared {content.record.file}"

    def compute(self, content: ImageWork, prepared: str) -> int:
        assert prepared == f"prepared {content.record.file}"
        Lengths.computed += 1
        if content.record.file == "bad":
            raise SampleError("bad_name", "expected a good one")
        if content.record.file == "odd":
            raise ZeroDivisionError
        if content.record.file == "full":
            raise OSError("disk full")
        return len(content.record.file)

    def encode(self, result: int) -> bytes:
        return str(result).encode()

    def decode(self, entry: bytes) -> int:
        return int(entry)

    def apply(self, content: ImageWork, result: int) -> None:
        content.sha256 = f"{result} characters"

    def finish(self, unit: UnitWork) -> None:
        unit.devices["finish"] = "called"


def unit_of(*files: str) -> UnitWork:
    return UnitWork(0, "key", [ImageWork(ImageRecord(file, file, ()), row) for row, file in enumerate(files)])


@pytest.fixture
def spec(manifest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSpec:
    monkeypatch.setitem(adapter._STEPS, "nouns", Lengths)
    monkeypatch.setattr(Lengths, "computed", 0)
    return BuildSpec(manifest(), "plan", str(tmp_path / "out"), str(tmp_path / "cache"), "libraries", {})


def run(spec: BuildSpec, *files: str) -> UnitWork:
    unit = unit_of(*files)
    StepAdapter(spec, ("nouns",)).run(unit)
    return unit


def test_what_was_computed_once_comes_from_the_cache_and_is_counted(spec: BuildSpec) -> None:
    first, second = run(spec, "a", "bb"), run(spec, "bb", "ccc")
    assert (first.done, second.done) == ({"measured": 20}, {"measured": 10, "measured_before": 10})
    assert Lengths.computed == 3
    assert [image.sha256 for image in second.images] == ["2 characters", "3 characters"]


def test_what_is_twice_in_a_unit_is_computed_once(spec: BuildSpec) -> None:
    assert run(spec, "a", "a", "a").done == {"measured": 10, "measured_before": 20}


def test_what_cannot_be_prepared_quarantines_its_image_alone(spec: BuildSpec) -> None:
    unit = run(spec, "a", "unreadable", "bb")
    assert [(row.image_id, row.stage, row.reason) for row in unit.quarantine] == [
        ("unreadable", "nouns", "undecodable_image")
    ]
    assert [image.sha256 for image in unit.usable()] == ["1 characters", "2 characters"]


def test_without_a_cache_all_is_computed(spec: BuildSpec) -> None:
    spec = replace(spec, cache_url=None)
    assert run(spec, "a").done == run(spec, "a").done == {"measured": 10}


@pytest.mark.parametrize("changed", ["libraries", "identity"])
def test_result_of_other_libraries_or_another_identity_is_not_taken(
    spec: BuildSpec, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    run(spec, "a")
    if changed == "identity":
        monkeypatch.setattr(Lengths, "rule", "bytes")
    else:
        spec = replace(spec, fingerprint="others")
    assert run(spec, "a").done == {"measured": 10}


def test_error_of_an_image_quarantines_it_alone_and_is_not_cached(spec: BuildSpec) -> None:
    for _ in range(2):
        unit = run(spec, "bad", "good", "odd")
        reasons = [(row.image_id, row.stage, row.reason) for row in unit.quarantine]
        assert reasons == [("bad", "nouns", "bad_name"), ("odd", "nouns", "unexpected_error")]
        assert [image.record.file for image in unit.usable()] == ["good"]


def test_error_that_may_pass_is_the_units(spec: BuildSpec) -> None:
    with pytest.raises(OSError, match="disk full"):
        run(spec, "full")


def test_error_of_a_task_without_an_image_is_the_units(spec: BuildSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lengths, "rule", "bytes")
    with pytest.raises(SampleError):
        run(spec, "bad")


def test_seconds_and_devices_are_noted(spec: BuildSpec) -> None:
    unit = run(spec, "a")
    assert unit.seconds.keys() == {"nouns"}
    assert unit.seconds["nouns"] >= 0
    assert unit.devices == {"nouns": "paper fp32", "finish": "called"}
    assert unit.receipt is None  # nothing was written, so nothing is done
