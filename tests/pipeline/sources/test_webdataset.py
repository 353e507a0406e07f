"""Image-text tars as people have them: what can be read is read, the rest is set aside by name and counted."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from PIL import Image

from pipeline.cli.app import app
from pipeline.manifest import BuildManifest
from pipeline.plan import make_plan
from pipeline.report.reasons import MEANINGS
from pipeline.sources.config import WebdatasetSource, to_record
from pipeline.sources.photos import ImageReader
from pipeline.sources.scan import canonical_order, read_rows
from pipeline.sources.set_aside import SetAside
from pipeline.verify import verify
from stages.common import ImageRecord, UserError
from tests.pipeline.conftest import manifest_values, run_build
from tests.stages.shards.tars import damaged, tar_of, without_end, write_bytes

ROOT = Path(__file__).parents[3]
Files = list[tuple[str, bytes]]
CAPTIONS = ("A dog on the grass.", "Two horses and a car.", "A cat on a sofa.", "A red bus on a street.")
FOUR = [f"00000000{number}" for number in range(4)]


def records(path: Path | str, aside: SetAside | None = None, **options: Any) -> list[ImageRecord]:  # noqa: ANN401
    """The images of a source; nothing may be set aside or told unless somebody asks for it."""
    found = SetAside() if aside is None else aside
    rows = canonical_order(read_rows(WebdatasetSource(path=str(path), **options), found))
    assert aside is not None or (len(found.table()), found.notes) == (0, [])
    return [to_record(row) for row in rows.to_pylist()]


def shard(folder: Path, files: Files, name: str = "s.tar") -> Path:
    write_bytes(folder / name, tar_of(files))
    return folder / name


def sample(key: str, number: int) -> Files:
    """Picture, JSON and text, as img2dataset writes them."""
    about = json.dumps({"caption": CAPTIONS[number], "key": key}, ensure_ascii=True).encode()
    return [(f"{key}.jpg", b"picture %d" % number), (f"{key}.json", about), (f"{key}.txt", CAPTIONS[number].encode())]


def four() -> Files:
    return [file for number, key in enumerate(FOUR) for file in sample(key, number)]


WHOLE = tar_of(four())
THIRD = WHOLE.index(b"000000002.jpg")


class TestSamples:
    def test_sample_is_image_text_and_json(self, tmp_path: Path) -> None:
        values = {"caption": "of the json", "license": "CC0", "url": "http://x"}
        members = [
            ("000000.jpg", b"jpeg 0"),
            ("000000.json", json.dumps(values).encode()),
            ("000000.txt", b"a dog"),
            ("000001.json", json.dumps(values).encode()),
            ("000001.PNG", b"png 1"),
            ("000002.webp", b"webp"),
        ]
        path = shard(tmp_path, members, "00000.tar")
        found = records(path)
        assert [(one.image_id, one.captions, one.license) for one in found] == [
            ("00000/000000", ("a dog",), "CC0"),
            ("00000/000001", ("of the json",), "CC0"),
            ("00000/000002", (), None),
        ]
        reader = ImageReader(WebdatasetSource(path=str(path)))
        assert [reader.read(one) for one in found] == [b"jpeg 0", b"png 1", b"webp"]

    def test_key_ends_at_the_first_dot_of_the_file_name(self, tmp_path: Path) -> None:
        members = [("v1.0/a.jpg", b"1"), ("v1.0/a.txt", b"x"), ("v1.0/a.seg.png", b"2"), ("b/a.jpg", b"3")]
        found = records(shard(tmp_path, members))
        assert [(one.image_id, one.nbytes, one.captions) for one in found] == [
            ("s/b/a", 1, ()),
            ("s/v1.0/a", 1, ("x",)),
        ]

    def test_folders_inside_a_tar_are_no_samples(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data/a.jpg").write_bytes(b"1")
        with tarfile.open(tmp_path / "00000.tar", "w") as tar:
            tar.add(tmp_path / "data", "data")
        (one,) = records(tmp_path / "00000.tar")
        assert one.image_id == "00000/data/a"


class TestShards:
    @pytest.mark.parametrize("pattern", ["{00000,00002}.tar", "*.tar", "0000?.tar", "0000{0,2}.tar", ""])
    def test_pattern_names_the_shards(self, tmp_path: Path, pattern: str) -> None:
        for name in ("00000", "00002"):
            shard(tmp_path, [("a.jpg", b"1")], f"{name}.tar")
            (tmp_path / f"{name}.parquet").write_bytes(b"of img2dataset")
            (tmp_path / f"{name}_stats.json").write_text("{}")
        assert [one.image_id for one in records(tmp_path / pattern)] == ["00000/a", "00002/a"]

    def test_shards_of_a_range_that_are_not_there_are_set_aside_each_by_name(self, tmp_path: Path) -> None:
        shard(tmp_path, [("a.jpg", b"1")], "00001.tar")
        aside = SetAside()
        assert len(records(tmp_path / "{00000..00003}.tar", aside)) == 1
        assert aside.reasons() == {("shard", "missing_shard"): 3}
        assert aside.table()["file"].to_pylist() == ["00000.tar", "00002.tar", "00003.tar"]

    def test_hidden_files_beside_the_shards_are_told_and_passed_over(self, tmp_path: Path) -> None:
        shard(tmp_path, [("a.jpg", b"1")], "00001.tar")
        (tmp_path / "._00001.tar").write_bytes(b"mac")
        aside = SetAside()
        assert len(records(tmp_path / "*.tar", aside)) == 1
        assert aside.notes == ["1 hidden files beside the shards are none, such as ._00001.tar"]
        assert len(aside.table()) == 0

    def test_wrong_path_is_refused(self, tmp_path: Path) -> None:
        for name in ("none.tar", "*.tar", "{0..3}.tar"):
            with pytest.raises(UserError, match=r"source\.path: no shard at .*expected a tar or a pattern"):
                records(tmp_path / name)
        with pytest.raises(UserError, match="pattern may stand in the file name alone"):
            records(tmp_path / "*/0.tar")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"this is no tar" * 100, "it begins with b'this is no tar"),
            (gzip.compress(WHOLE, mtime=0), r"it is compressed \(gzip\); unpack it first"),
            (b"", "it has 0 bytes"),
        ],
    )
    def test_file_that_is_no_tar_is_refused_by_name(self, tmp_path: Path, content: bytes, message: str) -> None:
        write_bytes(tmp_path / "s.tar", content)
        with pytest.raises(UserError, match=rf"s\.tar cannot be read as an uncompressed tar: .*{message}"):
            records(tmp_path / "s.tar")

    def test_one_of_several_that_was_cut_before_its_first_member_is_set_aside(self, tmp_path: Path) -> None:
        shard(tmp_path, four(), "0.tar")
        (tmp_path / "1.tar").mkdir()
        for name, nbytes in (("2.tar", 0), ("3.tar", 511)):
            write_bytes(tmp_path / name, WHOLE[:nbytes])
        aside = SetAside()
        assert len(records(tmp_path / "*.tar", aside)) == 4
        assert [(row["item"], row["file"], row["reason"]) for row in aside.table().to_pylist()] == [
            ("shard", "2.tar", "cut_shard"),
            ("shard", "3.tar", "cut_shard"),
        ]

    def test_a_folder_whose_name_has_signs_of_a_pattern_is_a_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "set [1] {a,b}"
        folder.mkdir()
        assert len(records(shard(folder, four()))) == 4

    def test_a_shard_with_a_name_that_is_no_utf8_is_refused_by_its_escaped_name(self, tmp_path: Path) -> None:
        write_bytes(tmp_path / "caf\udce9.tar", WHOLE)
        with pytest.raises(UserError, match=r"caf\\xe9\.tar: the file's name is no UTF-8 text; rename it"):
            records(tmp_path / "*.tar")


def renamed(files: Files, change: Any) -> Files:  # noqa: ANN401 - name -> name
    return [(change(name), data) for name, data in files]


DOTTED = [file for number in range(4) for file in sample(f"photo.{number}", number)]
ODD = [*sample("11 Take 2.0 (final)", 0), *sample("folder/22.05", 1)]
NO_JSON = [file for file in four() if not file[0].endswith("json")]
LISTS = [
    file
    for number, key in enumerate(FOUR)
    for file in (
        (f"{key}.jpg", b"picture"),
        (f"{key}.json", json.dumps({"caption": [CAPTIONS[number], "A second one."]}).encode()),
    )
]
PAIRS = [file for n in range(4) for file in ((f"s{n}.input.jpg", b"1"), (f"s{n}.output.txt", b"a dog"))]
ALL = {f"s/{key}": (caption,) for key, caption in zip(FOUR, CAPTIONS, strict=True)}
BUT = {number: {key: value for key, value in ALL.items() if key != f"s/{FOUR[number]}"} for number in range(4)}

CASES: dict[str, tuple[bytes | Files, dict[str, tuple[str, ...]], dict[tuple[str, str], int], str]] = {
    # name: tar, captions by image id, what is set aside, a part of what is told
    "cut_in_a_header": (
        WHOLE[: THIRD + 100],
        {key: ALL[key] for key in list(ALL)[:2]},
        {("shard", "cut_shard"): 1},
        f"cut off at byte {THIRD + 100}, within a header at byte {THIRD}",
    ),
    "cut_in_a_picture": (
        WHOLE[: WHOLE.index(b"000000003.jpg") + 512 + 5],
        BUT[3],
        {("shard", "cut_shard"): 1},
        "000000003.jpg at byte",
    ),
    "cut_between_samples": (
        WHOLE[:THIRD],
        {key: ALL[key] for key in list(ALL)[:2]},
        {("shard", "cut_shard"): 1},
        "cut off",
    ),
    "damaged_header": (
        WHOLE[: THIRD + 148] + b"\xff" * 8 + WHOLE[THIRD + 156 :],
        BUT[2],
        {("shard", "damaged_shard"): 1, ("image", "no_image"): 1},
        f"damaged at byte {THIRD} behind 000000001.txt (the header of 000000002.jpg)",
    ),
    "damaged_text": (
        damaged(WHOLE, b"000000001.txt"),
        ALL,
        {("shard", "damaged_shard"): 1},
        "behind 000000001.json",
    ),
    "two_joined": (tar_of(four()[:6]) + tar_of(four()[6:]), ALL, {}, "another tar is joined to it at byte 10240"),
    "three_joined_without_zeros": (
        without_end(tar_of(four()[:3])) + without_end(tar_of(four()[3:6])) + tar_of(four()[6:]),
        ALL,
        {},
        "",
    ),
    "dotted_keys": (DOTTED, {}, {("image", "dotted_key"): 4}, "key photo: photo.0.jpg, photo.0.json, photo.0.txt; if"),
    "dotted_and_odd_keys": (ODD, {}, {("image", "dotted_key"): 2}, "set key_ends_at: last_dot"),
    "key_twice": (
        [*sample(FOUR[0], 0), *sample(FOUR[1], 1), *sample(FOUR[0], 2)],
        {key: ALL[key] for key in list(ALL)[:2]},
        {("image", "duplicate_key"): 1},
        "000000000: 000000000.jpg, 000000000.json, 000000000.txt come again at byte",
    ),
    "upper_case": (renamed(four(), lambda name: name[:10] + name[10:].upper()), ALL, {}, ""),
    "caption_list": (LISTS, {key: (*value, "A second one.") for key, value in ALL.items()}, {}, ""),
    "empty_txt_beside_json": (
        [(name, b"" if name.endswith("txt") else data) for name, data in four()],
        ALL,
        {},
        "",
    ),
    "bom_in_txt": ([(name, b"\xef\xbb\xbf" * name.endswith("txt") + data) for name, data in NO_JSON], ALL, {}, ""),
    "mac_members": (
        [file for name, data in four() for file in ((f"./._{name}", b"\0\5\26\7"), (f"./{name}", data))],
        {key.replace("s/", "s/./"): value for key, value in ALL.items()},
        {},
        "s.tar: ./._000000000.jpg is no part of a sample (and so on, 12 times in all)",
    ),
    "input_output_names": (PAIRS, {}, {("image", "no_image"): 4}, "s0: s0.input.jpg, s0.output.txt hold no picture"),
    "names_not_utf8": (
        renamed(four(), lambda name: name.replace("000000", "caf\udce9", 1)),
        {key.replace("s/000000", "s/caf\\xe9"): value for key, value in ALL.items()},
        {},
        "",
    ),
    "names_replaced_in_place": (
        WHOLE.replace(b"000000000.", b"caf\xe900000."),
        {key.replace("s/000000000", "s/caf\\xe900000"): value for key, value in ALL.items()},
        {},
        "",
    ),
    "licence_with_a_surrogate": ([("0.jpg", b"1"), ("0.json", rb'{"license": "\ud800"}')], {"s/0": ()}, {}, ""),
}


@pytest.mark.parametrize(("tar", "expected", "aside", "text"), CASES.values(), ids=CASES)
def test_what_can_be_read_is_read_and_the_rest_is_told(
    tmp_path: Path,
    tar: bytes | Files,
    expected: dict[str, tuple[str, ...]],
    aside: dict[tuple[str, str], int],
    text: str,
) -> None:
    path = tmp_path / "s.tar"
    write_bytes(path, tar if isinstance(tar, bytes) else tar_of(tar))
    found = SetAside()
    assert {one.image_id: one.captions for one in records(path, found)} == expected
    assert found.reasons() == aside
    assert set(found.table()["file"].to_pylist()) <= {"s.tar"}
    told = [*found.table()["message"].to_pylist(), *found.notes]
    assert text in "\n".join(told)
    assert bool(told) == bool(text)


@pytest.mark.parametrize("files", [DOTTED, ODD])
def test_dotted_keys_are_samples_where_keys_end_at_the_last_dot(tmp_path: Path, files: Files) -> None:
    found = records(shard(tmp_path, files), key_ends_at="last_dot")
    assert [one.image_id for one in found] == sorted({f"s/{name.rpartition('.')[0]}" for name, _ in files})
    assert all(len(one.captions) == 1 for one in found)


def test_a_plan_names_where_a_tar_is_bad_wherever_the_tar_lies(tmp_path: Path, tiny_clip: str) -> None:
    digests = set()
    for place in ("here", "there"):
        path = write_bytes(tmp_path / place / "s.tar", WHOLE[: THIRD + 100])
        values = manifest_values(tmp_path, tiny_clip, source={"kind": "webdataset", "path": path})
        values["proposals"] = {"proposer": {"kind": "classical"}}
        digests.add(make_plan(BuildManifest.model_validate(values)).digest)
    assert len(digests) == 1


def test_a_source_without_any_image_says_what_was_set_aside(tmp_path: Path, tiny_clip: str) -> None:
    path = str(shard(tmp_path, DOTTED))
    values = manifest_values(tmp_path, tiny_clip, source={"kind": "webdataset", "path": path})
    values["proposals"] = {"proposer": {"kind": "classical"}}
    with pytest.raises(UserError, match=r"no image in the input.*\n  set aside, 4 x dotted_key: s\.tar: .*_dot"):
        make_plan(BuildManifest.model_validate(values))


def test_a_build_of_bad_tars_mines_what_is_good_and_verifies(
    tmp_path: Path, tiny_clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)

    def photo(files: Files) -> Files:
        return [(name, jpeg(rng) if name.endswith("jpg") and b"picture" in data else data) for name, data in files]

    write_bytes(tmp_path / "00.tar", tar_of(photo(four()[:6])) + tar_of(photo(four()[6:])))
    write_bytes(tmp_path / "01.tar", tar_of(photo(four()))[:-10_240])
    write_bytes(tmp_path / "03.tar", tar_of(photo([*DOTTED, *sample("0", 0), *sample("1", 1), *sample("0", 2)])))
    odd = [*photo(sample("caf\udce9", 3)), ("b.jpg", jpeg(rng)), ("b.txt", b"caf\xe9"), ("c.txt", b"a dog")]
    write_bytes(tmp_path / "04.tar", tar_of(odd))
    source = {"kind": "webdataset", "path": str(tmp_path / "{00..04}.tar")}
    values = manifest_values(tmp_path, tiny_clip, source=source, proposals__proposer={"kind": "classical"})
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(values))
    app(["plan", str(tmp_path / "build.yaml"), "--sample", "0"], standalone_mode=False)
    printed = " ".join(capsys.readouterr().out.split())
    for line in ("images 11", "4 images: dotted_key", "1 image: duplicate_key", "1 shard: missing_shard"):
        assert line in printed
    out = tmp_path / "out"
    run_build(BuildManifest.model_validate(values), out)
    lock, problems = verify(str(out))
    assert problems == []
    assert lock is not None
    assert lock.plan.set_aside == {"caption": 1, "image": 6, "shard": 2}
    rows = pyarrow.parquet.read_table(out / "quarantine.parquet").to_pylist()
    assert {(row["item"], row["file"], row["reason"], row["image_id"]) for row in rows} == {
        ("shard", "01.tar", "cut_shard", ""),
        ("shard", "02.tar", "missing_shard", ""),
        *(("image", "03.tar", "dotted_key", f"03/photo.{number}") for number in range(4)),
        ("image", "03.tar", "duplicate_key", "03/0"),
        ("caption", "04.tar", "bad_caption", "04/b"),
        ("image", "04.tar", "no_image", "04/c"),
    }
    images = pyarrow.parquet.read_table(out / "images.parquet").to_pylist()
    assert {row["image_id"] for row in images if row["status"] == "pairs"} >= {"00/000000003", "04/caf\\xe9"}


def test_every_reason_is_documented_and_has_a_meaning_for_the_report() -> None:
    files = [*(ROOT / "stages/shards").glob("*.py"), ROOT / "pipeline/sources/webdataset.py"]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    reasons = set(re.findall(r"Trouble\(\s*\"\w+\", \"(\w+)\"", code))
    reasons |= set(re.findall(r"aside\.add\([^,]+, [^,]+, \"(\w+)\"", code))
    assert {"cut_shard", "no_image", "bad_caption", "missing_shard"} <= reasons
    assert reasons <= MEANINGS.keys()
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()


def jpeg(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).resize((96, 72)).save(buffer, "JPEG")
    return buffer.getvalue()
