"""Which CLIP, what it is shown and asked, and its files; loads no torch, so that planning stays light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stages.clip_transformers import (
    activation_of,
    as_open_clip_folder,
    config_beside,
    config_in,
    file_state,
    files_of,
    state_of,
)
from stages.common import CONFIG, LOCAL_DIR, WEIGHTS, Config, ModelLocation, UnreachableError, UserError, local_copy

if TYPE_CHECKING:
    from torch import Tensor


def _one_slot_each(templates: tuple[str, ...]) -> tuple[str, ...]:
    if not templates or any(template.count("{}") != 1 for template in templates):
        raise ValueError("expected one or more texts with exactly one {} for the noun in each")
    return templates


Templates = Annotated[tuple[str, ...], AfterValidator(_one_slot_each)]
"""Prompts around a noun, each with one ``{}``."""

VILD_TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)
"""The 14 prompts of the published system, from ViLD (Gu et al., ICLR 2022, appendix)."""


class RegionRules(Config):
    """How a masked region becomes CLIP's input; the defaults are the published ones.

    Attributes:
        expand_ratio: the tight box's sides are multiplied by it about its centre, then clipped to the image.
        fill: what stands outside the mask: CLIP's mean colour, or the photo itself.
        antialias: low-pass filter when shrinking; False as published, True helps a CLIP of small input size.
        resize: whose bicubic. Both have the kernel a = -0.75; torch, as published, rounds places to float32, which
            moves a pixel by up to 0.02 of 255, and takes several times as long. Antialiasing is torch's.
    """

    expand_ratio: float = Field(1.0, gt=0)
    fill: Literal["mean", "photo"] = "mean"
    antialias: bool = False
    resize: Literal["opencv", "torch"] = "opencv"


class ClipConfig(Config):
    """Which CLIP.

    Attributes:
        model: an open_clip name (``ViT-B-16``), ``hf-hub:org/repo``, or ``local-dir:FOLDER`` with
            open_clip_config.json and open_clip_model.safetensors, or with what transformers saves of a CLIP
            (config.json, model.safetensors); a path or an fsspec URL.
        pretrained: open_clip's tag for a name (``openai``), or a weights file, a path or an fsspec URL, which may have
            transformers' names; not used with a hub id or folder.
        batch_size: regions per forward pass. It is part of a build's identity, since floats depend on it.
    """

    model: ModelLocation
    pretrained: ModelLocation | None = None
    batch_size: int = Field(64, ge=1)


class ExactNaming(Config):
    """Every region has a forward pass of its own, as published."""

    kind: Literal["exact"] = "exact"


class CascadeNaming(Config):
    """All regions coarsely, a few exactly.

    Attributes:
        keep: how many regions of a photo are looked at exactly.
        side: of the coarse pass, as a share of the side of CLIP's input.
    """

    kind: Literal["cascade"]
    keep: int = Field(10, ge=1)
    side: float = Field(0.375, gt=0, lt=1)


NamingConfig = Annotated[ExactNaming | CascadeNaming, Field(discriminator="kind")]


def clip_files(config: ClipConfig) -> list[Path]:
    """The local files that define a CLIP, downloaded if need be, for hashing: weights, and config unless built in.

    Raises:
        UserError: they cannot be found.
        UnreachableError: they cannot be fetched.
    """
    if config.model.startswith(LOCAL_DIR):
        return _folder_files(_local_folder(config))
    import open_clip
    from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

    try:
        if config.model.startswith("hf-hub:"):
            repo = config.model.removeprefix("hf-hub:")
            # The config decides the floats, too: activation, mean colour, context length.
            return [Path(download_pretrained_from_hf(repo, filename=name)) for name in ("open_clip_config.json", None)]
        if tag := pretrained_tag(config):  # before a file of that name, as open_clip itself looks
            return [Path(download_pretrained(tag))]
        if file := pretrained_file(config):
            return [file, *filter(None, [config_beside(str(config.pretrained))])]
    except UserError:
        raise
    except Exception as error:  # the hub clients raise errors of many libraries
        raise UnreachableError(
            f"clip: cannot fetch {config.model!r} ({config.pretrained!r}): {str(error).splitlines()[0]}\n"
            "Check the network, or use 'local-dir:FOLDER' with open_clip_config.json and open_clip_model.safetensors."
        ) from error
    if config.model not in open_clip.list_models():
        expected = "an open_clip name such as ViT-B-16, 'hf-hub:org/repo' or 'local-dir:FOLDER'"
        raise UserError(f"clip.model: {config.model!r} is unknown; expected {expected}")
    raise UserError(f"clip.pretrained: {without_weights(config)}")


def without_weights(config: ClipConfig) -> str:
    """What to say where a model's name comes without weights that can be found."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(config.model)
    some = f"one of its {len(tags)} tags, such as {', '.join(tags[:2])}" if tags else "no tag, as there is none"
    if config.pretrained is None:
        return f"{config.model} alone names no weights; expected a weights file, or {some}"
    return f"{config.pretrained!r} is no weights file, and no tag of {config.model}; expected a weights file, or {some}"


def local_model(config: ClipConfig) -> str:
    """The model's name as open_clip takes it: a folder behind a URL is copied first, one of transformers described.

    Raises:
        UserError: it cannot be.
    """
    if not config.model.startswith(LOCAL_DIR):
        return config.model
    folder = _local_folder(config)
    if config_in(folder) is not None:
        return f"{LOCAL_DIR}{as_open_clip_folder(folder)}"
    return f"{LOCAL_DIR}{folder}" if "://" in config.model else config.model


def _local_folder(config: ClipConfig) -> Path:
    return local_copy(config.model.removeprefix(LOCAL_DIR))


def pretrained_file(config: ClipConfig) -> Path | None:
    """The weights file that `pretrained` names by path or URL, if it is none of open_clip's tags.

    Raises:
        UserError: it lies behind a URL, and cannot be copied.
    """
    if not config.pretrained or pretrained_tag(config):
        return None
    file = local_copy(config.pretrained)
    return file if file.is_file() else None


def transformers_state(config: ClipConfig, file: Path | None) -> dict[str, Tensor] | None:
    """The tensors of a CLIP that transformers saved, by open_clip's names; None for any other.

    Args:
        config: which.
        file: of `pretrained_file`.

    Raises:
        UserError: a file is missing or damaged, or does not tell the activation.
    """
    if config.model.startswith(LOCAL_DIR):
        folder = _local_folder(config)
        return None if config_in(folder) is None else state_of(folder)
    state = None if file is None else file_state(file)
    if state is not None and config_beside(str(config.pretrained)) is None and "quickgelu" not in config.model:
        raise UserError(
            f"clip.pretrained: {config.pretrained} has transformers' names, and no {CONFIG} beside it, which tells the "
            f"activation; put it there, or name the whole folder as model: {LOCAL_DIR}FOLDER"
        )
    return state


def needs_quick_gelu(config: ClipConfig, weights: str | None) -> bool:
    """Whether the activation is OpenAI's approximation: by the configuration beside the weights, or the tag."""
    beside = config_beside(weights) if weights is not None else None
    return activation_of(beside) if beside else bool(pretrained_tag(config).get("quick_gelu", False))


def replacing_files(config: ClipConfig, weights: str) -> list[Path]:
    """What a model's weights are replaced by: a file by path or URL, and transformers' configuration beside it.

    Raises:
        UserError: neither it nor `config` tells the activation.
    """
    beside = config_beside(weights)
    if config.pretrained is None and ":" not in config.model and beside is None:
        raise UserError(
            f"{weights}: 'pretrained' is missing beside 'model': {without_weights(config)}. "
            "Its weights need not be there, as the file replaces them; a tag tells the activation that they need"
        )
    return [local_copy(weights), *filter(None, [beside])]


def pretrained_tag(config: ClipConfig) -> dict[str, Any]:
    import open_clip

    if not config.pretrained or ":" in config.model:
        return {}
    return dict(open_clip.get_pretrained_cfg(config.model, config.pretrained) or {})


def _folder_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"clip.model: there is no folder {folder}")
    if config_in(folder) is not None:
        return files_of(folder)
    config = folder / "open_clip_config.json"
    weights = folder / "open_clip_model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise UserError(
                f"clip.model: {folder} has no {file.name}; it must hold {config.name} and {weights.name}, or what "
                f"transformers saves of a CLIP: {CONFIG} and {WEIGHTS}"
            )
    tokenizer = [file for pattern in ("*token*", "vocab*", "merges*", "*.model") for file in folder.glob(pattern)]
    return [config, weights, *sorted({file for file in tokenizer if file.is_file()})]
