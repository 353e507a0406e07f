"""Files in the published layouts: read, loaded into a model, and written. Nothing is unpickled but tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from stages.clip_weights import load_clip_weights
from stages.common import Precision, UserError, read_tensor_file
from stages.proposals.ovseg_file import JSON_FILE as OVSEG_JSON
from stages.proposals.ovseg_file import TENSORS_FILE, OvsegFile
from train.clip.checkpoint.layouts import Layout, Weights, unwrap, wrap
from train.clip.model import MaskPromptCLIP

__all__ = [
    "OVSEG_JSON",
    "convert_ovseg",
    "load_published",
    "read_published",
    "save_published",
    "weights_of",
    "write_file",
]


def read_published(path: Path) -> Weights:
    """Reads a published file: .safetensors, or what torch.save wrote, of which only tensors are unpickled.

    The folder that an OVSeg file is converted to counts as that file.

    Raises:
        UserError: it cannot be read, needs more than tensors, or holds no CLIP.
    """
    if path.is_dir():
        file = OvsegFile.read(path)
        return replace(unwrap(file.state, str(path)), versions=file.versions)
    return unwrap(read_tensor_file(path), str(path))


def load_published(path: Path, clip: nn.Module, depth: int | None = None) -> MaskPromptCLIP:
    """Loads a published file into an open_clip model of the same kind, and wraps it.

    Args:
        path: a file in one of the published layouts.
        clip: the model, e.g. from `stages.clip.load_clip`; its weights are replaced.
        depth: of the prompts. None takes what the file has; a file without prompts gets fresh ones of this depth.

    Raises:
        UserError: the file cannot be read, or does not fit the model or the depth.
    """
    weights = read_published(path)
    if weights.prompts is not None and depth not in (None, len(weights.prompts)):
        raise UserError(f"{path}: its prompts have depth {len(weights.prompts)}; expected {depth}, the depth asked for")
    try:
        model = MaskPromptCLIP(clip, len(weights.prompts) if weights.prompts is not None else depth or 0)
        if weights.prompts is not None:
            model.set_prompts(weights.prompts)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    load_clip_weights(clip, weights.clip, str(path))
    return model


def save_published(
    path: Path,
    model: MaskPromptCLIP,
    layout: Layout,
    precision: Precision = "fp32",
    prompts: bool = True,
    segmenter: Weights | None = None,
) -> None:
    """Writes a file in a published layout (.pt or .pth; .safetensors for layout ``clip``).

    Args:
        path: the file; replaced in one step.
        model: what to write.
        layout: one of the published ones.
        precision: fp16 or bf16 halve the matrices; norms, biases and the temperature stay in float32.
        prompts: whether to write them; stock open_clip loads only files without.
        segmenter: for layout ``segmenter``, the one whose other tensors and versions are kept, from `read_published`.

    Raises:
        UserError: suffix and layout disagree, or a value is too large for fp16.
    """
    if path.suffix == ".safetensors" and layout != "clip":
        raise UserError(f"{path}: layout {layout!r} is nested, which safetensors cannot hold; name the file .pt")
    weights = weights_of(model)
    if segmenter is not None:
        weights = replace(weights, rest=segmenter.rest, versions=segmenter.versions)
    write_file(path, wrap(weights, layout, precision, prompts))


def convert_ovseg(file: Path, folder: Path) -> None:
    """Writes an OVSeg file as a folder of safetensors and JSON, `OVSEG_JSON` last; see `OvsegFile`.

    Raises:
        UserError: the file cannot be read, or is no OVSeg; nothing is written then.
    """
    read = OvsegFile.read(file)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OVSEG_JSON).unlink(missing_ok=True)
    write_file(folder / TENSORS_FILE, {name: value.clone().contiguous() for name, value in read.state.items()})
    write_file(folder / OVSEG_JSON, read.description())


def weights_of(model: MaskPromptCLIP) -> Weights:
    """The model's tensors, by open_clip's names; they share the model's memory."""
    prompts = model.mask_embedding
    return Weights(model.clip.state_dict(), None if prompts is None else prompts.detach())


def write_file(path: Path, content: bytes | Mapping[str, Any]) -> None:
    """Writes bytes or tensors (safetensors by the suffix, else torch.save), and renames: no reader sees half a file.

    The same content gives the same bytes.
    """
    part = path.with_name(path.name + ".part")
    if isinstance(content, bytes):
        part.write_bytes(content)
    elif path.suffix == ".safetensors":
        save_file(dict(content), part, metadata={"format": "pt"})
    else:
        with part.open("wb") as file:  # given a path, torch.save would write the file's name into it
            torch.save(dict(content), file)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
