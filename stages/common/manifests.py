"""Reading manifests: YAML with environment variables, relative locations and settings; all errors told together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import TypeAdapter, ValidationError

from stages.common.config import FOLDER, Config, Manifest, annotations_below, models_by_kind
from stages.common.errors import UserError
from stages.common.renames import renamed_keys
from stages.common.settings import apply_settings, fill_variables, read_yaml

_Model = TypeVar("_Model", bound=Config)
_Manifest = TypeVar("_Manifest", bound=Manifest)
_VERSION: int = Manifest.model_fields["version"].default


@overload
def load(model: type[_Manifest], path: Path, settings: Sequence[str] = ()) -> _Manifest: ...
@overload
def load(model: Any, path: Path, settings: Sequence[str] = ()) -> Any: ...  # noqa: ANN401 - a union
def load(model: Any, path: Path, settings: Sequence[str] = ()) -> Any:
    """Reads a manifest.

    Environment variables written as ``${NAME}`` are filled in. Relative locations are relative to the manifest's
    folder.

    Args:
        model: what it should be: a model, or a union of models that `kind` tells apart.
        path: YAML file.
        settings: ``key.key=value`` that take the place of the file's values; a number stands for an entry of a list,
            from 0. Values are YAML, locations a text as it is; their relative paths are relative to the working
            directory. A variable whose key they replace need not be set.

    Raises:
        UserError: the file cannot be read, is no mapping, of another kind or version, a variable is not set, or values
            are wrong; naming the file, every wrong key, what was expected and what was found.
    """
    data = _read(path, model)
    unset: list[str] = []
    data = fill_variables(data, unset)
    given = tuple(f"{setting.partition('=')[0]}{end}" for setting in settings for end in (".", ":"))
    unset = [one for one in unset if not one.startswith(given)]
    apply_settings(data, settings, model)
    _check_kind_and_version(data, list(models_by_kind([model])), path)
    if unset:
        raise UserError(f"{path}: no environment variable has the name that these keys use:\n  " + "\n  ".join(unset))
    return validate(model, data, str(path), path.parent)


def read_settings(model: type[_Model], settings: Sequence[str]) -> _Model:
    """A model of the values that settings alone give, without a file.

    Raises:
        UserError: a setting cannot be read, or values are wrong.
    """
    data: dict[str, Any] = {}
    apply_settings(data, settings, model)
    return validate(model, data, "--set", Path.cwd())


@overload
def validate(model: type[_Model], data: dict[str, Any], name: str, folder: Path | None = None) -> _Model: ...
@overload
def validate(model: Any, data: dict[str, Any], name: str, folder: Path | None = None) -> Any: ...  # noqa: ANN401
def validate(model: Any, data: dict[str, Any], name: str, folder: Path | None = None) -> Any:
    """Validates a manifest's values.

    Args:
        model: what they should be: a model, or a union of models that `kind` tells apart.
        data: the values.
        name: of the manifest, for the message.
        folder: what relative locations are relative to; None leaves them as they are.

    Raises:
        UserError: naming the manifest, every wrong key, what was expected and what was found.
    """
    try:
        return TypeAdapter(model).validate_python(data, context={FOLDER: folder})
    except ValidationError as error:
        problems = _told(error.errors(include_url=False))
        renamed = renamed_keys(data, models_by_kind([model]))
        lines = [f"{name}: {len(problems)} problem(s) in the manifest:"]
        for problem in problems:
            key, annotations = _place(problem["loc"], model)
            lines.append(f"  {key}: {_words(problem, key, annotations, renamed)}")
        raise UserError("\n".join(lines)) from error


def _read(path: Path, model: Any) -> dict[str, Any]:  # noqa: ANN401 - a type or union
    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the manifest: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        fields = model.model_fields if isinstance(model, type) and issubclass(model, Config) else {}
        keys = ["version", "kind", *(name for name, field in fields.items() if field.is_required() and name != "kind")]
        raise UserError(f"{path}: expected a mapping with the keys {', '.join(keys)}")
    return data


def _check_kind_and_version(data: dict[str, Any], kinds: list[str], path: Path) -> None:
    kind, version = data.get("kind"), data.get("version", 1)
    expected = " or ".join(kinds)
    if kind is not None and kind not in kinds:
        raise UserError(f"{path}: kind: expected {expected}, found {kind!r}")
    if version == 1 and type(version) is int:
        changes = [f"set version: {_VERSION}", *([f"set kind: {expected}"] if kind is None else [])]
        old = renamed_keys(data, kinds if kind is None else [kind])
        changes += [f"{before} is now {after}" for before, after in old.items()]
        raise UserError(
            f"{path}: a manifest of version 1, as 'version' says or where it is missing; expected version {_VERSION}. "
            "To change in it:\n  " + "\n  ".join(changes)
        )
    if version != _VERSION or type(version) is not int:
        later = "; it may be of a later maskmine" if isinstance(version, int) and version > _VERSION else ""
        raise UserError(f"{path}: version: expected the number {_VERSION}, found {version!r}{later}")
    if kind is None:
        raise UserError(f"{path}: kind: this key is required; expected {expected}")


def _told(problems: Sequence[Any]) -> list[Any]:
    """Without lists that pydantic calls too short since their entries are wrong: those are told themselves."""
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if problem["type"] != "too_short" or not any(other[: len(place)] == place != other for other in places)
    ]


def _place(location: tuple[int | str, ...], model: Any) -> tuple[str, list[Any]]:  # noqa: ANN401 - a type or union
    """The key that a location of pydantic stands for, and the annotations of what stands there."""
    keys: list[str] = []
    annotations = [model]
    for part in location:
        kinds = models_by_kind(annotations)
        if len(set(kinds.values())) > 1 and part in kinds:  # pydantic's mark of a union's side; the manifest has none
            annotations = [kinds[str(part)]]
        else:
            keys.append(str(part))
            annotations = annotations_below(annotations, part)
    return ".".join(keys) or "(top)", annotations


def _words(problem: Any, key: str, annotations: list[Any], renamed: dict[str, str]) -> str:  # noqa: ANN401
    """What was expected and what was found.

    Args:
        problem: pydantic's details.
        key: where.
        annotations: of what stands there.
        renamed: old keys that the manifest uses, and their new names.
    """
    kind, found = problem["type"], problem.get("input")
    kinds = ", ".join(f"'{one}'" for one in models_by_kind(annotations))
    if kind == "extra_forbidden":
        new = [f"{old} is now {after}" for old, after in renamed.items() if f"{old}.".startswith(f"{key}.")]
        return f"unknown key; {', '.join(new) or 'check its spelling, or remove it'}"
    if kind == "missing":
        return "this key is required"
    if kind == "union_tag_invalid":
        return f"unknown kind {problem['ctx']['tag']!r}; expected one of {problem['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"the key 'kind' is required, one of {kinds}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = re.sub(r"^expected (greater|less)", r"expected a number \1", message)
    if kind in ("model_type", "model_attributes_type"):
        message = f"expected a mapping with a key 'kind', one of {kinds}" if kinds else "expected a mapping"
    if kind == "tuple_type":
        message = "expected a list"
    if kind == "too_short":
        message = f"expected a list of at least {problem['ctx']['min_length']}"
    shown = repr(found) if not isinstance(found, dict) else "a mapping"
    return f"{message} (found {shown if len(shown) <= 80 else shown[:77] + '...'})"
