"""Which CLIP to use: plain, adapted by this project, or adapted by the published code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pydantic import model_validator

from stages.clip import load_clip
from stages.clip_config import ClipConfig, clip_files, replacing_files
from stages.common import (
    LOCAL_DIR,
    Config,
    Location,
    ModelLocation,
    UserError,
    hash_files,
    local_copy,
    local_path,
    sha256_file,
)
from train.clip.checkpoint.folder import load_adapted, read_description
from train.clip.checkpoint.published import load_published
from train.clip.model import MaskPromptCLIP
from train.clip.ovseg import read_clip

LoadedClip = tuple[MaskPromptCLIP, Any]
"""The model, frozen and in evaluation mode, and its tokenizer; a plain CLIP has no prompts."""


class ClipSource(Config):
    """Which CLIP, and with which weights.

    Attributes:
        model: a plain CLIP, as `ClipConfig` has it; not needed with a folder of our own, which has the last word.
        pretrained: its tag or weights file, as `ClipConfig` has it.
        weights: a folder that training wrote, or a file in one of the published layouts, which needs `model` for its
            configuration; a path or URL. See docs/checkpoints.md.
    """

    model: ModelLocation | None = None
    pretrained: ModelLocation | None = None
    weights: Location | None = None

    @model_validator(mode="after")
    def _something_to_load(self) -> Self:
        if self.model is None and self.weights is None:
            raise ValueError("expected 'model' (a plain CLIP), 'weights' (a folder that training wrote), or both")
        if self.model is None and self.pretrained is not None:
            raise ValueError("'pretrained' belongs to a 'model', and there is none; name the model, such as ViT-B-16")
        return self

    @property
    def plain(self) -> ClipConfig | None:
        """The plain CLIP, if one is named."""
        return None if self.model is None else ClipConfig(model=self.model, pretrained=self.pretrained)


@dataclass(frozen=True)
class PlainClip:
    """A CLIP as it was published.

    Attributes:
        base: which.
    """

    base: ClipConfig

    @property
    def files_of(self) -> ClipConfig:
        """Where configuration and tokenizer are copied from."""
        return self.base

    def load(self, device: str) -> LoadedClip:
        """Loads it.

        Raises:
            UserError: the model or its weights cannot be found or loaded.
        """
        clip, tokenizer = load_clip(self.base, device)
        return _frozen(MaskPromptCLIP(clip, 0), device), tokenizer

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights' files by name, and the model's name where open_clip knows it."""
        return {**_name_of(self.base), **{file.name: sha256_file(file) for file in clip_files(self.base)}}


@dataclass(frozen=True)
class AdaptedFolder:
    """A folder that training wrote; its description has the last word.

    Attributes:
        location: its path or URL.
    """

    location: str

    @cached_property
    def base(self) -> ClipConfig:
        """The plain CLIP that was adapted.

        Raises:
            UserError: the folder is unfinished, or a file has changed.
        """
        with local_path(self.location) as folder:
            return read_description(folder).base

    @property
    def files_of(self) -> ClipConfig:
        """Where configuration and tokenizer are copied from: the folder itself, as its base may be gone."""
        return ClipConfig(model=f"{LOCAL_DIR}{local_copy(self.location)}")

    def load(self, device: str) -> LoadedClip:
        """As of a plain CLIP, with the folder's prompts."""
        with local_path(self.location) as folder:
            model, tokenizer, _ = load_adapted(folder, device)
        return _frozen(model, device), tokenizer

    def digests(self) -> dict[str, str]:
        """As of a plain CLIP; the description holds them."""
        with local_path(self.location) as folder:
            return read_description(folder).files


@dataclass(frozen=True)
class PublishedFile:
    """A file in one of the published layouts.

    Attributes:
        location: its path or URL.
        base: the plain CLIP whose weights it replaces; they need not be there.
    """

    location: str
    base: ClipConfig

    @property
    def files_of(self) -> ClipConfig:
        """Where configuration and tokenizer are copied from."""
        return self.base

    def load(self, device: str) -> LoadedClip:
        """As of a plain CLIP, with the file's prompts."""
        with local_path(self.location) as file:
            clip, tokenizer = load_clip(self.base, device, replaced_by=self.location)
            return _frozen(load_published(file, clip), device), tokenizer

    def digests(self) -> dict[str, str]:
        """As of a plain CLIP, of the file, and of transformers' configuration beside it."""
        return {**_name_of(self.base), **hash_files(replacing_files(self.base, self.location))}


@dataclass(frozen=True)
class OvsegClip:
    """The CLIP inside of a whole OVSeg checkpoint, whose tensors tell its sizes.

    Attributes:
        location: path or URL of the file, or of the folder that it is converted to.
    """

    location: str

    def load(self, device: str) -> LoadedClip:
        """As of a plain CLIP, with the checkpoint's prompts.

        Raises:
            UserError: it cannot be read, or is no OVSeg.
        """
        with local_path(self.location) as path:
            return read_clip(path, device)


AnyClip = PlainClip | AdaptedFolder | PublishedFile


def resolve(source: ClipSource) -> AnyClip:
    """What a source turns out to be; weights behind a URL are copied first.

    Raises:
        UserError: there are no such weights, or a published file comes without the name of its model.
    """
    if source.weights is None:
        assert source.plain is not None
        return PlainClip(source.plain)
    path = local_copy(source.weights)
    if path.is_dir():
        return AdaptedFolder(source.weights)
    if not path.is_file():
        raise UserError(f"{source.weights}: there is no such folder or file of weights")
    if source.plain is None:
        raise UserError(
            f"{source.weights}: a published file has no configuration; name its model as well, "
            "such as clip: {model: ViT-L-14, pretrained: openai, weights: ...}"
        )
    replacing_files(source.plain, source.weights)
    return PublishedFile(source.weights, source.plain)


def _frozen(model: MaskPromptCLIP, device: str) -> MaskPromptCLIP:
    return model.to(device).eval().requires_grad_(False)


def _name_of(base: ClipConfig) -> dict[str, str]:
    return {} if base.model.startswith(LOCAL_DIR) else {"model": base.model}
