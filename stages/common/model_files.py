"""Where a model's files are, which of them matter, and their hashes; nothing is loaded and nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.common.copies import local_copy
from stages.common.errors import UnreachableError, UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
# Image processors are saved alone, or inside of the processor that they belong to.
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
WORDS = ("open_vocabulary.json", "open_vocabulary.safetensors")
"""A mask generator's head for words, which training writes beside the model's own files."""
TOKENIZER = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
_CHUNK_BYTES = 1 << 22


def resolve_folder(model: str, revision: str | None = None, key: str = "model") -> Path:
    """The local folder with a model's files; those behind a URL are copied, a hub id comes into the hub's cache.

    Args:
        model: a folder by path or URL, or a hub id ``owner/name``.
        revision: commit, tag or branch of a hub id; ignored for a folder.
        key: manifest key for messages.

    Raises:
        UserError: no such folder or hub id.
        UnreachableError: the hub cannot be reached and has not been before.
    """
    folder = local_copy(model) if "://" in model else Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1 or folder.exists():
        raise UserError(f"{key}: {model!r} is neither a folder that exists nor a hub id like owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=[CONFIG, *PREPROCESSING, *TOKENIZER, *WORDS, "model*.safetensors", WEIGHTS_INDEX],
                ignore_patterns=["*/*"],
            )
        )
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"{key}: {model!r} (revision {revision or 'main'}) is neither a folder nor found on the hub; "
            f"check the name, and log in if the repository asks for it"
        ) from error
    # The hub's client raises OSError, or its HTTP library's own errors, for a missing network.
    except Exception as error:
        raise UnreachableError(
            f"{key}: {model!r} is no folder, and the hub cannot be reached to download it ({type(error).__name__}); "
            f"download it where there is a network, and give the folder"
        ) from error


def transformers_files(folder: Path, key: str = "model", preprocessing: bool = True) -> list[Path]:
    """The files of a transformers model that its results depend on, sorted by name.

    Args:
        folder: what `resolve_folder` gave.
        key: manifest key for messages.
        preprocessing: whether the model needs an image processor.

    Raises:
        UserError: one of config.json, the image processor's JSON, or safetensors is missing or unreadable.
    """
    read_model_json(folder / CONFIG, key)
    found = [folder / name for name in (CONFIG, *PREPROCESSING, *TOKENIZER, *WORDS) if (folder / name).is_file()]
    if preprocessing and not any((folder / name).is_file() for name in PREPROCESSING):
        raise UserError(
            f"{key}: {folder} has no {PREPROCESSING[0]}; save the model's image processor there with save_pretrained"
        )
    return sorted(found + _weight_files(folder, key))


def _weight_files(folder: Path, key: str) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / WEIGHTS_INDEX).is_file():
        index = read_model_json(folder / WEIGHTS_INDEX, key)
        names = sorted({Path(str(name)).name for name in index.get("weight_map", {}).values()})
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise UserError(f"{key}: {folder / WEIGHTS_INDEX} names {missing or 'no file'}, which the folder lacks")
        return [folder / WEIGHTS_INDEX, *(folder / name for name in names)]
    pickled = sorted(path.name for path in folder.glob("*.bin")) + sorted(path.name for path in folder.glob("*.pt"))
    if pickled:
        raise UserError(
            f"{key}: {folder} has its weights as {pickled[0]} only, and unpickling can run any code; convert them "
            f"once, where that is safe: from_pretrained(folder).save_pretrained(new_folder) writes {WEIGHTS}"
        )
    raise UserError(
        f"{key}: {folder} has no {WEIGHTS}. If a hub repository has no safetensors on this revision, "
        f"give a revision that has, or convert the weights once with save_pretrained"
    )


def read_model_json(path: Path, key: str = "model") -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file is missing or is no JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{key}: {path} does not exist; expected a folder that save_pretrained wrote") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{key}: {path}: expected a JSON object, got {type(value).__name__}")
    return value


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; read in pieces, so that memory stays flat."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[str, str]:
    """{file name: sha256}, sorted by name; the folder plays no part, so that a model may move."""
    return {path.name: sha256_file(path) for path in sorted(paths, key=lambda path: path.name)}
