"""Reading manifests: YAML with environment variables, relative locations and settings; all errors told together."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from stages.common.config import LOCAL_DIR, Config
from stages.common.errors import UserError

Unions = Mapping[tuple[int | str, ...], Any]
"""Where a model has a union told apart by a key 'kind', and the union."""
_Model = TypeVar("_Model", bound=Config)


class _Loader(yaml.SafeLoader):
    """YAML without the silence about a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, value in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=value[0].start_mark)
        return dict(super().construct_mapping(node, deep))


def read_values(path: Path, keys: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a manifest's values, not yet validated.

    Environment variables written as ``${NAME}`` are filled in. Relative locations are relative to the manifest's
    folder.

    Args:
        path: YAML file.
        keys: the keys that it must have, for the message.
        overrides: ``key.key=value`` settings that take the place of the file's; a number stands for an entry of a
            list, from 0. Values are YAML, locations a text as it is; their relative paths are relative to the working
            directory. A variable whose key they replace need not be set.

    Raises:
        UserError: the file cannot be read, is no mapping, or a variable is not set.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the manifest: {error}") from error
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with the keys {keys}")
    unset: list[str] = []
    data = _fill(data, path.parent, unset)
    given = tuple(f"{setting.partition('=')[0]}{end}" for setting in overrides for end in (".", ":"))
    unset = [one for one in unset if not one.startswith(given)]
    if unset:
        raise UserError(f"{path}: no environment variable has the name that these keys use:\n  " + "\n  ".join(unset))
    return _set(dict(data), overrides)


def read_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """The values that settings alone give, without a file; see read_values. None of them is a location.

    Raises:
        UserError: a setting cannot be read.
    """
    return _set({}, overrides, places=False)


def _set(data: dict[str, Any], overrides: Sequence[str], places: bool = True) -> dict[str, Any]:
    for override in overrides:
        _override(data, override, places)
    return data


def validate(model: type[_Model], data: dict[str, Any], name: str, unions: Unions) -> _Model:
    """Validates a manifest's values.

    Args:
        model: what they should be.
        data: the values.
        name: of the manifest, for the message.
        unions: of the model.

    Raises:
        UserError: naming the manifest, every wrong key, what was expected and what was found.
    """
    try:
        return TypeAdapter(model).validate_python(data)
    except ValidationError as error:
        problems = _told(error.errors(include_url=False))
        lines = [f"{name}: {len(problems)} problem(s) in the manifest:"]
        for problem in problems:
            lines.append(f"  {_key(problem['loc'], unions)}: {_words(problem, unions)}")
        raise UserError("\n".join(lines)) from error


def _told(problems: Sequence[Any]) -> list[Any]:
    """Without lists that pydantic calls too short since their entries are wrong: those are told themselves."""
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if problem["type"] != "too_short" or not any(other[: len(place)] == place != other for other in places)
    ]


def _key(location: tuple[int | str, ...], unions: Unions) -> str:
    # pydantic puts a union's kind into the location; the manifest has no such key.
    parts = [part for at, part in enumerate(location) if location[:at] not in unions]
    return ".".join(str(part) for part in parts) or "(top)"


def _words(problem: Any, unions: Unions) -> str:  # noqa: ANN401 - pydantic's error details
    kind, found = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return "unknown key; check its spelling, or remove it"
    if kind == "missing":
        return "this key is required"
    if kind == "union_tag_invalid":
        return f"unknown kind {problem['ctx']['tag']!r}; expected one of {problem['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"the key 'kind' is required, one of {_kinds(problem['loc'], unions)}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = re.sub(r"^expected (greater|less)", r"expected a number \1", message)
    if kind in ("model_type", "model_attributes_type"):
        kinds = _kinds(problem["loc"], unions)
        message = f"expected a mapping with a key 'kind', one of {kinds}" if kinds else "expected a mapping"
    if kind == "tuple_type":
        message = "expected a list"
    if kind == "too_short":
        message = f"expected a list of at least {problem['ctx']['min_length']}"
    shown = repr(found) if not isinstance(found, dict) else "a mapping"
    return f"{message} (found {shown if len(shown) <= 80 else shown[:77] + '...'})"


def _kinds(location: tuple[int | str, ...], unions: Unions) -> str:
    """The kinds of the union at a location; empty if there is none."""
    schema = TypeAdapter(unions[location]).json_schema() if location in unions else {}
    return ", ".join(f"'{kind}'" for kind in schema.get("discriminator", {}).get("mapping", ()))


_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PATH_KEYS = {
    "annotations",
    "cache",
    "captions",
    "folder",
    "images",
    "labels",
    "masks",
    "panoptic_folder",
    "path",
    "root",
    "shards",
    "shards_url",
    "tagger",
    "weights",
}
_CLASS_FILES = ("regions.classes", "set.classes")
"""Elsewhere `classes` are names."""


def _fill(value: Any, base: Path, unset: list[str], key: str = "") -> Any:  # noqa: ANN401 - any YAML value
    """Fills in environment variables and makes relative locations relative to `base`; adds to `unset` what it lacks."""
    if isinstance(value, dict):
        return {name: _fill(item, base, unset, f"{key}.{name}" if key else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, base, unset, key) for item in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            unset.append(f"{key}: {found[0]}")
        return os.environ.get(found[1], "")

    return _located(_VARIABLE.sub(variable, value), base, key)


def _is_place(key: str) -> bool:
    """Whether a key's value says where something lies."""
    return key.rpartition(".")[2] in _PATH_KEYS or key.endswith(_CLASS_FILES)


def _located(value: str, base: Path, key: str) -> str:
    name = key.rpartition(".")[2]
    if _is_place(key) and value != "none" and "://" not in value:
        return str(base / os.path.expanduser(value))
    if name == "model" and value.startswith(LOCAL_DIR) and "://" not in value:
        return LOCAL_DIR + str(base / os.path.expanduser(value.removeprefix(LOCAL_DIR)))
    if name in ("model", "pretrained") and value.startswith(("./", "../", "~/")):
        return str(base / os.path.expanduser(value))
    return value


def _override(data: dict[str, Any], setting: str, places: bool) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UserError(f"--set {setting}: expected key=value, such as matching.rules.min_score_cosine=0.2")
    *parents, last = key.split(".")
    place: Any = data
    for parent in parents:
        place = place.setdefault(parent, {}) if isinstance(place, dict) else place[_index(place, parent, setting)]
        if not isinstance(place, dict | list):
            raise UserError(f"--set {setting}: {parent!r} is no section of the manifest")
    unset: list[str] = []
    named = ".".join(part for part in key.split(".") if not part.isdecimal())  # masks.0 is a location, as masks is
    value = _place_given(text, key, setting) if places and _is_place(named) else _yaml_given(text, key, setting)
    place[last if isinstance(place, dict) else _index(place, last, setting)] = _fill(value, Path.cwd(), unset, named)
    if unset:
        raise UserError(f"--set {setting}: no environment variable has that name")


def _yaml_given(text: str, key: str, setting: str) -> Any:  # noqa: ANN401 - any YAML value
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        quoted = shlex.quote(f"{key}={json.dumps(text, ensure_ascii=False)}")
        raise UserError(
            f"--set {setting}: the value is not valid YAML: {error}\n"
            f"If it is meant as a text, put it in quotes of its own: --set {quoted}"
        ) from error


def _place_given(text: str, key: str, setting: str) -> Any:  # noqa: ANN401 - any YAML value
    """A location as it is typed, since {00000..00010}.tar, *.tar and 2024 are other things in YAML, or none.

    A list, null, a text in quotes of its own, and a section of that name (`shards` of a build) are read as YAML.
    """
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        if text.startswith("[") and text.endswith("]"):
            quoted = shlex.quote(key + '=["{0..3}.tar", "b.tar"]')
            raise UserError(
                f"--set {setting}: the list is not valid YAML: {error}\n"
                f"Put each location in quotes, such as --set {quoted}"
            ) from error
        return text
    is_section = (
        isinstance(value, dict) and text.lstrip().startswith("{") and any(one is not None for one in value.values())
    )
    is_quoted = isinstance(value, str) and text.strip()[:1] in ("'", '"')
    return value if value is None or isinstance(value, list) or is_section or is_quoted else text


def _index(entries: list[Any], part: str, setting: str) -> int:
    """The place in a list that a part of a key names."""
    if not part.isdecimal() or int(part) >= len(entries):
        expected = f"a number from 0 to {len(entries) - 1}" if entries else "no part, as the list is empty"
        raise UserError(f"--set {setting}: {part!r} stands for a place in a list; expected {expected}")
    return int(part)
