"""Which CLIP to use: plain, adapted by this project, or adapted by the published code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from stages.clip import load_clip
from stages.clip_config import ClipConfig, clip_files
from stages.common import LOCAL_DIR, Config, Location, UserError, local_copy, local_path, sha256_file
from train.clip.checkpoint.folder import load_adapted, read_description
from train.clip.checkpoint.published import load_published
from train.clip.model import MaskPromptCLIP


class Judge(Config):
    """Which CLIP, and with which weights.

    Attributes:
        clip: a plain CLIP; not needed with a folder of our own, which has the last word.
        weights: a folder that training wrote, or a file in one of the published layouts, which needs `clip` for its
            configuration; a path or URL. See docs/checkpoints.md.
    """

    clip: ClipConfig | None = None
    weights: Location | None = None

    @model_validator(mode="after")
    def _something_to_load(self) -> Self:
        if self.clip is None and self.weights is None:
            raise ValueError("expected 'clip' (a plain CLIP), 'weights' (a folder that training wrote), or both")
        return self


def load_judge(judge: Judge, device: str) -> tuple[MaskPromptCLIP, Any]:
    """The model, frozen and in evaluation mode, and its tokenizer; a plain CLIP has no prompts.

    Raises:
        UserError: model or weights cannot be found or loaded.
    """
    if judge.weights is not None:
        with local_path(judge.weights) as path:
            model, tokenizer = _load_weights(path, judge.clip, device)
    else:
        assert judge.clip is not None
        clip, tokenizer = load_clip(judge.clip, device)
        model = MaskPromptCLIP(clip, 0)
    return model.to(device).eval().requires_grad_(False), tokenizer


def _load_weights(path: Path, config: ClipConfig | None, device: str) -> tuple[MaskPromptCLIP, Any]:
    if path.is_dir():
        model, tokenizer, _ = load_adapted(path, device)
        return model, tokenizer
    if not path.is_file():
        raise UserError(f"{path}: there is no such folder or file of weights")
    if config is None:
        raise UserError(f"{path}: a published file has no configuration; name its model under 'clip' as well")
    clip, tokenizer = load_clip(config, device)
    return load_published(path, clip), tokenizer


def base_of(judge: Judge) -> ClipConfig:
    """The plain CLIP that the weights belong to; a folder of our own says it itself."""
    if judge.weights is not None and local_copy(judge.weights).is_dir():
        with local_path(judge.weights) as folder:
            return read_description(folder).base
    assert judge.clip is not None
    return judge.clip


def digests_of(judge: Judge) -> dict[str, str]:
    """SHA-256 of the files that the weights come from, by name, and the name of a model that open_clip knows."""
    if judge.weights is not None and local_copy(judge.weights).is_dir():
        with local_path(judge.weights) as folder:
            return read_description(folder).files
    files = [local_copy(judge.weights)] if judge.weights is not None else clip_files(base_of(judge))
    model = base_of(judge).model
    named = {} if model.startswith(LOCAL_DIR) else {"model": model}
    return {**named, **{file.name: sha256_file(file) for file in files}}
