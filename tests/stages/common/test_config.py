"""Configuration refuses what it does not know; its identity leaves out where things lie; JSON has one form."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import ValidationError

from stages.common import Config, Location, canonical_json, digest, identity, sha256_hex


class Inner(Config):
    kind: Literal["inner"] = "inner"
    path: Location
    size: int = 3


class Outer(Config):
    inner: Inner
    maybe: Location | None = None
    several: tuple[Location, ...] = ()
    words: tuple[str, ...] = ()


def outer(**values: object) -> Outer:
    return Outer.model_validate({"inner": {"path": "a"}, **values})


def test_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Inner.model_validate({"path": "a", "colour": 1})


def test_a_parsed_value_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        outer().words = ("b",)  # type: ignore[misc]


def test_identity_leaves_out_locations_wherever_they_stand() -> None:
    here = outer(inner={"path": "/here"}, maybe="/here", several=["/here"])
    there = outer(inner={"path": "s3://there"}, several=["/there", "/too"])
    assert identity(here) == identity(there) == {"inner": {"kind": "inner", "size": 3}, "words": []}


def test_identity_keeps_all_else() -> None:
    assert identity(outer(words=["x"])) != identity(outer())
    assert identity(outer(inner={"path": "a", "size": 4})) != identity(outer())


def test_identity_is_json() -> None:
    assert canonical_json(identity(outer(words=["x"]))) == b'{"inner":{"kind":"inner","size":3},"words":["x"]}'


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'.encode()
    assert canonical_json({"x": 1, "y": 2}) == canonical_json({"y": 2, "x": 1})
    assert canonical_json((1, 2)) == canonical_json([1, 2])


def test_lone_surrogate_becomes_readable_utf8() -> None:
    assert canonical_json("a\ud800b") == b'"a?b"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_numbers_that_are_no_json_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


def test_other_objects_are_no_json() -> None:
    with pytest.raises(TypeError):
        canonical_json({1, 2})


def test_digest_is_the_hash_of_the_canonical_form() -> None:
    assert digest({"b": 1, "a": 2}) == sha256_hex(b'{"a":2,"b":1}')
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
