"""YAML values of manifests and of ``--set key=value``, with environment variables."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from stages.common.config import TypedText, annotations_below, is_location
from stages.common.errors import UserError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class _Loader(yaml.SafeLoader):
    """YAML without the silence about a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, value in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=value[0].start_mark)
        return dict(super().construct_mapping(node, deep))


def read_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """The value that a text stands for.

    Raises:
        yaml.YAMLError: it is no YAML, or has a key twice.
    """
    return yaml.load(text, _Loader)


def fill_variables(value: Any, unset: list[str], key: str = "", text: type[str] = str) -> Any:  # noqa: ANN401
    """A value with ``${NAME}`` replaced by environment variables.

    Args:
        value: any YAML value.
        unset: gets "key: variable" of each variable that is not set.
        key: where the value stands.
        text: type of the texts.
    """
    if isinstance(value, dict):
        filled = {}
        for name, part in value.items():
            filled[name] = fill_variables(part, unset, f"{key}.{name}" if key else str(name), text)
        return filled
    if isinstance(value, list):
        return [fill_variables(part, unset, key, text) for part in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            unset.append(f"{key}: {found[0]}")
        return os.environ.get(found[1], "")

    return text(_VARIABLE.sub(variable, value))


def apply_settings(data: dict[str, Any], settings: Sequence[str], model: Any) -> None:  # noqa: ANN401 - a type or union
    """Sets ``key.key=value`` in a manifest's values; a number stands for a place in a list, from 0.

    Values are YAML, but those of locations a text as it is. Texts become `TypedText`.

    Raises:
        UserError: a setting cannot be read, or names no place in the values.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting}: expected key=value, such as matching.rules.min_score_cosine=0.2")
        *parents, last = key.split(".")
        place: Any = data
        annotations = [model]
        for parent, below in zip(parents, [*parents, last][1:], strict=True):
            if isinstance(place, dict) and parent not in place and below.isdecimal():
                raise UserError(f"--set {setting}: the manifest has no list {parent!r}; set it whole")
            place = place.setdefault(parent, {}) if isinstance(place, dict) else place[_index(place, parent, setting)]
            if not isinstance(place, dict | list):
                raise UserError(f"--set {setting}: {parent!r} is no section of the manifest")
            annotations = annotations_below(annotations, parent)
        takes_location = any(map(is_location, annotations_below(annotations, last)))
        value = (_location_given if takes_location else _yaml_given)(text, key, setting)
        unset: list[str] = []
        place[last if isinstance(place, dict) else _index(place, last, setting)] = fill_variables(
            value, unset, key, TypedText
        )
        if unset:
            raise UserError(f"--set {setting}: no environment variable has that name")


def _yaml_given(text: str, key: str, setting: str) -> Any:  # noqa: ANN401 - any YAML value
    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        quoted = shlex.quote(f"{key}={json.dumps(text, ensure_ascii=False)}")
        raise UserError(
            f"--set {setting}: the value is not valid YAML: {error}\n"
            f"If it is meant as a text, put it in quotes of its own: --set {quoted}"
        ) from error


def _location_given(text: str, key: str, setting: str) -> Any:  # noqa: ANN401 - any YAML value
    """A location as it is typed, since {00000..00010}.tar, *.tar and 2024 are other things in YAML, or none.

    A list, null, and a text in quotes of its own are read as YAML.
    """
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        if text.startswith("[") and text.endswith("]"):
            quoted = shlex.quote(key + '=["{0..3}.tar", "b.tar"]')
            raise UserError(
                f"--set {setting}: the list is not valid YAML: {error}\n"
                f"Put each location in quotes, such as --set {quoted}"
            ) from error
        return text
    is_quoted = isinstance(value, str) and text.strip()[:1] in ("'", '"')
    return value if value is None or isinstance(value, list) or is_quoted else text


def _index(entries: list[Any], part: str, setting: str) -> int:
    """The place in a list that a part of a key names."""
    if not part.isdecimal() or int(part) >= len(entries):
        expected = f"a number from 0 to {len(entries) - 1}" if entries else "no part, as the list is empty"
        raise UserError(f"--set {setting}: {part!r} stands for a place in a list; expected {expected}")
    return int(part)
