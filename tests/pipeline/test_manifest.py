"""Manifests: all mistakes reported together, each with its key and what was expected; locations and variables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.manifest import STAGES, BuildManifest
from pipeline.sources.config import CocoSource, TableSource
from stages.common import Config, Location, UserError, load, read_settings, validate
from stages.nouns import SpacyNouns


def good(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML values
    """The smallest manifest; `a__b=value` sets a nested key."""
    values: dict[str, Any] = {
        "version": 2,
        "kind": "build",
        "source": {"kind": "coco", "images": "photos", "captions": "captions.json"},
        "proposals": {"proposer": {"kind": "classical"}},
        "matching": {"clip": {"model": "local-dir:clip"}},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return values


def problems(**changes: Any) -> list[str]:  # noqa: ANN401
    """The lines of the error that a changed manifest gives."""
    with pytest.raises(UserError) as caught:
        validate(BuildManifest, good(**changes), "my.yaml")
    first, *lines = str(caught.value).splitlines()
    assert first == f"my.yaml: {len(lines)} problem(s) in the manifest:"
    return [line.strip() for line in lines]


def written(folder: Path, values: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "manifest.yaml"
    file.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return file


def test_reports_all_wrong_keys_together_each_with_what_was_expected() -> None:
    found = problems(
        sed=3, seed="x", run__workers=0, run__runner="dask", matching__rules={"min_score_cosine": 2}, source__limit=0
    )
    assert sorted(found) == [
        "matching.rules.min_score_cosine: expected a number less than or equal to 1 (found 2)",
        "run.runner: expected 'ray' or 'loop' (found 'dask')",
        "run.workers: expected a number greater than or equal to 1 (found 0)",
        "sed: unknown key; check its spelling, or remove it",
        "seed: expected a valid integer, unable to parse string as an integer (found 'x')",
        "source.limit: expected a number greater than or equal to 1 (found 0)",
    ]


def test_empty_manifest_names_the_required_sections() -> None:
    with pytest.raises(UserError) as caught:
        validate(BuildManifest, {}, "my.yaml")
    for key in ("source", "proposals", "matching"):
        assert f"  {key}: this key is required" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        ("source", ["coco", "table", "webdataset"]),
        ("nouns.extractor", ["nltk", "spacy"]),
        ("proposals.proposer", ["classical", "ground_truth", "precomputed", "sam", "eomt", "oneformer"]),
    ],
)
@pytest.mark.parametrize("value", [{"kind": "cocoo"}, {}, "coco", None])
def test_wrong_kind_lists_the_allowed_kinds(key: str, kinds: list[str], value: object) -> None:
    (line,) = problems(**{key.replace(".", "__"): value})
    assert line.startswith(f"{key}: ")
    for kind in kinds:
        assert f"'{kind}'" in line


def test_key_inside_a_kind_is_named_without_the_kind() -> None:
    assert problems(proposals__proposer={"kind": "sam"}) == ["proposals.proposer.model: this key is required"]
    assert problems(proposals__proposer={"kind": "classical", "sam": 2}) == [
        "proposals.proposer.sam: unknown key; check its spelling, or remove it"
    ]


@pytest.mark.parametrize("templates", [["a photo"], ["{} and {}"], [], ["a {}", "b"]])
def test_template_needs_one_slot(templates: list[str]) -> None:
    (line,) = problems(matching__templates=templates)
    assert line.startswith("matching.templates: expected one or more texts with exactly one {}")


@pytest.mark.parametrize("order", [["nouns", "read", "proposals", "matching", "shards"], ["read"], [*STAGES, "read"]])
def test_pools_hold_all_stages_in_order(order: list[str]) -> None:
    (line,) = problems(run__pools=[{"stages": order}])
    assert line.startswith("run.pools: the pools' stages together must be read, nouns, proposals, matching, shards")


def test_defaults() -> None:
    manifest = validate(BuildManifest, good(), "my.yaml")
    assert isinstance(manifest.nouns.extractor, SpacyNouns)
    assert manifest.matching.rules.strategy == "mutual_best"  # docs/audit.md says why
    assert (manifest.run.runner, manifest.run.workers, manifest.run.pools) == ("ray", None, ())
    assert manifest.source.use_captions == "all"  # type: ignore[union-attr]


def test_parsed_manifest_never_changes() -> None:
    manifest = validate(BuildManifest, good(), "my.yaml")
    with pytest.raises(ValueError, match="frozen"):
        manifest.seed = 3  # type: ignore[misc]


def test_excluded_ids_may_be_numbers() -> None:
    assert validate(BuildManifest, good(source__exclude=[107, "b"]), "my.yaml").source.exclude == ("107", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1, 2", "not valid YAML"),
        ("- source\n- proposals", "expected a mapping with the keys version, kind, source, proposals, matching"),
        ("", "expected a mapping"),
        ("just text", "expected a mapping"),
    ],
)
def test_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        load(BuildManifest, file)
    assert str(file) in str(caught.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot read the manifest") as caught:
            load(BuildManifest, file)
        assert str(file) in str(caught.value)
    (tmp_path / "latin.yaml").write_bytes("source: caf\xe9".encode("latin-1"))
    with pytest.raises(UserError, match="cannot read the manifest"):
        load(BuildManifest, tmp_path / "latin.yaml")


def coco(manifest: BuildManifest) -> CocoSource:
    assert isinstance(manifest.source, CocoSource)
    return manifest.source


def test_relative_locations_are_relative_to_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = good(source__masks=["masks/a.json", "/b.json"], run__cache="cache", source__captions="s3://bucket/c.json")
    manifest = load(BuildManifest, written(tmp_path / "deep", values))
    source, base = coco(manifest), tmp_path / "deep"
    assert source.images == str(base / "photos")
    assert source.masks == (str(base / "masks/a.json"), "/b.json")
    assert source.captions == "s3://bucket/c.json"
    assert manifest.matching.clip.model == f"local-dir:{base / 'clip'}"
    assert manifest.run.cache == str(base / "cache")


def test_names_that_are_no_paths_stay(tmp_path: Path) -> None:
    values = good(
        matching__clip={"model": "ViT-B-16", "pretrained": "openai"},
        run__cache="none",
        proposals__proposer={"kind": "mask2former", "model": "facebook/mask2former"},
    )
    manifest = load(BuildManifest, written(tmp_path, values))
    assert (manifest.matching.clip.model, manifest.matching.clip.pretrained) == ("ViT-B-16", "openai")
    assert manifest.run.cache == "none"
    assert manifest.proposals.proposer.model == "facebook/mask2former"  # type: ignore[union-attr]


def test_local_weights_are_relative_to_the_manifest(tmp_path: Path) -> None:
    values = good(matching__clip={"model": "ViT-B-16", "pretrained": "./weights.pt"})
    assert load(BuildManifest, written(tmp_path, values)).matching.clip.pretrained == str(tmp_path / "weights.pt")


def test_settings_take_the_place_of_keys_and_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path / "deep", good())
    settings = ["source.images=mine", "matching.rules.min_score_cosine=0.25", "source.exclude=[a, b]", "seed=7"]
    manifest = load(BuildManifest, file, settings)
    assert coco(manifest).images == str(tmp_path / "mine")
    assert coco(manifest).captions == str(tmp_path / "deep/captions.json")
    assert manifest.matching.rules.min_score_cosine == 0.25
    assert manifest.source.exclude == ("a", "b")
    assert manifest.seed == 7


def test_settings_reach_into_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path / "deep", good(source__masks=["a.json", "b.json"], source__exclude=["x"]))
    source = coco(load(BuildManifest, file, ["source.masks.1=mine.json", "source.exclude.0=y"]))
    assert source.masks == (str(tmp_path / "deep/a.json"), str(tmp_path / "mine.json"))
    assert source.exclude == ("y",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("source.exclude.2=x", "'2' stands for a place in a list; expected a number from 0 to 1"),
        ("source.exclude.first=x", "expected a number from 0 to 1"),
        ("source.exclude.0.deep=x", "'0' is no section"),
        ("source.masks.0=x", "the list is empty"),
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("seed.deep=3", "'seed' is no section"),
        ("seed=[1", "not valid YAML"),
        ("source.images=${MASKMINE_NOT_SET}", "no environment variable"),
        ("source.imgaes=x", "source.imgaes: unknown key"),
    ],
)
def test_wrong_setting_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(BuildManifest, written(tmp_path, good(seed=1, source__exclude=["a", "b"], source__masks=[])), [setting])
    if "unknown" not in message:
        assert f"--set {setting}" in str(caught.value)


def test_a_variable_whose_key_a_setting_replaces_need_not_be_set(tmp_path: Path) -> None:
    file = written(tmp_path, good(source__images="${MASKMINE_NOT_SET}/photos"))
    with pytest.raises(UserError, match=r"source\.images"):
        load(BuildManifest, file)
    assert load(BuildManifest, file, ["source.images=/photos"]).source.images == "/photos"


def test_environment_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOS", "/photos of mine")
    source = {"kind": "table", "path": "${PHOTOS}/a.csv", "root": "${PHOTOS}"}
    table = load(BuildManifest, written(tmp_path, good(source=source))).source
    assert isinstance(table, TableSource)
    assert (table.path, table.root) == ("/photos of mine/a.csv", "/photos of mine")


def test_all_unset_variables_are_named_with_their_keys(tmp_path: Path) -> None:
    values = good(source__images="${MASKMINE_NO}/a", source__masks=["${MASKMINE_NEITHER}"])
    with pytest.raises(UserError) as caught:
        load(BuildManifest, written(tmp_path, values))
    assert "source.images: ${MASKMINE_NO}" in str(caught.value)
    assert "source.masks: ${MASKMINE_NEITHER}" in str(caught.value)
    assert str(tmp_path / "manifest.yaml") in str(caught.value)


def test_shipped_manifests_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((Path(__file__).parents[2] / "manifests/build").glob("*.yaml"))
    assert files
    for file in files:
        for name in re.findall(r"\$\{(\w+)\}", file.read_text()):
            monkeypatch.setenv(name, "/data")
        load(BuildManifest, file)


def test_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("seed: 1\nsource: {kind: table, path: a.csv}\nseed: 2\n")
    with pytest.raises(UserError, match=r"'seed' stands twice(.|\n)*line 1"):
        load(BuildManifest, file)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("source.path={00000..00010}.tar", "CWD/{00000..00010}.tar"),
        ("source.path={0..9}", "CWD/{0..9}"),
        ("source.path=*.tar", "CWD/*.tar"),
        ("source.path=[ab]*.tar", "CWD/[ab]*.tar"),
        ("source.path=2024", "CWD/2024"),
        ("source.path=a: b #1.tar", "CWD/a: b #1.tar"),
        ("source.path='{0..9}.tar'", "CWD/{0..9}.tar"),
        ("source.path=s3://b/{0..9}.tar", "s3://b/{0..9}.tar"),
        ("source.path=~/a.tar", "HOME/a.tar"),
    ],
)
def test_a_location_is_taken_as_it_is_typed(
    setting: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/home/me")
    file = written(tmp_path, good(source={"kind": "webdataset", "path": "x.tar"}))
    expected = expected.replace("CWD", str(tmp_path / "here")).replace("HOME", "/home/me")
    assert load(BuildManifest, file, [setting]).source.path == expected  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("source.masks=[a.json, b.json]", ("CWD/a.json", "CWD/b.json")),
        ("source.masks.0={0..1}.json", ("CWD/{0..1}.json",)),
        ("source.panoptic_folder=null", None),
        ("matching.clip.pretrained=./w.pt", "CWD/w.pt"),
        ("matching.clip.pretrained=openai", "openai"),
        ("matching.clip.model=local-dir:clips/a", "local-dir:CWD/clips/a"),
        ("matching.clip={model: 'local-dir:a'}", {"model": "local-dir:CWD/a"}),
        ("nouns.extractor={kind: nltk, tagger: t}", {"kind": "nltk", "tagger": "CWD/t"}),
        ("run.cache=none", "none"),
        ("run={cache: mine}", {"cache": "CWD/mine"}),
        ("shards={images_per_shard: 4}", {"images_per_shard": 4}),
    ],
)
def test_settings_of_lists_names_and_sections_are_yaml(
    setting: str, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = written(tmp_path, good(source__masks=["x.json"]))
    found: Any = load(BuildManifest, file, [setting])
    for part in setting.partition("=")[0].removesuffix(".0").split("."):
        found = getattr(found, part)
    if isinstance(found, Config):
        found = found.model_dump(include=set(expected))  # type: ignore[call-overload]
    if isinstance(expected, tuple):
        assert found == tuple(one.replace("CWD", str(Path.cwd())) for one in expected)
    elif isinstance(expected, dict):
        cwd = str(Path.cwd())
        assert found == {key: one.replace("CWD", cwd) if isinstance(one, str) else one for key, one in expected.items()}
    else:
        assert found == (expected.replace("CWD", str(Path.cwd())) if isinstance(expected, str) else expected)


class Words(Config):
    """Settings without a file."""

    words: str = ""
    place: Location | None = None
    captions: int = 0


def test_a_setting_that_is_no_yaml_is_told_the_quotes() -> None:
    with pytest.raises(UserError) as caught:
        read_settings(Words, ["words={a}.b"])
    remedy = str(caught.value).splitlines()[-1].partition("--set ")[2]
    assert read_settings(Words, shlex.split(remedy)).words == "{a}.b"


def test_a_list_of_locations_that_is_no_yaml_names_the_quotes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)--set source\.masks=.*: .*each location in quotes"):
        load(BuildManifest, written(tmp_path, good()), ["source.masks=[{0..3}.json, b]"])


def test_settings_without_a_file_make_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings(Words, ["captions=2", "place={0..2}"]) == Words(captions=2, place=str(tmp_path / "{0..2}"))
    with pytest.raises(UserError, match=r"(?s)--set: 1 problem.*captoins: unknown key"):
        read_settings(Words, ["captoins=2"])


def test_a_manifest_without_a_version_is_of_version_1_and_is_told_what_to_change(tmp_path: Path) -> None:
    values = good(source__listing="names", proposals__refine={"max_crumb_fraction": 0})
    del values["version"], values["kind"]
    with pytest.raises(UserError) as caught:
        load(BuildManifest, written(tmp_path, values))
    first, *changes = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path / 'manifest.yaml'}: a manifest of version 1")
    assert [line.strip() for line in changes] == [
        "set version: 2",
        "set kind: build",
        "source.listing is now source.scan",
        "proposals.refine.max_crumb_fraction is now proposals.refine.max_island_fraction",
    ]


def test_an_old_key_in_a_manifest_of_version_2_is_told_its_new_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.listing: unknown key; source\.listing is now source\.scan"):
        load(BuildManifest, written(tmp_path, good()), ["source.listing=names"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "version: expected the number 2, found 3"),
        ({"kind": "adapt"}, "kind: expected build, found 'adapt'"),
        ({"kind": "adapt", "version": 1}, "kind: expected build, found 'adapt'"),
        ({"kind": None}, "kind: this key is required; expected build"),
    ],
)
def test_another_kind_or_version_is_refused_alone(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Of such a manifest no other key is judged."""
    file = written(tmp_path, {**good(), "odd": 1, **change})
    with pytest.raises(UserError) as caught:
        load(BuildManifest, file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "odd" not in str(caught.value)


def test_a_place_in_a_list_that_the_manifest_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--set run\.pools\.0\.actors=1: the manifest has no list 'pools'; set it whole"
    ):
        load(BuildManifest, written(tmp_path, good()), ["run.pools.0.actors=1"])
