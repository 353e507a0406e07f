"""What models compute on, and in which floating-point type: the one table of both."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Literal

from stages.common.errors import UserError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "fp16", "bf16"]
AskedPrecision = Literal["auto", "fp32", "fp16", "bf16"]
_BF16_UNITS = ("avx512_bf16", "amx_bf16", "avx10_2", "bf16")
"""As torch.cpu.get_capabilities names them; the last one is Arm's."""
_SIDE = 512
_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def resolve_device(asked: str, key: str = "device") -> str:
    """The torch device to use: ``auto`` is a GPU where there is one.

    Args:
        asked: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        key: of the manifest, for the message.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{key}: {asked!r} was asked for, and torch sees no GPU here; use cpu or auto")
    return asked


def resolve_precision(asked: AskedPrecision, device: str) -> Precision:
    """What to compute in: ``auto`` is bf16 where the device has units for it, else fp16 on a GPU and fp32 on a CPU.

    The processor's flags decide, not a measurement, so that the same machine always gives the same floats.
    """
    if asked != "auto":
        return asked
    if has_bf16(device):
        return "bf16"
    return "fp32" if device == "cpu" else "fp16"


def has_bf16(device: str) -> bool:
    """Whether a device has units for bfloat16, so that it is faster there than float32."""
    import torch

    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN, which multiplies the matrices, may be kept from the units (ONEDNN_MAX_CPU_ISA) or lack them.
    flags = torch.cpu.get_capabilities()
    usable = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return usable and any(flags.get(name, False) for name in _BF16_UNITS)


def dtype_of(precision: Precision) -> torch.dtype:
    """torch's floating-point type."""
    import torch

    dtype: torch.dtype = getattr(torch, _NAMES[precision])
    return dtype


def autocast(device: str, precision: Precision) -> torch.autocast:
    """Context that runs a model in fp32 (as it is), fp16 or bf16."""
    import torch

    kind, is_half = device.partition(":")[0], precision != "fp32"
    return torch.autocast(kind, dtype=dtype_of(precision) if is_half else None, enabled=is_half)


def slowness_warning(asked: AskedPrecision, device: str) -> str | None:
    """One line about a half precision for which a CPU has no units, with the ratio measured; None if all is well."""
    if device != "cpu" or asked == "auto" or asked == "fp32" or (asked == "bf16" and has_bf16(device)):
        return None
    ratio = _seconds_per_product(asked) / _seconds_per_product("fp32")
    if ratio < 1:
        return None
    return (
        f"Warning: precision: {asked}: this processor has no units for it; a matrix product takes {ratio:.1f} times "
        f"as long as in fp32. precision: auto takes {resolve_precision('auto', device)} here."
    )


def _seconds_per_product(precision: Precision, tries: int = 3) -> float:
    """Seconds per product of two square matrices, the best of a few tries."""
    import torch

    matrix = torch.ones(_SIDE, _SIDE, dtype=dtype_of(precision))
    matrix @ matrix  # the first one prepares kernels
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return best


def limit_threads(threads: int) -> None:
    """Sets this process's number of threads, in the libraries that have one; call it before the work starts."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def device_class(device: str) -> str:
    """What floats may differ by between machines: the GPU's name, or the CPU's vector instructions."""
    import torch

    if device.startswith("cuda"):
        return f"cuda {torch.cuda.get_device_name()}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
