"""Names of tensors in OVSeg's published files, and what they are called in the modules that run here.

The Swin, the pixel decoder and the predictor run in transformers' MaskFormer; a ResNet and the two heads keep their
published names. A state dict has versions of its modules in an attribute ``_metadata``; detectron2 goes by that
of ``sem_seg_head``: below 2, or without one, it takes the pixel decoder's names for old ones, which lack
``pixel_decoder.``, and renames them. Both namings are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, chunk

CLIP = "clip_adapter.clip_model."
"""Before the names of a segmenter's CLIP."""
NO_OBJECT = "clip_adapter.non_object_embedding"
HEAD = "sem_seg_head"
PIXEL_DECODER = f"{HEAD}.pixel_decoder."
PREDICTOR = f"{HEAD}.predictor."
GENERATOR = ("backbone.", PIXEL_DECODER, PREDICTOR)
_HEAD_VERSION = 2
_DDP = "module."
_ENCODER = "maskformer.pixel_level_module.encoder."
_DECODER = "maskformer.pixel_level_module.decoder."
_TRANSFORMER = "maskformer.transformer_module."
_SWIN_MODEL = _ENCODER + "model" + "."

_SWIN = (
    (r"^backbone\.patch_embed\.proj\.", f"{_SWIN_MODEL}embeddings.patch_embeddings.projection."),
    (r"^backbone\.patch_embed\.norm\.", f"{_SWIN_MODEL}embeddings.norm."),
    (r"^backbone\.norm(\d+)\.", rf"{_ENCODER}hidden_states_norms.\1."),
    (r"^backbone\.layers\.", f"{_SWIN_MODEL}encoder.layers."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"\.attn\.qkv\.", ".attention.self.{query,key,value}."),
    (r"\.attn\.relative_position_", ".attention.self.relative_position_"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_RESNET = ((r"^backbone\.", _ENCODER),)
_HEADS = (
    (rf"^{PIXEL_DECODER}layer_4\.norm\.", f"{_DECODER}fpn.stem.1."),
    (rf"^{PIXEL_DECODER}layer_4\.", f"{_DECODER}fpn.stem.0."),
    *(
        (rf"^{PIXEL_DECODER}{ours}_{level}\.{norm}", f"{_DECODER}fpn.layers.{3 - level}.{theirs}.{place}.")
        for ours, theirs in (("adapter", "proj"), ("layer", "block"))
        for level in (1, 2, 3)
        for norm, place in ((r"norm\.", 1), ("", 0))
    ),
    (rf"^{PIXEL_DECODER}mask_features\.", f"{_DECODER}mask_projection."),
    (rf"^{PREDICTOR}query_embed\.", f"{_TRANSFORMER}queries_embedder."),
    (rf"^{PREDICTOR}input_proj\.", f"{_TRANSFORMER}input_projection."),
    (rf"^{PREDICTOR}transformer\.decoder\.norm\.", f"{_TRANSFORMER}decoder.layernorm."),
    (rf"^{PREDICTOR}transformer\.decoder\.layers\.", f"{_TRANSFORMER}decoder.layers."),
    (r"\.multihead_attn\.", ".encoder_attn."),
    (r"_attn\.in_proj_", "_attn.{q_proj,k_proj,v_proj}."),
    (r"_attn\.out_proj\.", "_attn.o_proj."),
    (r"(layers\.\d+)\.linear(\d)\.", r"\1.mlp.fc\2."),
    (r"(layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(layers\.\d+)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"(layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (rf"^{PREDICTOR}(mask_embed|class_embed)\.", r"\1."),
)
"""Patterns and what takes their place, one after the other; names in braces share a tensor's rows equally."""


def is_swin(state: Mapping[str, Any]) -> bool:
    """Whether the backbone is a Swin; else it is a ResNet."""
    return any(name.startswith("backbone.patch_embed.") for name in state)


def module_tensors(state: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """The generator's tensors by the names of our modules, each with the published name that it came from."""
    rules = _SWIN if is_swin(state) else _RESNET
    found: dict[str, tuple[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith(GENERATOR):
            renamed = name
            for pattern, ours in rules if name.startswith("backbone.") else _HEADS:
                renamed = re.sub(pattern, ours, renamed)
            head, brace, rest = renamed.partition("{")
            if not brace:
                found[renamed] = (name, value)
                continue
            parts, _, tail = rest.partition("}")
            for part, rows in zip(parts.split(","), chunk(value, 3), strict=True):
                found[head + part + tail] = (name, rows)
    return found


def innermost(content: Any) -> Any:  # noqa: ANN401 - what a file held
    """The state dict of a training's file, which has it under 'state_dict' or 'model'; else what was given."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return innermost(content[key])
    return content


def versions_of(tensors: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A state dict's ``_metadata``, as far as it has the form that PyTorch gives it."""
    kept = getattr(tensors, "_metadata", None)
    if not isinstance(kept, Mapping):
        return {}
    return {str(name).removeprefix(_DDP): value for name, value in kept.items() if isinstance(value, Mapping)}


def with_new_names(
    rest: dict[str, Tensor], versions: dict[str, Mapping[str, Any]]
) -> tuple[dict[str, Tensor], dict[str, Mapping[str, Any]]]:
    """A segmenter's tensors by detectron2's new names, and versions that say so. The names tell which they are.

    The version does not: a plain dictionary of new names has none.
    """
    if not any(name.startswith(f"{HEAD}.") for name in rest):
        return rest, versions

    def renamed(name: str) -> str:
        if not name.startswith(f"{HEAD}.") or f"{name}.".startswith(PREDICTOR):
            return name
        return PIXEL_DECODER + name.removeprefix(f"{HEAD}.")

    if not any(name.startswith(PIXEL_DECODER) for name in rest):
        rest = {renamed(name): value for name, value in rest.items()}
        versions = {renamed(name): value for name, value in versions.items()}
    version = versions.get(HEAD, {}).get("version")
    if not isinstance(version, int) or version < _HEAD_VERSION:
        versions = {**versions, HEAD: {**versions.get(HEAD, {}), "version": _HEAD_VERSION}}
    return rest, versions
