"""`maskmine segment`, as a user calls it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cli.segment import WITHOUT_NETWORK
from stages.common import UserError
from tests.train.segmenter.conftest import photo
from train.segmenter.photos import check_outputs, find_photos

RUNNER = CliRunner()
ROOT = Path(__file__).parents[3]


@pytest.fixture
def manifest(tmp_path: Path, clip: str) -> str:
    path = tmp_path / "segment.yaml"
    values = {"proposer": {"kind": "classical"}, "clip": {"model": clip}, "templates": ["a {}"]}
    path.write_text(yaml.safe_dump({"version": 2, "kind": "segmenter", **values}))
    return str(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(photo(40, 50)).save(folder / name)
    return folder


def run(*arguments: str) -> Any:  # noqa: ANN401 - click's Result
    result = RUNNER.invoke(app, ["segment", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_folder_is_segmented_and_said_in_words(
    tmp_path: Path, photos: Path, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    result = run(str(photos), "--classes", "sea, boat", "--config", manifest, "--out", str(out))
    assert result.exit_code == 0
    assert {path.name for path in out.iterdir()} == {
        f"{stem}.{kind}" for stem in "ab" for kind in ("overlay.png", "labels.png", "json")
    }
    assert f"{photos / 'a.png'}: " in result.stdout
    assert "%" in result.stdout
    # The same again with the results among the photos: they are no photos.
    assert run(str(photos), "--classes", "sea", "--config", manifest, "--out", str(photos)).exit_code == 0
    assert run(str(photos), "--classes", "sea", "--config", manifest).exit_code == 0
    assert len(list((tmp_path / "segmented").iterdir())) == 6


def test_json_is_a_line_a_photo_and_nothing_else_on_stdout(tmp_path: Path, photos: Path, manifest: str) -> None:
    result = run(str(photos / "*.*"), "--classes", "sea, boat", "--config", manifest, "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(one["photo"]).name for one in found] == ["a.png", "b.jpg"]
    assert found[0]["height"] == 40
    assert {"class", "score", "probability", "objectness", "area_px", "box_xyxy_px", "rle"} == set(
        found[0]["regions"][0]
    )
    assert not (tmp_path / "segmented").exists()


def test_a_broken_photo_stops_no_other(tmp_path: Path, photos: Path, manifest: str) -> None:
    (photos / "aa.jpg").write_bytes((photos / "b.jpg").read_bytes()[:300])
    result = run(str(photos), "--classes", "sea, boat", "--config", manifest, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "aa.jpg: cannot be segmented" in result.stderr
    assert "1 of 3 photos could not be segmented" in result.stdout
    assert (tmp_path / "out/b.json").is_file()


def test_a_name_that_is_no_utf_8_is_shown_and_the_others_go_on(tmp_path: Path, photos: Path, manifest: str) -> None:
    odd, broken = (os.fsdecode(os.fsencode(photos) + name) for name in (b"/aa\xe9.png", b"/ab\xff.png"))
    Path(odd).write_bytes((photos / "a.png").read_bytes())
    Path(broken).write_bytes(b"x")
    result = run(str(photos), "--classes", "sea, boat", "--config", manifest, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert r"aa\udce9.png: " in result.stdout
    assert r"ab\udcff.png: cannot be segmented" in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 9
    (data,) = list((tmp_path / "out").glob("aa*.json"))
    assert json.loads(data.read_text())["photo"].endswith(r"aa\udce9.png")
    lines = run(str(photos), "--classes", "sea, boat", "--config", manifest, "--json").stdout.splitlines()
    assert [Path(json.loads(line)["photo"]).name for line in lines] == ["a.png", r"aa\udce9.png", "b.jpg"]


def test_one_class_is_warned_of(tmp_path: Path, photos: Path, manifest: str) -> None:
    common = (str(photos / "a.png"), "--classes", "sea", "--config", manifest, "--out", str(tmp_path / "out"))
    assert "'sea' is the only class" in run(*common).stderr
    assert "only class" not in run(*common, "--everything-else").stderr


def test_a_setting_and_a_file_of_classes_are_taken(tmp_path: Path, photos: Path, manifest: str) -> None:
    (tmp_path / "classes.txt").write_text("sea\nboat|ship\n")
    result = run(
        *(str(photos / "a.png"), "--classes", f"@{tmp_path / 'classes.txt'}", "--config", manifest, "--json"),
        *("--set", "limit=1"),
    )
    (found,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert found["classes"] == ["sea", "boat"]
    assert len(found["regions"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photos}", "--classes", "sea,,boat"], "--classes: class 2: '' has an empty name"),
        (["{photos}", "--classes", " "], "--classes: no class is named"),
        (["{photos}", "--classes", "@/no/words.txt"], "--classes: /no/words.txt: cannot be read"),
        (["{photos}/none.jpg", "--classes", "sea"], "there is no such file or folder"),
        (["{photos}/*.tiff", "--classes", "sea"], "no file matches this pattern"),
        (["{photos}", "--classes", "sea", "--set", "limits=3"], "limits: unknown key"),
        (["{photos}", "--classes", "sea", "--set", "proposer={kind: ground_truth}"], "come with a photo"),
        (["{photos}", "--classes", "sea", "--set", "clip.weights=/none"], "/none: there is no such"),
    ],
)
def test_mistakes_are_one_message(photos: Path, manifest: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        run(*(argument.replace("{photos}", str(photos)) for argument in arguments), "--config", manifest)
    assert message in str(caught.value)


def test_without_a_network_the_default_says_what_to_do(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"(?s)hub cannot be reached.*segmenter/photo.yaml") as caught:
        run(str(photos), "--classes", "sea")
    commands = [shlex.split(line) for line in str(caught.value).splitlines() if line.startswith("  maskmine ")]
    assert [words[1] for words in commands] == ["world", "segment"]


def test_the_commands_named_without_a_network_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, in a folder that has what the repository's has."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    monkeypatch.chdir(tmp_path)
    for command in WITHOUT_NETWORK.split("\n"):
        result = RUNNER.invoke(app, shlex.split(command)[1:], catch_exceptions=False)
        assert result.exit_code == 0
    assert "orangutan" in result.stdout
    assert (tmp_path / "segmented/0000001.overlay.png").is_file()


def test_photos_are_found_once_and_folders_without_one_are_refused(tmp_path: Path, photos: Path) -> None:
    found = find_photos([str(photos), str(photos / "a.png"), str(photos / "*.jpg")])
    assert [path.name for path in found] == ["a.png", "b.jpg"]
    for name in ("C.JPG", "._a.png", "a.json", ".hidden.png"):
        (photos / name).write_bytes(b"x")
    assert [path.name for path in find_photos([str(photos)])] == ["C.JPG", "a.png", "b.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder has no photo"):
        find_photos([str(tmp_path / "empty")])


def test_results_overwrite_neither_each_other_nor_a_photo(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=r" would both be written as .*a\.overlay\.png"):
        check_outputs([tmp_path / "one/a.jpg", tmp_path / "two/a.png"], tmp_path)
    with pytest.raises(UserError, match="would overwrite a photo"):
        check_outputs([tmp_path / "a.jpg", tmp_path / "a.labels.png"], tmp_path)
    check_outputs([tmp_path / "one/a.jpg", tmp_path / "b.jpg"], tmp_path)
