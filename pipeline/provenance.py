"""What a build is made of, hashed: configuration, inputs, models."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import stages.nouns
from pipeline.manifest import BuildManifest
from pipeline.sources.config import source_files
from stages.clip_config import clip_files
from stages.common import UserError, hash_files, local_copy, open_file
from stages.nouns import NltkNouns
from stages.proposals import model_files
from stages.proposals.configs import PrecomputedProposals


def hash_location(location: str, key: str) -> str:
    """SHA-256 of a file's content, read in pieces.

    Raises:
        UserError: there is no such file.
    """
    hashed = hashlib.sha256()
    try:
        with open_file(location) as file:
            while piece := file.read(1 << 22):
                hashed.update(piece)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{key}: there is no file {location}") from error
    except OSError as error:
        raise UserError(f"{key}: {location} cannot be read: {error}") from error
    return hashed.hexdigest()


def input_hashes(manifest: BuildManifest) -> dict[str, str]:
    """Annotation files by their role."""
    files = source_files(manifest.source)
    hashed = {role: hash_location(file, "source." + role.replace("table", "path")) for role, file in files.items()}
    if isinstance(manifest.proposals.proposer, PrecomputedProposals):
        hashed["precomputed"] = hash_location(manifest.proposals.proposer.path, "proposals.proposer.path")
    return hashed


def model_hashes(manifest: BuildManifest) -> dict[str, dict[str, str]]:
    """Every file of every model, by stage and file name.

    Raises:
        UserError: a model cannot be found.
    """
    return {
        "proposals": hash_files(model_files(manifest.proposals.proposer)),
        "nouns": hash_files(_noun_files(manifest)),
        "matching": hash_files(clip_files(manifest.matching.clip)),
    }


def differences(before: Any, now: Any, key: str = "") -> list[str]:  # noqa: ANN401 - any JSON value
    """Lines such as ``matching.rules.min_score_cosine: 0.2 -> 0.3``, for two JSON values."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(before.keys() | now.keys())
        parts = [differences(before.get(name), now.get(name), f"{key}.{name}" if key else name) for name in names]
        return [line for lines in parts for line in lines]
    return [] if before == now else [f"{key}: {_short(before)} -> {_short(now)}"]


def _noun_files(manifest: BuildManifest) -> list[Path]:
    """The lexicon and tagger weights that ship with the package, and the user's own tagger."""
    extractor = manifest.nouns.extractor
    shipped = Path(stages.nouns.__file__).parent / "data"
    files = [file for file in shipped.iterdir() if file.is_file()]
    own = local_copy(extractor.tagger) if isinstance(extractor, NltkNouns) and extractor.tagger else None
    return files + ([file for file in own.iterdir() if file.is_file()] if own and own.is_dir() else [])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
