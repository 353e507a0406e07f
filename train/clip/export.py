"""A mask-adapted CLIP for other systems: a folder of open_clip, or a file in a published layout; docs/export.md."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stages.clip_config import ClipConfig
from stages.common import LOCAL_DIR, Precision, UserError
from train.clip.checkpoint.folder import CONFIG_FILE, DESCRIPTION_FILE, load_adapted, save_adapted
from train.clip.checkpoint.layouts import Layout
from train.clip.checkpoint.published import OVSEG_JSON, convert_ovseg, read_published, save_published
from train.clip.model import MaskPromptCLIP

ExportLayout = Literal["open_clip", "ovseg", "training", "state_dict", "ovseg_folder"]
_PUBLISHED: dict[ExportLayout, Layout] = {"ovseg": "segmenter", "training": "training", "state_dict": "clip"}
# OpenAI's names, which OVSeg's copy of CLIP has.
_OPENAI_NAMES = ("visual.conv1.weight", "visual.proj", "token_embedding.weight", "text_projection")


def export(
    folder: Path,
    layout: ExportLayout,
    out: Path,
    precision: Precision = "fp32",
    prompts: bool = True,
    segmenter: Path | None = None,
    force: bool = False,
) -> list[str]:
    """Writes a CLIP that training wrote in the form that another system reads, or an OVSeg file as a folder.

    Args:
        folder: of the weights, such as RUN/last; for `ovseg_folder` OVSeg's file.
        layout: `open_clip`, a folder; or a file: `ovseg` (names after ``clip_adapter.clip_model.``), `training` (under
            ``state_dict``) or `state_dict` (names alone). Or `ovseg_folder`: see `_convert`.
        out: the folder, or the file (.pt or .pth; for `state_dict` also .safetensors).
        precision: fp16 or bf16 halve the matrices.
        prompts: whether the mask prompts are written.
        segmenter: for `ovseg`, a file of a whole segmenter, whose other parts are kept.
        force: whether what stands at `out` may be replaced.

    Returns:
        What a user of the file must know, a sentence each.

    Raises:
        UserError: `folder` is no such folder, `out` cannot be or stands already, or the CLIP has no such form.
    """
    if layout == "ovseg_folder":
        if precision != "fp32" or not prompts or segmenter is not None:
            raise UserError("layout ovseg_folder holds the file's own tensors; expected no other option than a path")
        return _convert(folder, out, force)
    _check_source(folder)
    _check_target(folder, layout, out, force)
    if segmenter is not None and layout != "ovseg":
        raise UserError(f"segmenter: a {layout} export has no other parts to keep; expected layout ovseg")
    model, _, description = load_adapted(folder)
    if not prompts:
        model = MaskPromptCLIP(model.clip, 0)
    if layout == "ovseg":
        _check_openai(folder, model)
    out.parent.mkdir(parents=True, exist_ok=True)
    if layout == "open_clip":
        here = ClipConfig(model=f"{LOCAL_DIR}{folder}")
        save_adapted(out, model, description.base, description.provenance, precision, files_of=here)
    else:
        whole = read_published(segmenter) if segmenter is not None else None
        save_published(out, model, _PUBLISHED[layout], precision, segmenter=whole)
    return _notes(model, layout, segmenter)


def _convert(file: Path, out: Path, force: bool) -> list[str]:
    """Writes a published OVSeg file as a folder of safetensors and JSON, which is read without unpickling.

    Raises:
        UserError: the file is no OVSeg, or `out` holds other things, or a folder that may not be replaced.
    """
    found = any(out.iterdir()) if out.is_dir() else out.exists()
    if found and not (out / OVSEG_JSON).is_file():
        raise UserError(f"{out}: expected a new folder, or an earlier export; this holds other things")
    if found and not force:
        raise UserError(f"{out}: exists; remove it, or replace it by force")
    convert_ovseg(file, out)
    return [
        f"Its settings, those of the released file of this backbone, are in {out / OVSEG_JSON}; correct them there."
    ]


def _check_source(folder: Path) -> None:
    if not (folder / DESCRIPTION_FILE).is_file() and (folder / "last" / DESCRIPTION_FILE).is_file():
        raise UserError(f"{folder}: is a run; expected the weights of one, such as {folder / 'last'}")


def _check_target(folder: Path, layout: ExportLayout, out: Path, force: bool) -> None:
    if layout == "open_clip":
        if out.resolve() == folder.resolve():
            raise UserError(f"{out}: is the folder to export; it loads in stock open_clip as it is")
        if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / CONFIG_FILE).is_file()):
            raise UserError(f"{out}: expected a new folder, or an earlier export; this holds other things")
        exists = out.is_dir() and any(out.iterdir())
    else:
        suffixes = (".pt", ".pth", ".safetensors") if layout == "state_dict" else (".pt", ".pth")
        if out.is_dir() or out.suffix not in suffixes:
            raise UserError(f"{out}: layout {layout} is a file; expected a name that ends with {' or '.join(suffixes)}")
        exists = out.exists()
    if exists and not force:
        raise UserError(f"{out}: exists; remove it, or replace it by force")


def _check_openai(folder: Path, model: MaskPromptCLIP) -> None:
    names = model.clip.state_dict().keys()
    if missing := [name for name in _OPENAI_NAMES if name not in names]:
        raise UserError(
            f"{folder}: OVSeg's CLIP is OpenAI's, and this one has no {missing[0]}; expected a CLIP such as ViT-B-16 "
            "or ViT-L-14, not one with a tower of timm or a text tower of its own. Layout state_dict writes any"
        )


def _notes(model: MaskPromptCLIP, layout: ExportLayout, segmenter: Path | None) -> list[str]:
    from open_clip.transformer import QuickGELU

    notes = []
    if layout == "open_clip" and model.depth:
        notes.append("Stock open_clip loads the CLIP; it leaves the prompts, a file beside, alone.")
    if layout in ("training", "state_dict") and model.depth:
        notes.append("Stock open_clip refuses the prompts' name; an export without prompts has none.")
    if layout == "ovseg":
        forward = f"MASK_PROMPT_DEPTH {model.depth} and MASK_PROMPT_FWD {bool(model.depth)}"
        notes.append(f"OVSeg's MODEL.CLIP_ADAPTER needs {forward}.")
        if segmenter is None:
            notes.append("It is the CLIP alone; OVSeg's file as segmenter would add that file's mask generator.")
        if not any(isinstance(module, QuickGELU) for module in model.clip.modules()):
            notes.append("OVSeg's CLIP computes quick-GELU, and this one GELU: features there will differ.")
    return notes
