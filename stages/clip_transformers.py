"""A CLIP as transformers saves it, read as one of open_clip's: configuration, tokenizer, and tensors by name."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.common import (
    CONFIG,
    TOKENIZER,
    UserError,
    join,
    load_safetensors,
    local_copy,
    read_model_json,
    read_tensor_file,
    tensor_names,
    transformers_files,
)

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "clip.model"
_OPEN_CLIP_CONFIG = "open_clip_config.json"
_PREPROCESSING = "preprocessor_config.json"
_OPENAI_VOCABULARY = 49_408
"""Tokens of the vocabulary that open_clip has a tokenizer for."""
_DEFAULT_EPS = 1e-5
_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
_TEXT = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_VISION = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",  # transformers' own spelling
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def is_transformers(names: Iterable[str]) -> bool:
    """Whether tensors have transformers' names of a CLIP."""
    return any(name.startswith(("vision_model.", "text_model.")) for name in names)


def with_open_clip_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' CLIPModel by open_clip's names; what is neither stays as it is.

    Query, key and value matrices become one, and projections are transposed.
    """
    import torch

    named: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        tower, _, rest = name.partition(".")
        prefix = {"vision_model": "visual.", "text_model": ""}.get(tower)
        block = _BLOCK.fullmatch(rest)
        if rest.endswith("position_ids"):
            continue  # of older files: 0, 1, 2, ...
        if name in _PROJECTIONS:
            named[_PROJECTIONS[name]] = value.T.contiguous()
        elif prefix is None:
            named[name] = value
        elif block is None:
            named[prefix + (_VISION if prefix else _TEXT).get(rest, rest)] = value
        else:
            number, part, kind = block.groups()
            own = f"{prefix}transformer.resblocks.{number}"
            if part in _PARTS:
                joined.setdefault(f"{own}.attn.in_proj_{kind}", {})[part] = value
            else:
                named[f"{own}.{_LAYER.get(part, part)}.{kind}"] = value
    whole = {name: parts for name, parts in joined.items() if len(parts) == len(_PARTS)}
    return named | {name: torch.cat([parts[part] for part in _PARTS]) for name, parts in whole.items()}


def config_in(folder: Path) -> dict[str, Any] | None:
    """transformers' configuration of a CLIP in a folder; None where there is none, or an open_clip one beside it.

    Raises:
        UserError: it is damaged, or that of another model.
    """
    if (folder / _OPEN_CLIP_CONFIG).is_file() or not (folder / CONFIG).is_file():
        return None
    config = read_model_json(folder / CONFIG, _KEY)
    if config.get("model_type") != "clip":
        kind = config.get("model_type")
        raise UserError(
            f"{_KEY}: {folder} holds a model of transformers of the type {kind!r}; expected 'clip', or a folder of "
            f"open_clip with {_OPEN_CLIP_CONFIG}"
        )
    return config


def activation_of(config: Path) -> bool:
    """Whether a file of transformers' configuration says that the activation is OpenAI's approximation.

    Raises:
        UserError: as `has_quick_gelu`.
    """
    return has_quick_gelu(read_model_json(config, _KEY), config)


def has_quick_gelu(config: Mapping[str, Any], place: Path) -> bool:
    """Whether a configuration's activation is OpenAI's approximation; `place` is where it lies.

    Raises:
        UserError: it is one that open_clip lacks, or the towers differ.
    """
    found = {_part(config, tower).get("hidden_act", "quick_gelu") for tower in ("text", "vision")}
    if found not in ({"quick_gelu"}, {"gelu"}):
        expected = "expected quick_gelu or gelu, the same in both towers"
        raise UserError(f"{_KEY}: {place}: hidden_act is {sorted(found)}; {expected}")
    return found == {"quick_gelu"}


def config_beside(weights: str) -> Path | None:
    """transformers' configuration of a CLIP beside a file of weights, by path or URL, which tells the activation.

    None where there is none, or that of another model.
    """
    try:
        file = local_copy(join(weights.rpartition("/")[0], CONFIG))
        return file if read_model_json(file, _KEY).get("model_type") == "clip" else None
    except UserError:
        return None


def file_state(weights: Path) -> dict[str, Tensor] | None:
    """The tensors of a file with transformers' names of a CLIP, by open_clip's; None for any other file.

    Raises:
        UserError: it is damaged.
    """
    if weights.suffix not in (".safetensors", ".bin"):
        return None
    if weights.suffix == ".safetensors" and not is_transformers(tensor_names(weights)):
        return None
    state = read_tensor_file(weights)
    named = {str(name): value for name, value in state.items()} if isinstance(state, Mapping) else {}
    return with_open_clip_names(named) if is_transformers(named) else None


def files_of(folder: Path) -> list[Path]:
    """The files of transformers' folder that a CLIP's features depend on.

    Raises:
        UserError: one is missing.
    """
    preprocessing = folder / _PREPROCESSING
    found = transformers_files(folder, _KEY, preprocessing=False)
    return sorted({*found, *([preprocessing] if preprocessing.is_file() else [])})


def state_of(folder: Path) -> dict[str, Tensor]:
    """All tensors of transformers' folder, by open_clip's names.

    Raises:
        UserError: a file is missing or damaged.
    """
    state: dict[str, Tensor] = {}
    for file in transformers_files(folder, _KEY, preprocessing=False):
        if file.suffix == ".safetensors" and file.name.startswith("model"):
            state |= load_safetensors(file)
    return with_open_clip_names(state)


@cache
def as_open_clip_folder(folder: Path) -> Path:
    """A folder with open_clip's configuration and the tokenizer of transformers' folder, and without weights.

    It is made once in a process, and goes with it.

    Raises:
        UserError: the configuration is damaged, or has what open_clip lacks.
    """
    made = Path(_made().name) / f"{len(list(Path(_made().name).iterdir()))}"
    made.mkdir()
    model = open_clip_config(config_in(folder) or {}, folder)
    if "hf_tokenizer_name" in model["text_cfg"]:
        for name in TOKENIZER:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, made / name)
    described = {"model_cfg": model, "preprocess_cfg": _preprocessing(folder)}
    (made / _OPEN_CLIP_CONFIG).write_text(json.dumps(described), encoding="utf-8")
    return made


@cache
def _made() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="maskmine-")


def open_clip_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """open_clip's configuration of the same model.

    Args:
        config: of `config_in`.
        folder: where it lies, with a tokenizer if the vocabulary is not OpenAI's.

    Raises:
        UserError: it has what open_clip lacks, or no tokenizer.
    """
    text, vision = _part(config, "text"), _part(config, "vision")
    try:
        text_cfg: dict[str, Any] = {
            "context_length": int(text.get("max_position_embeddings", 77)),
            "vocab_size": int(text.get("vocab_size", _OPENAI_VOCABULARY)),
            "width": int(text.get("hidden_size", 512)),
            "heads": int(text.get("num_attention_heads", 8)),
            "layers": int(text.get("num_hidden_layers", 12)),
        }
        vision_cfg: dict[str, Any] = {
            "image_size": int(vision.get("image_size", 224)),
            "patch_size": int(vision.get("patch_size", 32)),
            "width": int(vision.get("hidden_size", 768)),
            "layers": int(vision.get("num_hidden_layers", 12)),
            "head_width": int(vision.get("hidden_size", 768)) // int(vision.get("num_attention_heads", 12)),
        }
        text_cfg |= _shared(text, text_cfg["width"], 2048)
        vision_cfg |= _shared(vision, vision_cfg["width"], 3072)
        embed_dim = int(config.get("projection_dim", 512))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{_KEY}: {folder / CONFIG}: expected whole numbers as sizes: {error}") from error
    end = text.get("eos_token_id", 2)
    if end not in (2, text_cfg["vocab_size"] - 1):  # 2 stands in old files, and means the highest
        text_cfg |= {"pool_type": "eos", "eos_id": end}
    if text_cfg["vocab_size"] != _OPENAI_VOCABULARY:
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise UserError(f"{_KEY}: {folder} has no tokenizer.json; save the model's tokenizer there")
        text_cfg["hf_tokenizer_name"] = "."
    return {
        "embed_dim": embed_dim,
        "quick_gelu": has_quick_gelu(config, folder / CONFIG),
        "vision_cfg": vision_cfg,
        "text_cfg": text_cfg,
    }


def _shared(part: Mapping[str, Any], width: int, intermediate: int) -> dict[str, Any]:
    """What both towers have: the width inside of a block, and the smallest variance of a norm."""
    eps = float(part.get("layer_norm_eps", _DEFAULT_EPS))
    found = {"mlp_ratio": int(part.get("intermediate_size", intermediate)) / width}
    return found if eps == _DEFAULT_EPS else {**found, "norm_kwargs": {"eps": eps}}


def _part(config: Mapping[str, Any], tower: str) -> Mapping[str, Any]:
    """Of one tower; what is not told is as by transformers' default."""
    found = (config.get(f"{tower}_config"), config.get(f"{tower}_config_dict"))  # the latter in older files
    return {key: value for part in found if isinstance(part, dict) for key, value in part.items()}


def _preprocessing(folder: Path) -> dict[str, Any]:
    if not (folder / _PREPROCESSING).is_file():
        return {}
    given = read_model_json(folder / _PREPROCESSING, _KEY)
    pairs = (("mean", given.get("image_mean")), ("std", given.get("image_std")))
    return {name: value for name, value in pairs if isinstance(value, list) and len(value) == 3}
