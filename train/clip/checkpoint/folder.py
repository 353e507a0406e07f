"""Our own folder for a mask-adapted CLIP; published files are in train.clip.checkpoint.published.

It is a folder of stock open_clip (``local-dir:FOLDER``), with the prompts and a description beside:

| file | content |
|---|---|
| open_clip_config.json | model and preprocessing, as open_clip reads them |
| open_clip_model.safetensors | the CLIP, without prompts |
| mask_prompts.safetensors | ``visual.mask_embedding`` [depth, patches, width]; absent at depth 0 |
| maskmine.json | `Description`: prompts, base model, provenance, and the files' SHA-256; written last |

Nothing is unpickled but tensors.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, StringConstraints, ValidationError

from stages.clip_config import ClipConfig, local_model
from stages.clip_weights import no_factory_warnings, shortly
from stages.common import LOCAL_DIR, Config, Precision, UserError, load_safetensors, sha256_file
from train.clip.checkpoint.layouts import PROMPTS, cast
from train.clip.checkpoint.published import weights_of, write_file
from train.clip.model import MaskPromptCLIP

CONFIG_FILE = "open_clip_config.json"
CLIP_FILE = "open_clip_model.safetensors"
PROMPTS_FILE = "mask_prompts.safetensors"
DESCRIPTION_FILE = "maskmine.json"


class PromptShape(Config):
    """Where the prompts fit.

    Attributes:
        depth: number of layers with prompts.
        grid: patches per column and row.
        patch_px: side of a patch.
        width: channels of a token.
    """

    depth: int = Field(ge=1)
    grid: tuple[int, int]
    patch_px: int = Field(ge=1)
    width: int = Field(ge=1)


class Description(Config):
    """Content of maskmine.json.

    Attributes:
        kind: tells this file from others.
        version: of the format.
        prompts: their shape; None at depth 0.
        precision: of matrices and prompts.
        base: the CLIP that was adapted.
        provenance: what the writer wants to be known: recipe, data and their digests, steps, scores.
        files: SHA-256 of the folder's other files, by name.
    """

    kind: Literal["mask_adapted_clip"] = "mask_adapted_clip"
    version: Literal[1] = 1
    prompts: PromptShape | None
    precision: Precision
    base: ClipConfig
    provenance: dict[str, Any]
    files: dict[Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")], str]


def save_adapted(
    folder: Path,
    model: MaskPromptCLIP,
    base: ClipConfig,
    provenance: Mapping[str, Any],
    precision: Precision = "fp32",
    files_of: ClipConfig | None = None,
) -> None:
    """Writes our own folder; the same weights give the same bytes. An unfinished folder has no maskmine.json.

    Args:
        folder: made if need be; files of an earlier call are replaced.
        model: what to write.
        base: the CLIP that was wrapped: its configuration is copied, its weights are not needed.
        provenance: JSON values for maskmine.json.
        precision: fp16 or bf16 halve the matrices; norms, biases and the temperature stay in float32.
        files_of: where configuration and tokenizer are copied from, if not from `base`, which may be gone.

    Raises:
        UserError: `base` is not the configuration of this model, or a value is too large for fp16.
        ValueError, TypeError: the provenance is no JSON, or holds NaN.
    """
    _json(provenance)  # fails before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
    (folder / PROMPTS_FILE).unlink(missing_ok=True)
    source = files_of or base
    config = _open_clip_config(model, source)
    write_file(folder / CONFIG_FILE, _json(config))
    _check_config(folder, model, source)
    weights = weights_of(model)
    tensors = {CLIP_FILE: dict(weights.clip)}
    shape = None
    if weights.prompts is not None:
        tower = model.tower
        shape = PromptShape(depth=model.depth, grid=tower.grid, patch_px=tower.patch_px, width=tower.width)
        tensors[PROMPTS_FILE] = {PROMPTS: weights.prompts}
    for name, named in tensors.items():
        write_file(folder / name, cast(named, precision))
    files = [CONFIG_FILE, *tensors, *_save_tokenizer(folder, config, source)]
    description = Description(
        prompts=shape,
        precision=precision,
        base=base,
        provenance=dict(provenance),
        files={name: sha256_file(folder / name) for name in sorted(files)},
    )
    write_file(folder / DESCRIPTION_FILE, _json(description.model_dump(mode="json")))


def load_adapted(
    folder: Path, device: str = "cpu", image_size_px: int | None = None
) -> tuple[MaskPromptCLIP, Any, Description]:
    """Loads our own folder: the model, frozen and in evaluation mode, its tokenizer, and the folder's description.

    Args:
        folder: what `save_adapted` wrote.
        device: torch device.
        image_size_px: another input resolution; positional embeddings and prompts are interpolated.

    Raises:
        UserError: a file is missing, damaged or changed, or this open_clip cannot load the model.
    """
    import open_clip

    description = read_description(folder)
    try:
        name = f"{LOCAL_DIR}{folder}"
        clip = open_clip.create_model(name, device=device, force_image_size=image_size_px, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # damaged files raise errors of many libraries
        raise UserError(f"{folder}: open_clip cannot load it: {type(error).__name__}: {shortly(error)}") from error
    model = MaskPromptCLIP(clip, description.prompts.depth if description.prompts else 0)
    if description.prompts:
        _set_prompts(model, folder, description.prompts)
    return model.eval().requires_grad_(False), tokenizer, description


def read_description(folder: Path) -> Description:
    """Reads maskmine.json, and checks that the files beside it are the ones it was written with.

    Raises:
        UserError: it is missing or not of this format; a file is missing or has changed.
    """
    path = folder / DESCRIPTION_FILE
    try:
        description = Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected a folder that training finished writing. "
            f"A folder of open_clip alone is named {LOCAL_DIR}FOLDER where a CLIP is asked for."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}; is it from a newer version, or edited?") from error
    for name, digest in description.files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise UserError(f"{folder / name}: missing or changed since {DESCRIPTION_FILE} was written; copy it again")
    return description


def _set_prompts(model: MaskPromptCLIP, folder: Path, shape: PromptShape) -> None:
    path = folder / PROMPTS_FILE
    if shape.patch_px != model.tower.patch_px:
        raise UserError(
            f"{path}: its prompts are for patches of {shape.patch_px} px; "
            f"expected {model.tower.patch_px} px, the patches of the model in {CONFIG_FILE}"
        )
    tensors = load_safetensors(path)
    if tensors.keys() != {PROMPTS}:
        raise UserError(f"{path}: holds {sorted(tensors)}; expected {PROMPTS} alone")
    try:
        model.set_prompts(tensors[PROMPTS], shape.grid)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _open_clip_config(model: MaskPromptCLIP, base: ClipConfig) -> dict[str, Any]:
    import open_clip
    from open_clip.transformer import QuickGELU

    config = open_clip.get_model_config(local_model(base))
    if config is None:
        raise UserError(f"base.model: open_clip has no model {base.model!r}; expected the name that was loaded")
    visual = model.clip.visual
    # Tags switch quick-GELU on, and a call another input size, whatever the configuration of the name says.
    config["quick_gelu"] = any(isinstance(module, QuickGELU) for module in model.clip.modules())
    size = visual.image_size
    config["vision_cfg"]["image_size"] = list(size) if len({*size}) > 1 else size[0]
    preprocessing = open_clip.get_model_preprocess_cfg(model.clip)
    return {"model_cfg": config, "preprocess_cfg": {key: preprocessing[key] for key in sorted(preprocessing)}}


def _check_config(folder: Path, model: MaskPromptCLIP, base: ClipConfig) -> None:
    """That stock open_clip, going by the configuration written, builds a model that these weights fit."""
    import open_clip

    with no_factory_warnings(), torch.device("meta"):
        stock = open_clip.create_model(f"{LOCAL_DIR}{folder}", load_weights=False, device="meta")
    expected = {name: list(value.shape) for name, value in stock.state_dict().items()}
    got = {name: list(value.shape) for name, value in model.clip.state_dict().items()}
    differing = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    if differing:
        name = differing[0]
        raise UserError(
            f"base.model: {base.model!r} is not the configuration of this CLIP: {len(differing)} tensors differ, "
            f"the first is {name}: got {got.get(name)}, expected {expected.get(name)}"
        )


def _save_tokenizer(folder: Path, config: Mapping[str, Any], base: ClipConfig) -> list[str]:
    """Files of a tokenizer that is not open_clip's own, which open_clip looks for in the folder."""
    import open_clip

    if not config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
        return []
    with tempfile.TemporaryDirectory() as scratch:
        open_clip.get_tokenizer(local_model(base)).save_pretrained(scratch)
        files = sorted(file for file in Path(scratch).iterdir() if file.is_file())
        for file in files:
            write_file(folder / file.name, file.read_bytes())
    return [file.name for file in files]


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
