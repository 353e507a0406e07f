"""Photos of the quarantine table, and times: what is shown, and what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.report.page import write_report
from pipeline.report.quarantined import Photos
from pipeline.report.timing import RUNS, read_timing, timed_run
from stages.common import Folder
from tests.pipeline.conftest import make_receipt
from tests.pipeline.report.conftest import Page

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def silent(make_build: Make) -> Path:
    """Photos 100 and 107 each have an empty caption, so that the photos themselves are fine."""

    def change(photos: Path, captions: dict) -> None:  # type: ignore[type-arg]
        for number in (0, 5):
            captions["annotations"][number]["caption"] = "  "

    return make_build(change, number=3)


def test_photo_is_shown_if_it_is_still_the_one_that_was_mined(silent: Path) -> None:
    thumbnails = [image for image in Page(silent).all("img") if (image["alt"] or "").startswith("Photo")]
    assert [image["alt"] for image in thumbnails] == ["Photo 000100.jpg", "Photo 000107.jpg"]
    photos = silent.parent / "photos/images"
    shutil.copy(photos / "000114.jpg", photos / "000100.jpg")
    (photos / "000107.jpg").unlink()
    write_report(Folder(str(silent)))
    page = Page(silent)
    assert "photo has changed" in page.text
    assert "photo is gone" in page.text


def test_photos_that_could_not_be_read_are_not_opened_again(silent: Path) -> None:
    lock = json.loads((silent / "build.lock.json").read_text())
    photos = Photos(Folder(str(silent)), lock["manifest"]["source"], {})
    photos._reader = None  # would fail
    row = {"unit": 0, "image_id": "100", "file": "f", "item": "image", "caption_number": None, "message": "m"}
    assert photos.show({**row, "stage": "read", "reason": "killed_process"}).no_picture == "not opened again"
    assert photos.show({**row, "stage": "read", "reason": "image_too_large"}).no_picture == "photo not readable"


@pytest.mark.parametrize("source", [None, {"kind": "unknown"}, {"kind": "table", "path": "http://somewhere/t.csv"}])
def test_sources_that_are_unknown_or_on_the_web_are_not_asked(silent: Path, source: object) -> None:
    row = {"unit": 0, "image_id": "100", "file": "f", "item": "caption", "caption_number": 0, "message": "m"}
    shown = Photos(Folder(str(silent)), source, {}).show({**row, "stage": "nouns", "reason": "empty_caption"})
    assert shown.picture is None
    assert shown.no_picture in ("source unknown", "photo is on the web")


def test_runs_are_timed_also_if_they_fail_and_runs_without_work_are_not(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    receipts = {0: make_receipt(0, images=3, pairs=7)}
    with timed_run(store, receipts, "loop"):
        pass
    assert not store.exists(RUNS)
    with suppress(KeyboardInterrupt), timed_run(store, receipts, "loop"):
        receipts[1] = make_receipt(1, images=2, pairs=4)
        raise KeyboardInterrupt
    with timed_run(store, receipts, "ray"):
        receipts[2] = make_receipt(2, images=1, pairs=1)
    lines = [json.loads(line) for line in store.read(RUNS).splitlines()]
    assert [(line["runner"], line["units"], line["images"], line["pairs"]) for line in lines] == [
        ("loop", 1, 2, 4),
        ("ray", 1, 1, 1),
    ]


def test_times_of_a_build_add_up(silent: Path) -> None:
    timing = read_timing(Folder(str(silent)), 1)
    assert (timing.runs, timing.units, timing.images, timing.runners) == (1, 1, 3, {"loop"})
    assert timing.seconds > 0
    assert set(timing.stage_seconds) == {"read", "nouns", "proposals", "matching", "shards"}
    assert timing.stage_seconds.total() <= timing.seconds + 0.1


def test_unreadable_times_are_left_out(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    (tmp_path / ".maskmine/receipts").mkdir(parents=True)
    store.write(RUNS, b'nonsense\n{"units": 1}\n[]\n\xff\n')
    store.write(".maskmine/receipts/000000.json", b'{"run": 5}')
    timing = read_timing(store, 1)
    assert (timing.runs, dict(timing.stage_seconds)) == (0, {})
