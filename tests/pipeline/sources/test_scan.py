"""What is done with the rows of any source: canonical order, listing, reading; and all sources give the same pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from pipeline.manifest import BuildManifest
from pipeline.plan import make_plan
from pipeline.sources.config import TableSource, WebdatasetSource, to_record
from pipeline.sources.photos import ImageReader
from pipeline.sources.scan import add_scan, read_rows
from pipeline.sources.set_aside import SetAside
from stages.common import ImageRecord, UserError
from tests.photos import CAPTIONS, write_photos
from tests.pipeline.conftest import manifest_values, run_build
from tests.pipeline.sources.test_tables import table
from tests.stages.shards.tars import tar_of, write_bytes

Make = Callable[..., BuildManifest]


class TestOrderAndScan:
    @pytest.mark.parametrize(
        ("ids", "wanted"),
        [
            (["10", "9", "100"], ["9", "10", "100"]),
            (["10", "9", "a"], ["10", "9", "a"]),
            (["010", "9"], ["010", "9"]),
            (["é", "z", "A"], ["A", "z", "é"]),
        ],
    )
    def test_numbers_sort_as_numbers_and_texts_as_bytes(
        self, tmp_path: Path, ids: list[str], wanted: list[str]
    ) -> None:
        csv = "image,caption\n" + "".join(f"{one},c\n" for one in ids)
        assert [one.image_id for one in table(tmp_path, "t.csv", csv)] == wanted

    def test_listing_pins_sizes_and_finds_missing_files(self, tmp_path: Path) -> None:
        for name, size in (("a.jpg", 3), ("deep/b c.jpg", 5), ("elsewhere/d.jpg", 7)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x" * size)
        names = ["a.jpg", "deep/b c.jpg", "no.jpg", "nowhere/e.jpg", str(tmp_path / "elsewhere/d.jpg")]
        (tmp_path / "t.csv").write_text("image,caption\n" + "".join(f"{name},c\n" for name in names))
        source = TableSource(path=str(tmp_path / "t.csv"))
        rows = add_scan(read_rows(source, SetAside()), source, SetAside())
        assert rows["listed"].to_pylist() == [3, 5, -1, -1, 7]
        by_name = source.model_copy(update={"scan": "names"})
        assert add_scan(read_rows(by_name, SetAside()), by_name, SetAside())["listed"].null_count == 5

    def test_images_on_the_web_are_not_listed(self, tmp_path: Path) -> None:
        names = ["http://127.0.0.1:9/a.jpg", "https://127.0.0.1:9/deep/b.jpg"]
        (tmp_path / "t.csv").write_text("image,caption\n" + "".join(f"{name},c\n" for name in names))
        source = TableSource(path=str(tmp_path / "t.csv"))
        assert add_scan(read_rows(source, SetAside()), source, SetAside())["listed"].to_pylist() == [None, None]

    def test_files_are_found_relative_to_the_table_or_to_root_or_absolute(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for number, folder in enumerate((tmp_path, tmp_path / "in")):
            (folder / "a b.jpg").write_bytes(bytes([number]))
        record = ImageRecord("1", "a b.jpg", ())
        path = str(tmp_path / "t.csv")
        assert ImageReader(TableSource(path=path)).read(record) == b"\0"
        assert ImageReader(TableSource(path=path, root=str(tmp_path / "in"))).read(record) == b"\1"
        absolute = ImageRecord("1", str(tmp_path / "in/a b.jpg"), ())
        assert ImageReader(TableSource(path=path)).read(absolute) == b"\1"

    def test_wrong_image_folder_is_refused_when_planning(self, manifest: Make, photos: Path) -> None:
        for place in ("imgaes", "captions.json", "."):
            with pytest.raises(UserError, match="not one of the 10 images is at"):
                make_plan(manifest(source__images=str(photos / place)))
        wrong = manifest(source__images=str(photos / "imgaes"))
        with pytest.raises(UserError, match=r"not one of the 10 images is at .*imgaes, .* check source\.images"):
            make_plan(wrong)

    def test_input_without_images_is_refused(self, manifest: Make, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "c.json").write_text('{"images": [], "annotations": []}')
        wrong = manifest(
            source={"kind": "coco", "images": str(photos), "captions": str(tmp_path / "c.json")},
            proposals__proposer={"kind": "classical"},
        )
        with pytest.raises(UserError, match="no image in the input"):
            make_plan(wrong)


def as_table(photos: Path, folder: Path) -> dict[str, Any]:
    """The photos as a CSV, one caption per row."""
    data = json.loads((photos / "captions.json").read_text())
    names = {one["id"]: one["file_name"] for one in data["images"]}
    rows = [f'{names[one["image_id"]]},"{one["caption"]}"' for one in data["annotations"]]
    (folder / "t.csv").write_text("image,caption\n" + "\n".join(rows) + "\n")
    return {"kind": "table", "path": str(folder / "t.csv"), "root": str(photos / "images")}


def as_shards(photos: Path, folder: Path) -> dict[str, Any]:
    """The photos as img2dataset writes them; a sample has one caption."""
    for number, files in enumerate(
        (sorted((photos / "images").iterdir())[:4], sorted((photos / "images").iterdir())[4:])
    ):
        members = []
        for file in files:
            captions = json.loads((photos / "captions.json").read_text())["annotations"]
            text = next(one["caption"] for one in captions if one["image_id"] == int(file.stem))
            members += [(f"{file.stem}.jpg", file.read_bytes()), (f"{file.stem}.txt", text.encode())]
        write_bytes(folder / f"{number:05d}.tar", tar_of(members))
        (folder / f"{number:05d}.parquet").write_bytes(b"")
        (folder / f"{number:05d}_stats.json").write_text("{}")
    return {"kind": "webdataset", "path": str(folder / "{00000..00001}.tar")}


@pytest.mark.parametrize(("convert", "captions"), [(as_table, len(CAPTIONS)), (as_shards, 1)])
def test_sources_of_the_same_photos_give_the_same_pairs(
    tiny_clip: str, tmp_path: Path, convert: Callable[[Path, Path], dict[str, Any]], captions: int
) -> None:
    photos = write_photos(tmp_path / "photos", 6)
    coco_source = {
        "kind": "coco",
        "images": str(photos / "images"),
        "captions": str(photos / "captions.json"),
        "use_captions": "first" if captions == 1 else "all",
    }
    found = []
    for name, source in (("coco", coco_source), ("other", convert(photos, tmp_path))):
        values = manifest_values(photos, tiny_clip, proposals__proposer={"kind": "classical"}, source=source)
        run_build(BuildManifest.model_validate(values), tmp_path / name)
        rows = pyarrow.parquet.read_table(tmp_path / name / "index.parquet").to_pylist()
        stems = [Path(row["file"]).stem if convert is as_table else row["image_id"].split("/")[-1] for row in rows]
        found.append(
            [
                (int(stem), row["caption"], row["caption_number"], row["noun"], row["score_cosine"], row["box_xyxy_px"])
                for stem, row in zip(stems, rows, strict=True)
            ]
        )
    assert len(found[0]) > 6
    assert found[0] == found[1]


@pytest.mark.parametrize("path", ["", "/", "/*.tar", "/{00000..00001}.tar"])
def test_images_of_a_folder_of_shards_are_read_from_it(photos: Path, tmp_path: Path, path: str) -> None:
    as_shards(photos, tmp_path)
    source = WebdatasetSource(path=f"{tmp_path}{path}")
    reader = ImageReader(source)
    records = [to_record(row) for row in read_rows(source, SetAside()).to_pylist()]
    assert len(records) == 10
    assert all(reader.read(record)[:3] == b"\xff\xd8\xff" for record in records)
