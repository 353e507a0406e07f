"""Builds to report on: an ordinary one, and one whose captions and file names are meant to do harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.manifest import BuildManifest
from tests.photos import write_photos
from tests.pipeline.conftest import manifest_values, run_build

HOSTILE = (
    "<script>document.title='pwned'</script> a ball next to a box",
    "A \"ball\" & a 'box' <img src=x onerror=\"document.title='pwned'\"> on </bdi></p></main> grass",
    "A \u202eball\u202c and a \u2067box\u2069 with \u200b\u0007 a plate",
    "a ball " + "loooooong" * 60 + " a tree",
    "\U0001f436 a dog \U0001f468\u200d\U0001f469\u200d\U0001f467 and a ball, كرة حمراء",
)
HOSTILE_NAME = "\"><img src=x onerror=document.title='pwned'>\u202egpj." + "n" * 120 + ".jpg"


@pytest.fixture(scope="session")
def make_build(tiny_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Mines a few photos whose captions and files a function may change first."""

    def make(change: Callable[[Path, dict], None] | None = None, number: int = 6, **keys: object) -> Path:  # type: ignore[type-arg]
        folder = tmp_path_factory.mktemp("report")
        photos = write_photos(folder / "photos", number)
        if change:
            captions = json.loads((photos / "captions.json").read_text())
            change(photos, captions)
            (photos / "captions.json").write_text(json.dumps(captions))
        run_build(BuildManifest.model_validate(manifest_values(photos, tiny_clip, **keys)), folder / "out")
        return folder / "out"

    return make


@pytest.fixture(scope="session")
def ordinary(make_build: Callable[..., Path]) -> Path:
    return make_build(number=10)


@pytest.fixture(scope="session")
def hostile(make_build: Callable[..., Path]) -> Path:
    """Photo 0 has a bad name, 1 a bad name and no file, 2 a caption that is too long, all have bad captions."""

    def change(photos: Path, captions: dict) -> None:  # type: ignore[type-arg]
        for number, annotation in enumerate(captions["annotations"]):
            annotation["caption"] = HOSTILE[number % len(HOSTILE)]
        captions["annotations"][11]["caption"] = HOSTILE[0] * 40
        (photos / "images" / captions["images"][0]["file_name"]).rename(photos / "images" / HOSTILE_NAME)
        captions["images"][0]["file_name"] = HOSTILE_NAME
        captions["images"][1]["file_name"] = "<script>document.title='pwned'</script>".replace("/", "") + ".jpg"

    return make_build(change)


class Page(HTMLParser):
    """Tags with their attributes, and the visible text, of a report."""

    def __init__(self, out: Path | str) -> None:
        super().__init__()
        self.html = out if isinstance(out, str) else (out / "report.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._inside or self._inside[-1] != "style":
            self.text += data

    def all(self, tag: str, css_class: str | None = None) -> list[dict[str, str | None]]:
        found = [attributes for name, attributes in self.tags if name == tag]
        return [a for a in found if css_class is None or css_class in (a.get("class") or "").split()]
