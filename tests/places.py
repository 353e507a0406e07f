"""The fields of configuration models, and which of them are locations."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import get_annotations
from typing import Any, get_args

from pydantic.fields import FieldInfo

from stages.common import Config
from stages.common.config import is_location


def configs_in(annotation: Any) -> Iterator[type[Config]]:  # noqa: ANN401 - any type
    """The models that a type such as ``tuple[ShardSet, ...] | None`` has inside."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for part in get_args(annotation):
        yield from configs_in(part)


def is_place(field: FieldInfo) -> bool:
    """Whether a field is a location, or holds some."""
    return is_location(field.rebuild_annotation())


def places_in(model: type[Config]) -> set[tuple[str, str]]:
    """(name of the model that declares it, name of the field) of all locations in a model and its sections."""
    found = set()
    for name, field in model.model_fields.items():
        if is_place(field):
            declared = [base for base in model.__mro__ if name in get_annotations(base)]
            found.add((declared[-1].__name__, name))
        for section in configs_in(field.annotation):
            found |= places_in(section)
    return found
