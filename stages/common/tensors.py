"""Files of tensors, read without unpickling anything else: safetensors, and what torch.save wrote.

Neither torch nor safetensors is loaded before a file is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.common.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def read_tensor_file(path: Path) -> Any:  # noqa: ANN401 - what a file held
    """What a checkpoint holds: a dictionary of tensors from .safetensors, else anything that torch.save wrote.

    Raises:
        UserError: it cannot be read, or needs more than tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; expected a checkpoint (.pt, .pth or .safetensors)")
    if path.suffix == ".safetensors":
        return load_safetensors(path)
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of many kinds
        raise UserError(f"{path}: {_unreadable(str(error))}") from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        UserError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}; fetch it again") from error


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors in a safetensors file, of which nothing else is read.

    Raises:
        UserError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}; fetch it again") from error


def _unreadable(message: str) -> str:
    if "TorchScript" in message:
        wanted = "torch.jit.load(FILE).state_dict()"
        what = "is a TorchScript program, as OpenAI's own files are"
    elif other := re.search(r"GLOBAL (\S+)", message):
        wanted = "{'state_dict': torch.load(FILE, weights_only=False)['state_dict']} (a segmenter has 'model')"
        what = f"holds more than tensors ({other[1]})"
    else:
        first_line = (message.strip().splitlines() or ["empty"])[0]
        return f"is damaged, or no checkpoint ({first_line[:120]}); fetch it again"
    return (
        f"{what}, which could run any code, and is not loaded. If you trust its source, keep its weights alone, once, "
        f"where code can do no harm: torch.save({wanted}, NEW)"
    )
