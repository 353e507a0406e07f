"""Configuration refuses what it does not know; its identity leaves out where things lie; JSON has one form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import ValidationError

from stages.common import (
    DOES_NOT_COUNT,
    Config,
    Location,
    ModelLocation,
    canonical_json,
    digest,
    identity,
    sha256_hex,
    validate,
)


class Inner(Config):
    kind: Literal["inner"] = "inner"
    path: Location
    size: int = 3


class Outer(Config):
    inner: Inner
    inners: tuple[Inner, ...] = ()
    often: Annotated[int, DOES_NOT_COUNT] = 1
    model: ModelLocation = "name"
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
    here = outer(inner={"path": "/here"}, inners=[{"path": "/here"}], maybe="/here", several=["/here"])
    there = outer(inner={"path": "s3://there"}, inners=[{"path": "/there"}], several=["/there", "/too"])
    kept = {"kind": "inner", "size": 3}
    assert identity(here) == identity(there) == {"inner": kept, "inners": [kept], "model": "name", "words": []}


def test_identity_leaves_out_what_is_marked() -> None:
    assert identity(outer(often=2)) == identity(outer())


def test_a_model_that_lies_here_stands_in_the_identity_without_its_place(tmp_path: Path) -> None:
    for place in (f"local-dir:{tmp_path}", "local-dir:s3://bucket/clip", str(tmp_path)):
        assert identity(outer(model=place))["model"] == "local"
    assert identity(outer(model="ViT-B-16"))["model"] == "ViT-B-16"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("maybe", "a/b", "BASE/a/b"),
        ("maybe", "~/a", "HOME/a"),
        ("maybe", "/a", "/a"),
        ("maybe", "s3://a", "s3://a"),
        ("maybe", None, None),
        ("several", ["a", "/b"], ("BASE/a", "/b")),
        ("model", "local-dir:a", "local-dir:BASE/a"),
        ("model", "local-dir:~/a", "local-dir:HOME/a"),
        ("model", "local-dir:s3://a", "local-dir:s3://a"),
        ("model", "./a", "BASE/a"),
        ("model", "../a", "BASE/../a"),
        ("model", "~/a", "HOME/a"),
        ("model", "hf-hub:a/b", "hf-hub:a/b"),
        ("model", "a/b", "a/b"),
        ("words", ["./a"], ("./a",)),
    ],
)
def test_locations_are_relative_to_the_manifest_s_folder(
    key: str, value: object, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    data = {"inner": {"path": "p"}, key: value}

    def placed(text: str) -> str:
        return text.replace("BASE", "/base").replace("HOME", "/home/me")

    found = validate(Outer, data, "test", Path("/base"))
    wanted = tuple(map(placed, expected)) if isinstance(expected, tuple) else expected
    assert getattr(found, key) == (placed(wanted) if isinstance(wanted, str) else wanted)
    assert found.inner.path == "/base/p"


def test_without_a_manifest_a_location_stays_as_it_is() -> None:
    assert outer(maybe="a").maybe == "a"
    assert validate(Outer, {"inner": {"path": "p"}, "model": "./a"}, "test").model == "./a"


def test_identity_keeps_all_else() -> None:
    assert identity(outer(words=["x"])) != identity(outer())
    assert identity(outer(inner={"path": "a", "size": 4})) != identity(outer())


def test_identity_is_json() -> None:
    assert canonical_json(identity(Inner(path="a"))) == b'{"kind":"inner","size":3}'


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
