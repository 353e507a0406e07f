"""What the documentation says of manifests and files is what the code does."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.finalise import TABLES
from pipeline.manifest import BuildManifest
from stages.common import DOES_NOT_COUNT, Config, load
from stages.common.config import is_location
from stages.common.renames import RENAMED
from tests.pipeline.conftest import run_build
from tests.places import configs_in

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
MANIFESTS = sorted((ROOT / "manifests/build").glob("*.yaml"))
SECTIONS = {"source", "proposals", "nouns", "matching", "shards"}
REST = {
    "version": 2,
    "kind": "build",
    "source": {"kind": "coco", "images": "photos", "captions": "captions.json"},
    "proposals": {"proposer": {"kind": "classical"}},
    "matching": {"clip": {"model": "ViT-B-16", "pretrained": "openai"}},
}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def manifest_blocks() -> Iterator[Any]:
    for page in PAGES:
        for number, text in enumerate(blocks(page, "yaml")):
            values = yaml.safe_load(text)
            keys = values.keys() if isinstance(values, dict) else set()
            if keys & SECTIONS or (keys and keys <= set(BuildManifest.model_fields)):
                yield pytest.param(values, id=f"{page.name}-{number}")


@pytest.mark.parametrize("values", list(manifest_blocks()))
def test_manifests_in_the_documentation_load(values: dict[str, Any], tmp_path: Path) -> None:
    """Parts of manifests are completed first; a section that is there must be right in itself."""
    file = tmp_path / "manifest.yaml"
    is_whole = {"source", "proposals", "matching"} <= values.keys()
    file.write_text(yaml.safe_dump(values if is_whole else {**REST, **values}))
    load(BuildManifest, file)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_shipped_manifests_load(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$\{(\w+)\}", file.read_text()):
        monkeypatch.setenv(name, "/somewhere")
    load(BuildManifest, file)


def test_documentation_has_manifests() -> None:
    assert len(list(manifest_blocks())) >= 8
    assert len(MANIFESTS) >= 5


def keys_of(model: type[Config], parent: str = "", counts: bool = True) -> Iterator[tuple[str, Any, str]]:
    """Dotted keys of values, their fields, and what the identity holds of them; sections are gone into."""
    for name, field in model.model_fields.items():
        inside = list(configs_in(field.annotation))
        is_in_identity = counts and DOES_NOT_COUNT not in field.metadata
        for section in inside:
            yield from keys_of(section, f"{parent}{name}.", is_in_identity)
        if not inside or name == "pools":
            place = counts and is_location(field.rebuild_annotation())
            yield f"{parent}{name}", field, "no: content" if place else "yes" if is_in_identity else "no"


def rows_of_keys() -> dict[str, list[list[str]]]:
    """Cells (type, default, meaning, identity) of the rows of docs/manifest.md, by key."""
    rows: dict[str, list[list[str]]] = {}
    for line in (ROOT / "docs/manifest.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and re.fullmatch(r"`[\w.]+`", cells[0]):
            rows.setdefault(cells[0].strip("`"), []).append(cells[1:])
    return rows


def test_every_key_of_the_manifest_is_documented_with_its_default_and_its_part_in_the_identity() -> None:
    rows = rows_of_keys()
    keys = list(keys_of(BuildManifest))
    assert {key for key, *_ in keys} == rows.keys()
    for key, field, part in keys:
        if key == "nouns.extractor.kind":  # the section's default, not the key's, decides
            continue
        defaults = {as_text(yaml.safe_load(value)) for row in rows[key] for value in re.findall(r"`([^`]*)`", row[1])}
        if field.is_required() or key in ("version", "kind") or key.endswith(".kind"):
            assert any(row[1] == "required" for row in rows[key]), key
        else:
            assert as_text(field.default) in defaults, (key, field.default, defaults)
        assert all(row[3].partition(" (")[0] == part for row in rows[key]), key


def test_every_old_key_is_documented_with_its_new_name() -> None:
    section = (ROOT / "docs/manifest.md").read_text(encoding="utf-8").partition("\n## Version 2\n")[2]
    said = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \| (.*) \|$", section, re.MULTILINE)
    documented = {(kind, old, new) for old, new, kinds in said for kind in re.findall(r"\w+", kinds)}
    assert documented == {(kind, old, new) for kind, keys in RENAMED.items() for old, new in keys.items()}


def as_text(value: Any) -> str:  # noqa: ANN401 - YAML values
    return f"{value:.4g}" if isinstance(value, float | int) and not isinstance(value, bool) else json.dumps(value)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, photos: Path, tiny_clip: str) -> Path:
    """Six photos, mined: two shards."""
    from tests.pipeline.conftest import manifest_values

    out = tmp_path_factory.mktemp("docs") / "out"
    run_build(BuildManifest.model_validate(manifest_values(photos, tiny_clip, source__limit=6)), out)
    return out


def named(page: str) -> set[str]:
    """Words that a page has in backticks."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {word for quoted in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[\w.]+", quoted)}


def test_every_column_and_every_key_of_a_sample_is_documented(built: Path) -> None:
    words = named("formats.md")
    for table, schema in TABLES.items():
        assert set(schema.names) <= words, table
    with tarfile.open(built / "shards/000000.tar") as tar:
        members = tar.getnames()
        first = members[0].partition(".")[0]
        values = json.loads(tar.extractfile(f"{first}.json").read())  # type: ignore[union-attr]
    assert values.keys() <= words
    assert {f"KEY.{name.partition('.')[2]}" for name in members} <= words
    lock = json.loads((built / "build.lock.json").read_text())
    assert {*lock, *lock["counts"], *lock["units"][0], *lock["plan"]} <= words
    assert json.loads((built / ".maskmine/receipts/000000.json").read_text()).keys() <= words
    hidden = {path.name for path in (built / ".maskmine").iterdir()}
    assert {name for name in hidden if "." in name} <= words


def test_every_reason_for_quarantine_is_documented() -> None:
    """Reasons stand as literals where they are given; those of samples of shards are told to who trains on them."""
    files = [file for room in ("stages", "pipeline") for file in (ROOT / room).rglob("*.py")]
    code = "\n".join(file.read_text() for file in files if file.parent.name != "shards")
    reasons = set(re.findall(r"SampleError\(\s*\"(\w+)\"", code))
    reasons |= set(re.findall(r"quarantine_caption\(image, number, \"(\w+)\"", code))
    reasons |= set(re.findall(r"unit\.quarantine_image\(image, stage, \"(\w+)\"", code))
    reasons |= set(re.findall(r"problems\.row\(\s*[^,]+, \"(\w+)\"", code))
    sources = "\n".join(file.read_text() for file in (ROOT / "pipeline/sources").rglob("*.py"))
    reasons |= set(re.findall(r"aside\.add\(\"\w+\", [^,]+, \"(\w+)\"", sources))
    reasons |= set(
        re.findall(
            r"^_?(?:BAD|OTHER|UNREADABLE|UNEXPECTED)\w*(?:, \w+)* = \"(\w+)\"(?:, \"\w+\")*$", code, re.MULTILINE
        )
    )
    assert {
        "missing_file",
        "long_caption",
        "unexpected_error",
        "bad_json",
        "unknown_image",
        "bad_segmentation",
    } <= reasons
    assert reasons <= named("formats.md")


def test_snippets_of_the_formats_page_run(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(built)
    place: dict[str, Any] = {}
    try:
        for text in blocks(ROOT / "docs/formats.md", "python"):
            exec(text, place)
        assert place["whole"].any()
        load(BuildManifest, Path("manifest.yaml"))
        for text in blocks(ROOT / "docs/formats.md", "sql"):
            for query in filter(str.strip, text.split(";")):
                duckdb.sql(query).fetchall()
    finally:
        Path("manifest.yaml").unlink(missing_ok=True)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
