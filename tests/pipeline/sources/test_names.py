"""Names of photos: spellings of one file are one name, what no file can be called costs its own entry."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from pipeline.sources.config import AnySource, CocoSource, TableSource
from pipeline.sources.names import base_of, loosely, normal_name
from pipeline.sources.scan import add_scan, read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import SampleError, UserError
from tests.pipeline.sources.test_tables import lines, read, table


@pytest.mark.parametrize(
    ("name", "root", "wanted"),
    [
        ("a.jpg", "/data", "a.jpg"),
        ("/data/x/a.jpg", "/data", "x/a.jpg"),
        ("/data//x/../a.jpg", "/data/", "a.jpg"),
        ("/database/a.jpg", "/data", "/database/a.jpg"),
        ("file:///data/a.jpg", "/data", "a.jpg"),
        ("FILE:///other/a.jpg", "/data", "/other/a.jpg"),
        ("/data/a.jpg", ".", "/data/a.jpg"),
        ("/a.jpg", "/", "/a.jpg"),
        ("s3://b/in/a.jpg", "s3://b/in", "a.jpg"),
        ("s3://b/inner/a.jpg", "s3://b/in", "s3://b/inner/a.jpg"),
        ("http://h/a.jpg?x=./1", "http://h", "a.jpg?x=./1"),
    ],
)
def test_a_name_below_the_root_is_relative_to_it(name: str, root: str, wanted: str) -> None:
    assert normal_name(name, root) == wanted


def test_one_photo_by_its_path_its_url_and_its_name_is_one_image(tmp_path: Path) -> None:
    folder = tmp_path / "my (photos) [1]+é"
    folder.mkdir()
    names = ["a.jpg", f"{folder}/a.jpg", f"file://{folder}/a.jpg", f"{folder}//./b/../a.jpg", "./a.jpg"]
    (one,) = table(folder, "t.jsonl", lines(*({"image": name, "caption": str(at)} for at, name in enumerate(names))))
    assert (one.image_id, one.file, one.captions) == ("a.jpg", "a.jpg", ("0", "1", "2", "3", "4"))


@pytest.mark.parametrize("url", ["s3://", "http://", "memory:///", "s3:// "])
def test_a_protocol_alone_is_no_address(url: str) -> None:
    with pytest.raises(SampleError, match="no address, but its beginning"):
        normal_name(url)


def test_roots_that_cut_nothing_off() -> None:
    assert [base_of(root) for root in ("", ".", "/", "..", "here/there")] == [""] * 5


def test_ids_that_are_no_ids_cost_their_rows(tmp_path: Path) -> None:
    ids = (float("nan"), -float("inf"), " ")
    rows = [{"image": f"{number}", "caption": "x", "id": value} for number, value in enumerate(ids)]
    captions, aside, _ = read(
        tmp_path, "t.jsonl", lines(*rows, {"image": "d", "caption": "y", "id": " 7 "}), columns={"id": "id"}
    )
    assert captions == {"7": ("y",)}
    assert [(item, reason) for item, reason, _ in aside] == [("row", "no_id")] * 3


def source_of(kind: str, folder: Path, names: list[str]) -> AnySource:
    if kind == "table":
        (folder / "t.jsonl").write_text(lines(*({"image": name, "caption": "x"} for name in names)))
        return TableSource(path=str(folder / "t.jsonl"), root=str(folder / "photos"))
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    captions = [{"image_id": number, "caption": "x"} for number in range(len(names))]
    (folder / "c.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return CocoSource(images=str(folder / "photos"), captions=str(folder / "c.json"))


@pytest.mark.parametrize("kind", ["table", "coco"])
class TestOfAnySource:
    def test_what_no_file_can_be_called_is_set_aside_by_the_same_reasons(self, tmp_path: Path, kind: str) -> None:
        bad = [
            "htp://h/a.jpg",
            "data:image/png;base64,AAAA",
            "x" * 300 + ".jpg",
            "a\0b.jpg",
            "s3://",
            "https://[x/a.jpg",
        ]
        aside = SetAside()
        rows = read_rows(source_of(kind, tmp_path, ["good.jpg", *bad]), aside)
        assert rows["file"].to_pylist() == ["good.jpg"]
        reasons = [row["reason"] for row in aside.table().to_pylist()]
        assert reasons[: len(bad)] == ["unknown_protocol", "data_uri", *["bad_name"] * 4]

    @pytest.mark.parametrize(
        "spelled",
        [" a é.jpg", "a%20%C3%A9.jpg", "A É.JPG", unicodedata.normalize("NFD", "a é.jpg")],
    )
    def test_photos_that_are_there_under_another_spelling_are_told(
        self, tmp_path: Path, kind: str, spelled: str
    ) -> None:
        (tmp_path / "photos").mkdir()
        for name in ("a é.jpg", "b.jpg"):
            (tmp_path / "photos" / name).write_bytes(b"x")
        aside = SetAside()
        source = source_of(kind, tmp_path, [spelled, "b.jpg", "none.jpg"])
        assert sorted(add_scan(read_rows(source, aside), source, aside)["listed"].to_pylist()) == [-1, -1, 1]
        (note,) = aside.notes
        assert note == f"1 photo is there, but spelled otherwise: {spelled!r} is 'a é.jpg' there"
        alone = source_of(kind, tmp_path, [spelled])
        with pytest.raises(UserError, match="1 photo is there, but spelled otherwise"):
            add_scan(read_rows(alone, aside), alone, aside)

    def test_backslashes_of_windows_are_told(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "b.jpg").write_bytes(b"x")
        source = source_of(kind, tmp_path, ["photos\\b.jpg"])
        with pytest.raises(UserError, match=r"b\.jpg is there without photos/"):
            add_scan(read_rows(source, SetAside()), source, SetAside())


def test_spellings_of_other_names_differ() -> None:
    assert len({loosely(name) for name in ("a.jpg", "b.jpg", "a.png", "x/a.jpg", "é.jpg", "e.jpg")}) == 6
