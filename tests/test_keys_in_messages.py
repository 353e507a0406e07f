"""Every key of a manifest that a message names is one that a manifest can have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pipeline.manifest import BuildManifest
from stages.common import Config
from stages.common.renames import RENAMED
from train.adapt.config import AdaptManifest
from train.clip.checkpoint.folder import Description
from train.evaluate.classify.run import ClassifyManifest
from train.evaluate.proposals import ProposalsManifest
from train.evaluate.semantic.scorer import SemanticManifest, TuneManifest
from train.generator.config import GeneratorManifest
from train.pretrain.config import PretrainManifest
from train.segmenter.config import SegmenterManifest

ROOT = Path(__file__).parents[1]
MANIFESTS: tuple[type[Config], ...] = (
    *(BuildManifest, AdaptManifest, ClassifyManifest, GeneratorManifest, PretrainManifest),
    *(ProposalsManifest, SegmenterManifest, SemanticManifest, TuneManifest, Description),
)
KEY = re.compile(r"(?<![\w./{-])[a-z]\w*(?:\.[a-z]\w*)+(?![\w/(-])")
FILES = (".json", ".parquet", ".safetensors")
RENAMES = ROOT / "stages/common/renames.py"  # has old keys; its new ones have a test of their own
OTHERS = {"data.noun", "clip.visual"}  # a file of WordNet, a tensor's name


def paths(model: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - any type
    """Keys of a model, from the top, through lists and unions."""
    if isinstance(model, type) and issubclass(model, Config):
        for name, field in model.model_fields.items():
            yield (*before, name)
            yield from paths(field.annotation, (*before, name))
    else:
        for part in get_args(model):
            yield from paths(part, before)


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of all texts of a source file that are no docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    alone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in alone:
            yield node.lineno, node.value


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_every_key_in_a_message_exists() -> None:
    """A word with dots is a key if its first part is one somewhere; it may leave out the sections above it."""
    known = {path[start:] for model in MANIFESTS for path in paths(model) for start in range(len(path))}
    names = {path[-1] for path in known}
    assert ("nouns", "extractor", "tagger") in known
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {key}"
        for room in ("stages", "train", "pipeline")
        for file in sorted((ROOT / room).rglob("*.py"))
        if file != RENAMES
        for line, text in texts(file)
        for key in KEY.findall(text)
        if not key.endswith(FILES) and key not in OTHERS and not is_module(key)
        if key.partition(".")[0] in names and tuple(key.split(".")) not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_old_keys_are_gone_and_their_new_names_exist() -> None:
    models = {get_args(model.model_fields["kind"].annotation)[0]: model for model in MANIFESTS if model != Description}
    assert RENAMED.keys() == models.keys()
    for kind, renamed in RENAMED.items():
        known = {".".join(path) for path in paths(models[kind])}
        assert known.isdisjoint(renamed), kind
        assert set(renamed.values()) <= known, kind
