"""A build is computed in one precision, also where it goes on, or is made again, on another kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.manifest import BuildManifest, Compute, mixture, pin_precision, slowness
from pipeline.records import read_lock
from stages.common import Folder
from tests.pipeline.conftest import bytes_of, run_build

Make = Callable[..., BuildManifest]


def test_auto_is_what_the_units_that_are_done_were_computed_in() -> None:
    assert pin_precision(Compute(), ["cpu AVX512 bf16", "cpu AVX2 bf16"]).precision == "bf16"
    assert pin_precision(Compute(precision="fp32"), ["cpu AVX512 bf16"]).precision == "fp32"


@pytest.mark.parametrize("recorded", [[], ["cpu AVX2 fp32", "cpu AVX512 bf16"], ["cpu AVX2"]])
def test_auto_stays_where_nothing_is_done_or_it_is_mixed(recorded: list[str]) -> None:
    assert pin_precision(Compute(), recorded).precision == "auto"


def test_a_mixture_is_told() -> None:
    assert mixture(["cpu AVX2 fp32", "cuda A100 fp32"]) is None
    assert "computed in bf16 and fp32" in str(mixture(["cpu AVX2 fp32", "cpu AVX512 bf16"]))


def test_a_half_precision_without_units_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.common.devices.has_bf16", lambda device: False)
    monkeypatch.setattr("stages.common.devices._seconds_per_product", {"bf16": 0.5, "fp32": 0.1}.__getitem__)
    assert "5.0 times as long" in str(slowness(Compute(device="cpu", precision="bf16")))
    assert slowness(Compute()) is None


@pytest.mark.parametrize("how", ["resumed", "from its lock"])
def test_a_build_goes_on_in_the_precision_that_it_was_begun_in(
    manifest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("stages.common.devices.has_bf16", lambda device: True)
    run_build(manifest(), tmp_path / "whole")
    monkeypatch.setattr("stages.common.devices.has_bf16", lambda device: False)
    if how == "resumed":
        before = bytes_of(tmp_path / "whole")
        (tmp_path / "whole/shards/000001.tar").unlink()
        run_build(manifest(), tmp_path / "whole")
        assert bytes_of(tmp_path / "whole") == before
    else:
        run_build(manifest(), tmp_path / "again", lock=str(tmp_path / "whole/build.lock.json"))
        assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "whole")
    last = tmp_path / ("whole" if how == "resumed" else "again")
    devices = read_lock(Folder(str(last))).devices
    assert [device.rpartition(" ")[2] for device in devices] == ["bf16"]


def test_a_fresh_build_is_computed_in_what_this_machine_has(
    manifest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.common.devices.has_bf16", lambda device: False)
    run_build(manifest(), tmp_path)
    assert all(device.endswith(" fp32") for device in read_lock(Folder(str(tmp_path))).devices)
