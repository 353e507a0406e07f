"""A proposer's model on disk, and its loading; nothing heavy is imported before something is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.common import (
    CONFIG,
    SampleError,
    UserError,
    read_model_json,
    resolve_device,
    resolve_folder,
    told_as,
    transformers_files,
)
from stages.proposals.models import ModelConfig

_KEY = "proposer.model"
_SLIVER_SIDE_PX = 16
_SLIVER_RATIO = 16


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A proposer's model on disk: found, of the right kind, complete.

    Attributes:
        folder: where its files lie.
        name: of the folder in messages: its URL, if it is a copy.
        files: those that the masks depend on, sorted.
        key: of the manifest, for messages.
    """

    folder: Path
    name: str
    files: list[Path]
    key: str = _KEY

    @classmethod
    def find(cls, config: ModelConfig, key: str = _KEY) -> Self:
        """The model that is configured; a hub id is downloaded.

        Args:
            config: which.
            key: of the manifest, for messages.

        Raises:
            UserError: a file is missing, the folder holds another kind of model, or the hub cannot be reached.
        """
        folder = resolve_folder(config.model, config.revision, key)
        name = config.model if "://" in config.model else str(folder)
        with told_as(config.model, folder):
            found = read_model_json(folder / CONFIG, key).get("model_type")
            if found not in config.model_types:
                raise UserError(
                    f"{key}: {name}/{CONFIG} has model_type {found!r}, and kind "
                    f"{config.kind!r} expects {' or '.join(config.model_types)}; change one of them"
                )
            files = transformers_files(folder, key, config.has_processor)
        return cls(folder, name, files, key)

    def load(self, auto_class: type[Any], device: str) -> Any:  # noqa: ANN401
        """The model, in evaluation mode and float32, on `device`.

        Args:
            auto_class: one of transformers' AutoModel classes.
            device: ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            UserError: there is no such device, or the weights cannot be read or leave a part of the model without
                values.
        """
        import torch

        device = resolve_device(device)
        # transformers reads safetensors into float32 and never unpickles with these arguments.
        try:
            model, info = auto_class.from_pretrained(
                self.folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # of many kinds: OSError, ValueError, RuntimeError, SafetensorError
            raise UserError(f"{self.key}: {self.name} cannot be loaded: {error}") from error
        # transformers fills missing weights with random numbers and goes on. Losses are no part of proposing.
        missing = sorted(name for name in info["missing_keys"] if not name.startswith("criterion."))
        if missing:
            raise UserError(
                f"{self.key}: the weights in {self.name} lack {len(missing)} tensors of the model, {missing[0]} first; "
                f"expected a complete checkpoint of the architecture in {CONFIG}"
            )
        return model.eval().to(device)

    def image_processor(self, **options: object) -> Any:  # noqa: ANN401
        """The model's own preprocessing; `options` override keys of its JSON.

        Raises:
            UserError: the JSON describes no image processor.
        """
        from transformers import AutoImageProcessor

        load: Any = AutoImageProcessor.from_pretrained
        try:
            return load(self.folder, local_files_only=True, **options)
        except Exception as error:  # of many kinds: OSError, ValueError, TypeError, KeyError
            raise UserError(f"{self.key}: {self.name} has no usable image processor: {error}") from error


@contextmanager
def preprocessing_of(image: NDArray[np.uint8]) -> Iterator[None]:
    """Lets image processors fail on slivers, [H, W, 3], which they shrink to nothing; on other images they are wrong.

    Raises:
        SampleError: ``unusable_shape``.
    """
    try:
        yield
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        short_px, long_px = sorted(image.shape[:2])
        if short_px >= _SLIVER_SIDE_PX and long_px < _SLIVER_RATIO * short_px:
            raise
        raise SampleError(
            "unusable_shape", f"the model's preprocessing refuses {image.shape[0]} x {image.shape[1]} px: {error}"
        ) from error
