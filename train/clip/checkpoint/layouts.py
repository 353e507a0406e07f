"""The three layouts in which mask-adapted CLIPs are published (OVSeg's code and its peers), as plain dictionaries.

| layout | form |
|---|---|
| ``clip`` | {name: tensor}, as open_clip names them, or transformers |
| ``training`` | {"state_dict": {name: tensor}, ...}, written by one process |
| ``training-ddp`` | the same, written by a distributed run: every name begins with ``module.`` |
| ``segmenter`` | {"model": {name: tensor}}: after ``clip_adapter.clip_model.`` the CLIP's names, and other parts' |

The prompts are ``visual.mask_embedding`` among the CLIP's names. Nothing here reads a file.

Of a segmenter both namings are read (`stages.proposals.ovseg_names`); what is written has the new names, and versions
of its modules that say so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from stages.clip_transformers import is_transformers, with_open_clip_names
from stages.common import Precision, UserError, dtype_of, some
from stages.proposals.ovseg_names import CLIP as SEGMENTER
from stages.proposals.ovseg_names import innermost, versions_of, with_new_names

Layout = Literal["clip", "training", "training-ddp", "segmenter"]

PROMPTS = "visual.mask_embedding"
_DDP = "module."
# OpenAI's files carry these beside the weights; all follow from the weights' shapes.
_NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}


@dataclass(frozen=True)
class Weights:
    """The tensors of a mask-adapted CLIP, whatever file they came from.

    Attributes:
        clip: open_clip's names and tensors, without the prompts.
        prompts: float [depth, patches, width], or None.
        layout: in which layout they were found; None for weights of a model in memory.
        rest: the other tensors of a segmenter, kept so that it can be written whole again; by detectron2's new names.
        versions: of a segmenter's modules, by name: what PyTorch keeps as ``_metadata`` of a state dict.
    """

    clip: Mapping[str, Tensor]
    prompts: Tensor | None = None
    layout: Layout | None = None
    rest: Mapping[str, Tensor] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def unwrap(content: Any, source: str) -> Weights:  # noqa: ANN401 - what a file held
    """Finds a CLIP in what a published file holds.

    Args:
        content: the file's content, in any of the layouts.
        source: the file, for messages.

    Raises:
        UserError: there is no CLIP in it.
    """
    tensors = innermost(content)
    layout: Layout = "clip" if tensors is content else "training"
    if not isinstance(tensors, Mapping):
        raise UserError(f"{source}: holds a {type(content).__name__}; expected a dictionary of tensors")
    found = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if found and all(name.startswith(_DDP) for name in found):
        found, layout = {name.removeprefix(_DDP): value for name, value in found.items()}, "training-ddp"
    rest: dict[str, Tensor] = {}
    versions: dict[str, Mapping[str, Any]] = {}
    if any(name.startswith(SEGMENTER) for name in found):
        layout = "segmenter"
        rest = {name: value for name, value in found.items() if not name.startswith(SEGMENTER)}
        found = {name.removeprefix(SEGMENTER): found[name] for name in found if name.startswith(SEGMENTER)}
        rest, versions = with_new_names(rest, versions_of(tensors))
    if is_transformers(found):
        found = with_open_clip_names(found)
    if not any(name.startswith("visual.") for name in found):
        raise UserError(
            f"{source}: no CLIP in it; expected names like visual.conv1.weight, bare, under 'state_dict', "
            f"or after {SEGMENTER!r}; found {some(found or map(str, tensors))}"
        )
    prompts = found.pop(PROMPTS, None)
    if prompts is not None and prompts.ndim != 3:
        raise UserError(f"{source}: {PROMPTS}: got shape {list(prompts.shape)}; expected [depth, patches, width]")
    clip = {name: value for name, value in found.items() if name not in _NO_WEIGHTS}
    return Weights(clip, prompts, layout=layout, rest=rest, versions=versions)


def wrap(weights: Weights, layout: Layout, precision: Precision = "fp32", prompts: bool = True) -> dict[str, Any]:
    """The opposite of `unwrap`: what a file of that layout holds.

    Args:
        weights: what to write.
        layout: one of the published ones.
        precision: see `cast`; the rest of a segmenter stays as it is.
        prompts: whether to write the prompts. Stock open_clip refuses a file with them.
    """
    tensors = dict(weights.clip)
    if prompts and weights.prompts is not None:
        tensors[PROMPTS] = weights.prompts
    tensors = cast(tensors, precision)
    if layout == "training":
        return {"state_dict": tensors}
    if layout == "training-ddp":
        return {"state_dict": {_DDP + name: value for name, value in tensors.items()}}
    if layout == "segmenter":
        return {
            "model": _state_dict({**weights.rest, **{SEGMENTER + name: tensors[name] for name in tensors}}, weights)
        }
    return tensors


def _state_dict(tensors: dict[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """With the versions as an attribute, where PyTorch and detectron2 look for them."""
    if not weights.versions:
        return tensors
    state = OrderedDict(tensors)
    vars(state)["_metadata"] = OrderedDict((name, dict(version)) for name, version in weights.versions.items())
    return state


def cast(tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Tensors on the CPU, contiguous, none sharing memory with another, in a precision.

    fp16 and bf16 are for tensors of two or more dimensions: vectors and scalars (norms, biases, the temperature) weigh
    little and stay in float32, as in OpenAI's files. Integers stay as they are.

    Raises:
        UserError: a value is too large for fp16.
    """
    done = {}
    for name, value in tensors.items():
        dtype = value.dtype
        if value.is_floating_point():
            dtype = dtype_of(precision) if value.ndim > 1 else torch.float32
        new = value.detach().to("cpu", dtype, copy=True).contiguous()
        if dtype == torch.float16 and bool(torch.isinf(new).any()) and not bool(torch.isinf(value).any()):
            raise UserError(f"{name}: {float(value.abs().max()):.4g} is beyond fp16's range; write bf16 or fp32")
        done[name] = new
    return done
