"""The command line: what a person reads, and which exit status a script gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from pipeline.cli.entry import main
from tests.photos import write_photos
from tests.pipeline.conftest import bytes_of, is_sign_of_life, manifest_values

ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; sys.argv[0] = 'maskmine'; from pipeline.cli.entry import main; main()"


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process, as a pipe of 80 columns sees it."""
    monkeypatch.setattr("pipeline.cli.entry.install", lambda stop: None)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["maskmine", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert "\x1b" not in printed.out + printed.err
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def file(photos: Path, tiny_clip: str, tmp_path: Path) -> Path:
    """A manifest over the ten photos."""
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest_values(photos, tiny_clip)))
    return path


def lines_of(text: str) -> dict[str, str]:
    """Names and values of a summary."""
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line)
    return {name: value.strip() for name, value in pairs}


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_the_commands(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.status == (0 if arguments else 2)
    for command in ("plan", "build", "verify"):
        assert f" {command} " in ended.out + ended.err
    assert max(len(line) for line in (ended.out + ended.err).splitlines()) <= 80


def test_version_is_that_of_the_package(run: Run) -> None:
    ended = run("--version")
    assert ended == (0, f"maskmine {metadata.version('maskmine')}\n", "")


def test_a_copy_that_is_not_installed_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    ended = run("--version")
    assert ended.status == 2
    assert "pip install" in ended.err


def test_completion_for_bash_is_printed_and_completes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    ended = run("--show-completion")
    assert ended.status == 0
    assert "complete -o default -F _maskmine_completion maskmine" in ended.out
    monkeypatch.setenv("_MASKMINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "maskmine se")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run().out.split() == ["segment"]


@pytest.mark.parametrize("command", ["plan", "build", "verify"])
def test_help_of_a_command_describes_its_options(run: Run, command: str) -> None:
    ended = run(command, "--help")
    assert ended.status == 0
    assert f"Usage: maskmine {command}" in ended.out
    if command == "build":
        for option in ("--out", "--set", "--workers", "--runner", "--address", "--cache", "--lock", "--take-over"):
            assert option in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bild",), "No such command 'bild'. Did you mean 'build'?"),
        (("build", "m.yaml", "--oot", "x"), "No such option: --oot"),
        (("build", "m.yaml"), "Missing option '--out'"),
        (("build", "--out", "x"), "Missing argument 'MANIFEST'"),
        (("build", "m.yaml", "--out", "x", "--workers", "0"), "--workers"),
        (("plan", "m.yaml", "--sample", "-1"), "--sample"),
    ],
)
def test_misspelt_command_is_explained(run: Run, arguments: tuple[str, ...], words: str) -> None:
    ended = run(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert words in ended.err


@pytest.mark.parametrize("command", [("build", "--out", "out"), ("plan",)])
def test_missing_manifest_is_one_message(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    name, *rest = command
    ended = run(name, tmp_path / "none.yaml", *rest)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"maskmine: {tmp_path / 'none.yaml'}: cannot read the manifest")
    assert len(ended.err.splitlines()) == 1


def test_all_problems_of_a_manifest_are_printed(run: Run, file: Path) -> None:
    ended = run("plan", file, "--set", "sede=1", "--set", "matching.templates=[a]")
    assert ended.status == 2
    assert ended.err.splitlines()[0] == f"maskmine: {file}: 2 problem(s) in the manifest:"
    assert len(ended.err.splitlines()) == 3


def test_plan_prints_counts_hashes_and_an_estimate(run: Run, file: Path) -> None:
    ended = run("plan", file, "--sample", "3")
    assert ended.status == 0
    found = lines_of(ended.out)
    assert found["images"] == "10"
    assert found["missing"].startswith("0 ")
    assert found["shards"] == "4 of 3 images"
    assert found["input captions"].startswith("sha256 ")
    assert len(found["plan"]) == 64
    last = ended.out.splitlines()[-1]
    assert last.startswith("From a sample of 3 images: about ")
    assert "kB of shards, " in last
    assert last.endswith(" pairs.")


def test_plan_counts_what_would_be_quarantined(run: Run, tiny_clip: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    names = sorted((photos / "images").iterdir())
    names[0].unlink()
    for name in names[1:]:
        name.write_bytes(b"broken")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(manifest_values(photos, tiny_clip)))
    ended = run("plan", tmp_path / "m.yaml", "--sample", "3")
    assert ended.status == 0
    assert lines_of(ended.out)["missing"].startswith("1 ")
    assert "3 of the sample would be quarantined" in ended.out


def test_plan_without_a_sample_loads_no_model(file: Path) -> None:
    code = f"{PROGRAM.replace('main()', '')}\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
    code += "print(*sorted({'torch', 'transformers', 'spacy', 'ray', 'open_clip'} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", code, "plan", str(file), "--sample", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *printed, loaded = ended.stdout.splitlines()
    assert lines_of("\n".join(printed))["images"] == "10"
    assert loaded == ""


def test_weights_that_do_not_belong_to_the_config_are_found_by_plan(
    run: Run, file: Path, tiny_clip: str, tmp_path: Path
) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for part in Path(tiny_clip.removeprefix("local-dir:")).iterdir():
        (clip / part.name).write_bytes(
            part.read_bytes()[:-1000] if part.suffix == ".safetensors" else part.read_bytes()
        )
    ended = run("plan", file, "--set", f"matching.clip.model=local-dir:{clip}")
    assert ended.status == 2
    assert f"clip: cannot load 'local-dir:{clip}'" in ended.err


def test_build_verify_and_resume_say_what_was_done(run: Run, file: Path, tmp_path: Path) -> None:
    out = tmp_path / ("a folder with a name so long that it does not fit into a line of a terminal " + "x" * 40)
    first = run("build", file, "--out", out)
    assert first.status == 0
    assert any(line.startswith("mining images: 10/10, ") for line in first.out.splitlines())
    found = lines_of("\n".join(first.out.splitlines()[1:]))
    assert int(found["pairs"]) > 20
    assert found["images with pairs"] == "10 of 10"
    assert found["quarantined"] == "0 images, 0 captions (reasons in quarantine.parquet)"
    assert (found["shards"], found["folder"]) == ("4", str(out))

    before = bytes_of(out)
    second = run("build", file, "--out", out, "--lock", out / "build.lock.json")
    assert second.status == 0
    assert lines_of(second.out)["shards"] == "4, 4 of them from before"
    assert second.out.splitlines()[-1] == "All 4 shards are, bit for bit, those of the lock."
    assert bytes_of(out) == before

    assert run("verify", out) == Ended(0, f"{out}: all is well: {found['pairs']} pairs of 10 images.\n", "")
    (out / "shards/000002.tar").unlink()
    spoilt = run("verify", out)
    assert spoilt.status == 1
    assert spoilt.out.splitlines() == ["shards/000002.tar: missing or not readable", f"1 problem(s) in {out}."]

    changed = run("build", file, "--out", out, "--set", "seed=5")
    assert changed.status == 2
    assert "config.seed: 0 -> 5" in changed.err


@pytest.mark.parametrize("lock", ["none.json", "manifest.yaml", "odd.json"])
def test_lock_that_is_none_is_refused(run: Run, file: Path, tmp_path: Path, lock: str) -> None:
    (tmp_path / "odd.json").write_text('{"plan": {}, "plan_digest": "", "units": []}')
    ended = run("build", file, "--out", tmp_path / "out", "--lock", tmp_path / lock)
    assert ended.status == 2
    assert ended.err.startswith("maskmine: --lock: ")
    assert str(tmp_path / lock) in ended.err


@pytest.mark.parametrize("kind", ["a file", "below a file", "foreign", "proc"])
def test_folder_that_cannot_be_used_is_named(run: Run, file: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/thesis.txt").write_text("do not touch")
    places = {"a file": "file", "below a file": "file/deep", "foreign": "foreign", "proc": "/proc/nowhere"}
    ended = run("build", file, "--out", tmp_path / places[kind])
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"maskmine: {tmp_path / places[kind]}: ")
    assert len(ended.err.splitlines()) == 1
    assert (tmp_path / "foreign/thesis.txt").read_text() == "do not touch"


def test_full_disk_is_one_message(run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = run("build", file, "--out", tmp_path / "out")
    assert ended.status == 2
    assert ended.err == f"maskmine: {tmp_path / 'out'}: cannot be read or written: [Errno 28] No space left on device\n"


def test_unit_that_cannot_be_written_fails_alone_and_is_done_later(run: Run, file: Path, tmp_path: Path) -> None:
    assert run("build", file, "--out", tmp_path / "out").status == 0
    (tmp_path / "out/shards/000001.tar").unlink()
    obstacle = tmp_path / "out/shards/000001.tar/in the way"
    obstacle.mkdir(parents=True)
    failed = run("build", file, "--out", tmp_path / "out")
    assert (failed.status, failed.err) == (1, "")
    *attempts, reason, last = [line for line in failed.out.splitlines() if not is_sign_of_life(line)]
    assert [line.partition(":")[0] for line in attempts] == [f"unit 1, attempt {number}" for number in (1, 2, 3)]
    assert reason.startswith("unit 1 failed: IsADirectoryError: ")
    assert last == "Not finished; the same command tries the failed units again."
    assert run("verify", tmp_path / "out").status == 1
    obstacle.rmdir()
    obstacle.parent.rmdir()
    again = run("build", file, "--out", tmp_path / "out")
    assert again.status == 0
    assert lines_of(again.out)["shards"] == "4, 3 of them from before"


def test_evaluate_prints_the_recall_of_proposals_and_keeps_all_figures(run: Run, photos: Path, tmp_path: Path) -> None:
    truth = {"images": str(photos / "images"), "annotations": [str(photos / "instances.json")]}
    asked = {"version": 2, "kind": "proposals", "truth": truth, "proposer": {"kind": "ground_truth"}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(asked))
    ended = run("evaluate", tmp_path / "m.yaml", "--json", tmp_path / "s.json", "--set", "max_proposals=[1]")
    assert ended.status == 0
    assert "all        20      1  0.500  1.000   0.000      -       0.500        0.500\n" in ended.out
    assert json.loads((tmp_path / "s.json").read_text())["things/recall_75@1"] == 0.5
    ended = run("evaluate", tmp_path / "m.yaml", "--workers", 2)
    assert ended.status == 2
    assert "--out and --workers are for a semantic_segmentation; this manifest's kind, proposals, has" in ended.err


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "none.yaml"], ["bild"]])
def test_output_through_a_pipe_has_no_escape_codes(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm-256color"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert "\x1b" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("arguments", "stopped", "words"),
    [
        (("world", "--out", "w"), "pipeline.world.write_world", "The folder is unfinished: remove it"),
        (("verify", "w"), "pipeline.verify.verify", ""),
        (("train", "m.yaml", "--out", "r"), "stages.common.load", "goes on from the last checkpoint"),
        (("build", "m.yaml", "--out", "r"), "stages.common.load", "What is done is kept"),
        (("evaluate", "m.yaml", "--out", "r"), "stages.common.load", "the pictures done are kept"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_ctrl_c_says_what_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], stopped: str, words: str
) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stopped, stop)
    ended = run(*arguments)
    assert ended.status == 130
    said = ended.err.strip()
    assert words in said
    assert said == "maskmine: stopped." if not words else said.startswith("maskmine: stopped. ")
