"""A published OVSeg checkpoint: detectron2's file, the folder that it is converted to once, or tensors in memory.

| in the folder | |
|---|---|
| ovseg.safetensors | every tensor, by its published name |
| ovseg.json | `kind`, `version`, the settings by their published names, versions of detectron2's modules |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.common import UserError, load_safetensors, read_model_json, read_tensor_file
from stages.proposals.ovseg_names import (
    CLIP,
    GENERATOR,
    NO_OBJECT,
    PREDICTOR,
    innermost,
    is_swin,
    versions_of,
    with_new_names,
)
from stages.proposals.ovseg_settings import OvsegSettings

JSON_FILE, TENSORS_FILE = "ovseg.json", "ovseg.safetensors"
_VERSION = 1


@dataclass(frozen=True)
class OvsegFile:
    """A checkpoint with all that it needs to run.

    Attributes:
        source: its path, for messages.
        state: every tensor, by its published (new) name.
        settings: what the shapes do not tell.
        versions: of its modules, by name: what PyTorch keeps as ``_metadata``.
    """

    source: str
    state: Mapping[str, Tensor]
    settings: OvsegSettings
    versions: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, content: Mapping[str, Any], config: Mapping[str, Any] | None, source: str = "state") -> OvsegFile:
        """One from tensors or arrays by their published names, or what a file of detectron2's holds.

        Args:
            content: the state dict, or a dictionary with it under 'model'.
            config: see `OvsegSettings.of`.
            source: the file, for messages.

        Raises:
            UserError: it is no OVSeg, or a setting is wrong.
        """
        found = innermost(content)
        if not isinstance(found, Mapping):
            raise UserError(f"{source}: holds a {type(content).__name__}; expected a dictionary of tensors")
        tensors = {str(name): _tensor(value) for name, value in found.items() if isinstance(value, Tensor | np.ndarray)}
        state, versions = with_new_names(tensors, versions_of(found))
        for prefix in (*GENERATOR, CLIP, NO_OBJECT):
            if not any(name.startswith(prefix) for name in state):
                names = ", ".join(list(state or map(str, found))[:5]) or "nothing"
                raise UserError(
                    f"{source}: has no {prefix}*; expected a whole OVSeg: the published file, or its converted folder. "
                    f"Found {names}"
                )
        settings = OvsegSettings.of(config, is_swin(state), source)
        return cls(source, state, settings, versions)

    @classmethod
    def read(cls, path: Path, config: Mapping[str, Any] | None = None) -> OvsegFile:
        """Reads a file of detectron2's or a converted folder; nothing is unpickled but tensors.

        Args:
            path: the file or folder.
            config: settings that take the place of the folder's.

        Raises:
            UserError: it cannot be read, or is no OVSeg.
        """
        if not path.is_dir():
            return cls.of(read_tensor_file(path), config, str(path))
        about = read_model_json(path / JSON_FILE, "proposer.model")
        if about.get("kind") != "ovseg" or about.get("version") != _VERSION:
            raise UserError(
                f"{path / JSON_FILE}: kind {about.get('kind')!r}, version {about.get('version')!r}; expected kind "
                f"'ovseg', version {_VERSION}: a folder that `maskmine export --layout ovseg_folder` wrote"
            )
        given = about.get("config", {}) if config is None else config
        read = cls.of(load_safetensors(path / TENSORS_FILE), given, str(path))
        return replace(read, versions=about.get("versions", {}))

    @property
    def queries(self) -> int:
        """Number of queries, and of masks."""
        return self.shape(f"{PREDICTOR}query_embed.weight")[0]

    @property
    def no_object(self) -> Tensor:
        """The vector of 'no object', [D], not normalised."""
        return self.state[NO_OBJECT].flatten()

    def description(self) -> bytes:
        """Content of ovseg.json; its settings are complete, so that they can be looked up and changed there."""
        about = {
            "kind": "ovseg",
            "version": _VERSION,
            "config": self.settings.model_dump(mode="json"),
            "versions": self.versions,
        }
        return (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor.

        Raises:
            UserError: there is none of this name.
        """
        if name not in self.state:
            raise UserError(f"{self.source}: lacks {name}; expected every tensor of an OVSeg checkpoint")
        return tuple(self.state[name].shape)

    def count(self, prefix: str) -> int:
        """How many modules are numbered from 0 on after a prefix, such as ``backbone.layers.``."""
        numbers = {name.removeprefix(prefix).partition(".")[0] for name in self.state if name.startswith(prefix)}
        return len(numbers)


def _tensor(value: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """On the CPU; half precision becomes float32."""
    tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    return tensor.float() if tensor.is_floating_point() else tensor
