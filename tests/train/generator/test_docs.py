"""docs/generator.md names every key of the manifest with its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from stages.common import Config
from tests.places import configs_in
from train.clip.source import ClipSource
from train.generator.config import GeneratorManifest

PAGE = Path(__file__).parents[3] / "docs/generator.md"
IN_WORDS = {"open_vocabulary.templates": "ViLD's 14"}


def fields(model: type[Config], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inside = [each for each in configs_in(field.annotation) if each is not ClipSource]
        for section in inside:
            yield from fields(section, f"{before}{name}.")
        if not inside and (before or name not in ("version", "kind")):
            yield f"{before}{name}", field


def test_every_key_is_documented_with_its_default() -> None:
    keys = PAGE.read_text(encoding="utf-8").partition("\n## Keys\n")[2]
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", keys, re.MULTILINE))
    expected = dict(fields(GeneratorManifest))
    assert rows.keys() == expected.keys()
    for key, field in expected.items():
        said = rows[key].strip().strip("`")
        if key in IN_WORDS:
            assert said == IN_WORDS[key]
        elif field.is_required():
            assert said == "required", key
        else:
            default = field.get_default(call_default_factory=True)
            assert said == "none" if default is None else _parsed(said, field) == default, key


def _parsed(said: str, field: FieldInfo) -> object:
    return TypeAdapter(field.annotation).validate_python(yaml.safe_load(said))
