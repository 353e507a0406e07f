"""What the training of one of transformers' models begins with: a whole model, or its configuration and a backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForUniversalSegmentation,
    EomtImageProcessor,
    Mask2FormerImageProcessor,
    MaskFormerImageProcessor,
    MaskFormerSwinBackbone,
)

from stages.common import UserError, hash_files, resolve_folder, transformers_files
from stages.proposals.models import EomtProposals, LocalModel, Mask2FormerProposals, MaskFormerProposals, QueryProposals
from train.generator.config import QueryNetwork

PROPOSALS: dict[str, Callable[..., QueryProposals]] = {
    "maskformer": MaskFormerProposals,
    "mask2former": Mask2FormerProposals,
    "eomt": EomtProposals,
}
_PROCESSORS: dict[str, Any] = {
    "maskformer": MaskFormerImageProcessor,
    "mask2former": Mask2FormerImageProcessor,
    "eomt": EomtImageProcessor,
}


def first_model(config: QueryNetwork, names: tuple[str, ...], side_px: int) -> tuple[Any, Any, dict[str, str]]:
    """The model and the image processor to begin with, on the CPU, and SHA-256 of the files that they are from.

    Args:
        config: which.
        names: of the classes; a model with others has its class predictor replaced.
        side_px: of the inputs, where there is no image processor yet.

    Raises:
        UserError: a folder or hub id cannot be used, or a field of the configuration is wrong.
    """
    if config.init is not None:
        found = PROPOSALS[config.kind](model=config.init, revision=config.revision)
        local = LocalModel.find(found, key="network.init")
        model = _with_classes(local.load(AutoModelForUniversalSegmentation, "cpu"), names)
        return model, local.image_processor(), hash_files(local.files)
    model = _from_config(config, names)
    digests = {}
    if config.backbone is not None:
        key = "network.backbone"
        folder = resolve_folder(config.backbone, config.backbone_revision, key)
        files = transformers_files(folder, key, preprocessing=False)
        _load_backbone(model.model.pixel_level_module.encoder, folder, files, key)
        digests = {f"backbone/{name}": value for name, value in hash_files(files).items()}
    if config.kind == "eomt":
        side = model.config.image_size
        return model, EomtImageProcessor(size={"shortest_edge": side, "longest_edge": side}, do_pad=True), digests
    return model, _PROCESSORS[config.kind](size={"shortest_edge": side_px, "longest_edge": side_px}), digests


def _from_config(config: QueryNetwork, names: tuple[str, ...]) -> Any:  # noqa: ANN401 - any of transformers' classes
    """A model with random weights.

    Raises:
        UserError: transformers refuses the configuration, or does not know a field.
    """
    known: Any = type(AutoConfig.for_model(config.kind))
    if unknown := sorted(set(config.config) - set(known.__dataclass_fields__)):
        raise UserError(f"network.config.{unknown[0]}: transformers' {known.__name__} has no such field")
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    build: Any = AutoModelForUniversalSegmentation.from_config
    try:
        return build(AutoConfig.for_model(config.kind, **{**config.config, **labels}))
    except Exception as error:  # of many kinds: validation, ValueError, KeyError, TypeError, of wrong shapes
        raise UserError(
            f"network.config: transformers cannot build a {config.kind} of it: {error}; see {known.__name__} there"
        ) from error


def _with_classes(model: Any, names: tuple[str, ...]) -> Any:  # noqa: ANN401
    """The model itself, if it has these classes; else one whose class predictor is new."""
    has = tuple(str(model.config.id2label[number]) for number in sorted(model.config.id2label))
    if has == names:
        return model
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
    fresh = type(model)(model.config)
    state = model.state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith(("class_predictor.", "criterion."))}
    fresh.load_state_dict(kept, strict=False)
    return fresh


def _load_backbone(encoder: nn.Module, folder: Path, files: list[Path], key: str) -> None:
    """Gives a backbone the weights of a model that was trained to classify, all but the norms of its outputs.

    Raises:
        UserError: they are of another architecture.
    """
    kind: Any = encoder.config
    try:
        if isinstance(encoder, MaskFormerSwinBackbone):  # from_pretrained cannot map a Swin's weights to it
            weights = [load_file(file) for file in files if file.suffix == ".safetensors"]
            state = {f"model.{name.removeprefix('swin.')}": value for part in weights for name, value in part.items()}
            missing = encoder.load_state_dict(state, strict=False).missing_keys
        else:
            load: Any = type(encoder)
            options = {"use_safetensors": True, "local_files_only": True, "dtype": torch.float32}
            loaded, info = load.from_pretrained(folder, config=kind, output_loading_info=True, **options)
            encoder.load_state_dict(loaded.state_dict())
            missing = sorted(info["missing_keys"])
    except Exception as error:  # of many kinds: OSError, RuntimeError of shapes, SafetensorError
        raise UserError(f"{key}: {folder} has no weights for network.config's backbone: {error}") from error
    if lacking := [name for name in missing if "hidden_states_norms" not in name and "position_index" not in name]:
        raise UserError(
            f"{key}: the weights in {folder} lack {len(lacking)} tensors of network.config's backbone, {lacking[0]} "
            "first; expected a model of the same architecture"
        )
