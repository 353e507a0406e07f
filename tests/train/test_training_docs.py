"""The tables of keys on the pages about training are the manifest's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from stages.common import Config
from train.adapt.config import AdaptManifest, Validation
from train.data.samples import DataConfig
from train.evaluate.classify.run import ClassifyManifest

ROOT = Path(__file__).parents[2]
DEFAULTS_IN_WORDS = {
    "loss.logit_scale": (None, "the CLIP's own"),
    "micro_batch": (None, "all"),
    "augment.crop_scale": ((0.9, 1.0), "0.9 to 1"),
    "augment.crop_ratio": ((3 / 4, 4 / 3), "0.75 to 1.33"),
}
ALTERNATIVES = {"init.model", "init.weights", "phases.epochs", "phases.steps"}  # one of two is required
GROUPS = {"data", "validation"}  # rows of their own page, or of the meaning


def keys_of(model: type[Config], parent: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted keys and their fields; sections are gone into."""
    for name, field in model.model_fields.items():
        key, inside = f"{parent}{name}", list(configs_in(field.annotation))
        if key not in GROUPS and inside:
            for section in inside:
                yield from keys_of(section, f"{key}.")
        elif name not in ("version", "kind") or parent:
            yield key, field


def configs_in(annotation: Any) -> Iterator[type[Config]]:  # noqa: ANN401 - any type
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for part in get_args(annotation):
        yield from configs_in(part)


def rows(page: str) -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning in the rows of a page's tables; keys that share a row have a default each, or one."""
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" |")]
        if len(cells) != 3 or not re.fullmatch(r"(`[\w.]+`(, )?)+", cells[0]):
            continue
        keys = re.findall(r"`([\w.]+)`", cells[0])
        defaults = cells[1].split(", ") if len(keys) > 1 else [cells[1]]
        if len(defaults) == 1:
            defaults *= len(keys)
        for key, default in zip(keys, defaults, strict=True):
            yield key, default.strip("`"), cells[2]


@pytest.mark.parametrize(
    ("page", "model"), [("training.md", AdaptManifest), ("shards-for-training.md", DataConfig)], ids=["adapt", "data"]
)
def test_every_key_of_training_is_documented_with_its_default(page: str, model: type[Config]) -> None:
    fields = dict(keys_of(model))
    documented = {key: default for key, default, _ in rows(page)}
    assert documented.keys() == fields.keys()
    for key, field in fields.items():
        said = documented[key]
        if key in ALTERNATIVES:
            assert (field.default, said) == (None, "one required"), key
        elif field.is_required():
            assert said == "required", key
        elif key in DEFAULTS_IN_WORDS:
            assert (field.default, said) == DEFAULTS_IN_WORDS[key], key
        elif field.default is None:
            assert said == "none", key
        else:
            parsed = TypeAdapter(field.annotation).validate_python(yaml.safe_load(said))
            assert parsed == field.default, key


def test_keys_of_the_validation_are_named() -> None:
    (meaning,) = (meaning for key, _, meaning in rows("training.md") if key == "validation")
    named = set(re.findall(r"`(\w+)`", meaning))
    assert set(Validation.model_fields) <= named
    assert set(Validation.model_fields) - {"every", "metric"} <= set(ClassifyManifest.model_fields)
