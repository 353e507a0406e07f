"""What the page says, and what it must never do, whatever captions and file names hold."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.report.page import write_report
from pipeline.report.reasons import MEANINGS
from pipeline.report.tables import read_pairs
from pipeline.verify import verify
from stages.common import Folder, UserError
from tests.pipeline.conftest import bytes_of
from tests.pipeline.report.conftest import Page

ROOT = Path(__file__).parents[3]
Make = Callable[..., Path]


@pytest.fixture
def out(ordinary: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(ordinary, tmp_path / "copy")


def rewritten(out: Path, pictures: int = 12) -> Page:
    write_report(Folder(str(out)), pictures)
    return Page(out)


def test_page_loads_nothing_and_runs_nothing_whatever_captions_and_names_hold(hostile: Path) -> None:
    page = Page(hostile)
    assert page.all("script") == []
    assert [
        name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"
    ] == []
    sources = [attributes.get("src") or "" for attributes in page.all("img")]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attributes.get("href") or "" for _, attributes in page.tags if "href" in attributes]
    assert all(link.startswith("#") for link in links)
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"link", "iframe", "object", "embed", "form", "base", "audio", "video"}
    )
    assert "url(" not in page.html
    assert "@import" not in page.html


def test_hostile_text_is_shown_as_text(hostile: Path) -> None:
    page = Page(hostile)
    assert "<script>document.title='pwned'</script> a" in page.text
    assert "</bdi></p></main>" in page.text
    assert "⟨U+202E⟩ball⟨U+202C⟩" in page.text
    assert re.search("[\u202a-\u202e\u2066-\u2069\u200b\u0007]", page.html) is None
    assert "\U0001f468\u200d\U0001f469\u200d\U0001f467" in page.text
    assert "كرة حمراء" in page.text


def test_policy_forbids_everything_but_this_style_and_pictures_within(ordinary: Path) -> None:
    page = Page(ordinary)
    style = re.search("<style>(.*?)</style>", page.html, re.DOTALL)
    assert style is not None
    hashed = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    [policy] = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    )


def test_noun_is_marked_in_the_caption_and_the_mask_outlined(ordinary: Path) -> None:
    page = Page(ordinary)
    cards = page.all("li", "card")
    assert len(cards) == len(page.all("mark")) == len(page.all("svg", "outline")) > 12
    index = pyarrow.parquet.read_table(ordinary / "index.parquet").to_pylist()
    best = index[read_pairs(Folder(str(ordinary))).best.rows(1)[0]]
    first = page.html[page.html.index('<li class="card">') :]
    marked = re.search('<p class="caption" dir="auto">(.*?)<mark>(.*?)</mark>(.*?)</p>', first)
    assert marked is not None
    assert "".join(marked.groups()) == best["caption"]
    assert marked[2].lower() == best["noun"]
    assert all(attributes.get("alt") for attributes in page.all("img"))


def test_counts_are_those_of_the_build(hostile: Path) -> None:
    page = Page(hostile)
    counts = json.loads((hostile / "build.lock.json").read_text())["counts"]
    tiles = dict(re.findall(r"<div[^>]*><dt>([^<]*)</dt><dd>([\d,]+)", page.html))
    assert tiles["pairs"] == f"{counts['pairs']:,}"
    assert tiles["with pairs"] == f"{counts['images_pairs']}"
    assert tiles["quarantined inputs"] == "2"
    assert {"missing_file", "long_caption"} <= set(re.findall("<code>(.*?)</code>", page.html))


def test_headings_are_in_order_and_tables_have_headers(ordinary: Path) -> None:
    page = Page(ordinary)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))


def test_build_without_pairs_says_why(make_build: Make) -> None:
    def silent(photos: Path, captions: dict) -> None:  # type: ignore[type-arg]
        for annotation in captions["annotations"]:
            annotation["caption"] = "Running and jumping quickly."

    page = Page(make_build(silent, number=2))
    assert "This build has no pairs" in page.text
    assert "no_nouns" in page.text
    assert page.all("li", "card") == []


def test_build_of_nothing_but_bad_photos(make_build: Make) -> None:
    def broken(photos: Path, captions: dict) -> None:  # type: ignore[type-arg]
        for file in (photos / "images").iterdir():
            file.write_bytes(b"broken")

    page = Page(make_build(broken, number=3))
    assert "This build has no pairs" in page.text
    assert page.text.count("photo not readable") == 3
    assert page.all("img") == []


def test_few_pairs_are_shown_once(make_build: Make) -> None:
    def one(photos: Path, captions: dict) -> None:  # type: ignore[type-arg]
        captions["annotations"] = [{**captions["annotations"][0], "caption": "a ball"}]

    page = Page(make_build(one, number=1))
    assert len(page.all("li", "card")) == 1
    assert "All pairs" in page.text
    assert "1 different noun " in page.text


def test_page_depends_on_the_folder_alone_and_changes_nothing_of_the_build(out: Path) -> None:
    before, page = bytes_of(out), (out / "report.html").read_bytes()
    assert rewritten(out).html.encode() == page
    assert bytes_of(out) == before
    assert verify(str(out))[1] == []


def test_folder_without_its_hidden_part_is_reported_with_what_is_left(out: Path) -> None:
    assert "not recorded" not in Page(out).text
    shutil.rmtree(out / ".maskmine")
    page = rewritten(out)
    assert page.text.count("not recorded in this folder") == 2
    assert len(page.all("svg", "outline")) > 12


def test_spoilt_shard_costs_its_pictures_only(out: Path) -> None:
    (out / "shards/000000.tar").write_bytes(b"spoilt")
    (out / "shards/000001.tar").unlink()
    page = rewritten(out)
    assert "no picture: shards/000000.tar cannot be read here" in page.text
    assert "no picture: shards/000001.tar cannot be read here" in page.text
    assert page.all("img")


def test_command_writes_as_many_pictures_as_asked_for(out: Path) -> None:
    ended = CliRunner().invoke(app, ["report", str(out), "--pairs", "3"])
    assert ended.exit_code == 0
    assert ended.stdout.splitlines()[-1].startswith(f"{out}/report.html: ")
    assert len(Page(out).all("li", "card")) == 4 * 3


def test_what_is_no_finished_build_is_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished build"):
        write_report(Folder(str(tmp_path / "nothing")))
    (out / "images.parquet").write_bytes(b"spoilt")
    with pytest.raises(UserError, match="maskmine verify"):
        write_report(Folder(str(out)))
    (out / "index.parquet").unlink()
    with pytest.raises(UserError, match="missing"):
        write_report(Folder(str(out)))


def test_every_documented_reason_is_explained() -> None:
    text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| `(?:dropped` \||\w+\.?` \|).*$", text, re.MULTILINE)
    dropped = re.findall(r"^\| `(?:noun|proposal|match)\.` \| [^|]* \| (.*) \|$", text, re.MULTILINE)
    quarantine = text[text.index("| reason | stage | of |") : text.index("A quarantined image gives no pairs")]
    rows = [line.split("|")[1] for line in quarantine.splitlines() if line.startswith("| `")]
    reasons = {reason for part in [*dropped, *rows] for reason in re.findall(r"`(\w+)`", part)}
    assert len(tables) > 3
    assert len(reasons) > 25
    assert reasons <= MEANINGS.keys()
