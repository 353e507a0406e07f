"""Base of every configuration model: locations that resolve themselves, and marks of what makes no difference."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

LOCAL_DIR = "local-dir:"
"""What stands before a folder where open_clip takes a model's name."""
FOLDER = "folder"
"""Name of the manifest's folder in a validation's context."""


class _Mark:
    """What a field's annotation can hold beside the type."""


DOES_NOT_COUNT = _Mark()
"""Marks a field that is no part of an identity: another value gives the same result."""


class TypedText(str):
    """A text from the command line: a relative path in it starts at the working directory, not at the manifest."""


def _resolved(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - any YAML value
    folder = _folder_of(value, info)
    return value if folder is None or "://" in value else str(folder / os.path.expanduser(value))


def _resolved_model(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - any YAML value
    folder = _folder_of(value, info)
    if folder is not None and value.startswith(LOCAL_DIR):
        return f"{LOCAL_DIR}{_resolved(type(value)(value.removeprefix(LOCAL_DIR)), info)}"
    return _resolved(value, info) if folder is not None and value.startswith(("./", "../", "~/")) else value


def _folder_of(value: Any, info: ValidationInfo) -> Path | None:  # noqa: ANN401 - any YAML value
    """What relative paths of a text are relative to; None for no text, and where no manifest is read."""
    folder: Path | None = (info.context or {}).get(FOLDER)
    if folder is None or not isinstance(value, str):
        return None
    return Path.cwd() if isinstance(value, TypedText) else folder


_RESOLVES, _RESOLVES_MODEL = BeforeValidator(_resolved), BeforeValidator(_resolved_model)
Location = Annotated[str, DOES_NOT_COUNT, _RESOLVES]
"""A path or fsspec URL. It is no part of an identity: what lies there is hashed instead.

Read from a manifest, a relative path is relative to the manifest's folder, and ``~`` is the home folder.
"""
ModelLocation = Annotated[str, _RESOLVES_MODEL]
"""A model's name, or where it lies: after ``local-dir:``, or a path that begins with ``./``, ``../``, ``~/`` or ``/``.

Of an identity a name is a part; a place is not, and stands there as ``local``, since its files are hashed instead.
"""


class Config(BaseModel):
    """A typed part of a manifest: unknown keys are refused, and a parsed value never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class Manifest(Config):
    """A whole manifest; each has a field ``kind``, a literal text, besides.

    Attributes:
        version: of the format. A file must name it: see stages.common.load.
    """

    version: Annotated[Literal[2], DOES_NOT_COUNT] = 2


def identity(config: Config) -> dict[str, Any]:
    """The configuration as JSON values, without what does not count: equal where results must be equal."""
    values: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        marks = list(_marks(field.rebuild_annotation()))
        if DOES_NOT_COUNT not in marks:
            value = getattr(config, name)
            values[name] = "local" if _RESOLVES_MODEL in marks and _is_here(value) else _counted(value)
    return values


def _counted(value: Any) -> Any:  # noqa: ANN401 - any value of a field
    if isinstance(value, Config):
        return identity(value)
    if isinstance(value, dict):
        return {name: _counted(part) for name, part in value.items()}
    return [_counted(part) for part in value] if isinstance(value, list | tuple) else value


def _is_here(name: str | None) -> bool:
    """Whether a model's name is a path, and not the name of something that is fetched."""
    return name is not None and (name.startswith(LOCAL_DIR) or "://" in name or Path(name).expanduser().exists())


def is_location(annotation: Any) -> bool:  # noqa: ANN401 - any type
    """Whether a field's annotation is `Location`, or a list or an option of it."""
    return _RESOLVES in _marks(annotation)


def _marks(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any type
    """What stands beside the types in an annotation such as ``tuple[Location, ...] | None``; not inside sections."""
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _marks(part)


def models_by_kind(annotations: Iterable[Any]) -> dict[str, type[Config]]:
    """The models that annotations allow, by their values of `kind`; models without a `kind` are left out."""
    models = [one for annotation in annotations for one in _alternatives(annotation) if _is_model(one)]
    kinds = {model: model.model_fields.get("kind") for model in models}
    return {kind: model for model, field in kinds.items() if field for kind in get_args(field.annotation)}


def annotations_below(annotations: Iterable[Any], part: int | str) -> list[Any]:
    """Annotations of what stands under a key, or at a place of a list, in values of the given annotations."""
    below: list[Any] = []
    for one in (one for annotation in annotations for one in _alternatives(annotation)):
        if _is_model(one) and part in one.model_fields:
            below.append(one.model_fields[str(part)].rebuild_annotation())
        elif get_origin(one) in (tuple, list) and str(part).isdecimal():
            below += get_args(one)
    return below


def _alternatives(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any type
    """The sides of a union, or the one type."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(annotation.__origin__)
    elif get_origin(annotation) in (Union, UnionType):
        for side in get_args(annotation):
            yield from _alternatives(side)
    else:
        yield annotation


def _is_model(one: Any) -> bool:  # noqa: ANN401 - any type
    return isinstance(one, type) and issubclass(one, Config)
