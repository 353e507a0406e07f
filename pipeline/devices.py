"""What a process computes on: resolved once, where it starts."""

from __future__ import annotations

import os
from typing import Literal

from pipeline.manifest import Compute
from stages.errors import UserError

Precision = Literal["fp32", "fp16", "bf16"]


def limit_threads(threads: int) -> None:
    """Sets this process's number of threads, in the libraries that have one; call it before the work starts."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def resolve(compute: Compute) -> tuple[str, Precision]:
    """Device and precision of this process.

    Raises:
        UserError: the manifest wants a GPU and there is none.
    """
    import torch

    there = torch.cuda.is_available()
    if compute.device == "cuda" and not there:
        raise UserError("compute.device: cuda, but this process sees no GPU; use auto, or give the pool gpus")
    device = "cuda" if there and compute.device != "cpu" else "cpu"
    if compute.precision == "auto":
        return device, "fp16" if device == "cuda" else "fp32"
    return device, compute.precision


def device_class(device: str) -> str:
    """What floats may differ by between machines: the GPU's name, or the CPU's vector instructions."""
    import torch

    if device == "cuda":
        return f"cuda {torch.cuda.get_device_name()}"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"
