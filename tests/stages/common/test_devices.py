"""What models compute in: by the device's units, never by a measurement."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stages.common import (
    AskedPrecision,
    UserError,
    autocast,
    dtype_of,
    has_bf16,
    resolve_device,
    resolve_precision,
    slowness_warning,
)


def processor(monkeypatch: pytest.MonkeyPatch, onednn: bool = True, **flags: bool) -> None:
    """A CPU with these flags."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, **flags})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn, raising=False)


def gpu(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_auto_on_a_cpu_with_units_is_bf16(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    processor(monkeypatch, **{flag: True})
    assert resolve_precision("auto", "cpu") == "bf16"


@pytest.mark.parametrize(("onednn", "flags"), [(True, {}), (True, {"avx512_f": True}), (False, {"avx512_bf16": True})])
def test_auto_on_a_cpu_without_usable_units_is_fp32(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, flags: dict[str, bool]
) -> None:
    processor(monkeypatch, onednn, **flags)
    assert resolve_precision("auto", "cpu") == "fp32"


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu_is_bf16_where_it_has_it(monkeypatch: pytest.MonkeyPatch, bf16: bool, expected: str) -> None:
    gpu(monkeypatch, bf16)
    assert resolve_device("auto") == "cuda"
    assert resolve_precision("auto", "cuda:1") == expected


@pytest.mark.parametrize("asked", ["fp32", "fp16", "bf16"])
def test_what_is_asked_for_is_taken(asked: AskedPrecision) -> None:
    assert resolve_precision(asked, "cpu") == asked


def test_a_gpu_that_is_not_there_is_told_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"compute\.device: 'cuda' was asked for, and torch sees no GPU"):
        resolve_device("cuda", "compute.device")


def test_bf16_on_a_processor_without_units_gets_one_line_with_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch)
    seconds = {"bf16": 0.5, "fp32": 0.05}
    monkeypatch.setattr("stages.common.devices._seconds_per_product", seconds.__getitem__)
    warning = slowness_warning("bf16", "cpu")
    assert warning is not None
    assert warning.startswith(
        "Warning: precision: bf16: this processor has no units for it; a matrix product takes 10.0"
    )
    assert "precision: auto takes fp32 here" in warning
    assert "\n" not in warning


@pytest.mark.parametrize(
    ("asked", "device", "flags"), [("bf16", "cpu", {"avx512_bf16": True}), ("auto", "cpu", {}), ("bf16", "cuda", {})]
)
def test_nothing_is_said_where_all_is_well(
    monkeypatch: pytest.MonkeyPatch, asked: AskedPrecision, device: str, flags: dict[str, bool]
) -> None:
    processor(monkeypatch, **flags)
    assert slowness_warning(asked, device) is None


def test_autocast_computes_in_the_type_of_its_name() -> None:
    ones: Any = torch.ones(2, 2)
    for precision in ("fp32", "bf16"):
        with autocast("cpu", precision):
            assert (ones @ ones).dtype == dtype_of(precision)


def test_this_processor_is_asked_without_an_error() -> None:
    assert has_bf16("cpu") in (True, False)
