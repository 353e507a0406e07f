"""Base of every configuration model."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict

LOCAL_DIR = "local-dir:"
"""What stands before a folder where open_clip takes a model's name."""


class _Place:
    """Marks a field that says where a thing lies, not what it is."""


PLACE = _Place()
Location = Annotated[str, PLACE]
"""A path or fsspec URL. It is no part of a build's identity: what lies there is hashed instead."""


class Config(BaseModel):
    """A typed part of a manifest: unknown keys are refused, and a parsed value never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


def identity(config: Config) -> dict[str, Any]:
    """The configuration as JSON values, without its locations: equal for builds that must give equal bytes."""
    values: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        if PLACE in field.metadata or _has_place(field.annotation):
            continue
        value = getattr(config, name)
        values[name] = identity(value) if isinstance(value, Config) else config.model_dump(mode="json")[name]
    return values


def _has_place(annotation: Any) -> bool:  # noqa: ANN401 - any type
    """Whether a type such as ``Location | None`` or ``tuple[Location, ...]`` has a location inside."""
    inside = PLACE in getattr(annotation, "__metadata__", ())
    return inside or any(_has_place(part) for part in get_args(annotation))
