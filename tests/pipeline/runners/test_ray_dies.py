"""Ray's own processes die: the command says so in one sentence, leaves nothing behind, and goes on when repeated."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.runners.processes import Process, below, in_session
from stages.common import RayLostError
from tests.pipeline.conftest import Start, bytes_of, is_sign_of_life, wait_for_receipts

GOES_ON = "what is done is kept: the same command goes on from here."
STOPPED = "maskmine: stopped. What is done is kept: the same command goes on from here."
NOTICED_S = 30.0
BOTH = (signal.SIGINT, signal.SIGTERM)
RAYLET = r"Ray's raylet on this machine died"
GCS = r"Ray's GCS \(gcs_server\) on this machine died"
DRIVER = r"the process that drives Ray was ended by SIGKILL"


def driver_of(process: subprocess.Popen[str]) -> Process | None:
    """The process that drives Ray: the only child of the command."""
    children = [one for one in below(process.pid) if one.parent == process.pid]
    return next((one for one in children if one.session == one.pid and not one.is_dead), None)


def find(process: subprocess.Popen[str], name: str) -> int | None:
    """A process of a command by its name; `driver` is the one that drives Ray."""
    if name == "driver":
        driver = driver_of(process)
        return driver.pid if driver else None
    return next((one.pid for one in below(process.pid) if one.name == name[:15] and not one.is_dead), None)


def kill(process: subprocess.Popen[str], name: str, wait_s: float = 60.0) -> float:
    """Kills a process of a command as soon as it is there; returns when."""
    until = time.monotonic() + wait_s
    while (pid := find(process, name)) is None:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"no {name}"
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


@pytest.fixture
def leaves_nothing() -> Iterator[Callable[[subprocess.Popen[str]], None]]:
    """Takes note of a command's session of Ray; at the end no process of it may be left."""
    sessions: list[int] = []

    def note(process: subprocess.Popen[str]) -> None:
        driver = driver_of(process)
        if driver:
            sessions.append(driver.session)

    yield note
    assert [one for session in sessions for one in in_session(session) if not one.is_dead] == []


def check_sentence(process: subprocess.Popen[str], killed_at: float, expected: str) -> None:
    """The command ends in time, by status 1 and one sentence."""
    printed, _ = process.communicate(timeout=NOTICED_S + 30)
    assert time.monotonic() - killed_at < NOTICED_S
    assert process.returncode == 1, printed
    *progress, sentence = printed.strip().splitlines()
    assert re.fullmatch(rf"maskmine: {expected}( \(log: .+\.log\))?; {GOES_ON}", sentence), printed
    assert all(is_sign_of_life(line) for line in progress), printed
    if kept := re.search(r"\(log: (.+\.log)\)", sentence):
        Path(kept[1]).unlink()


@pytest.mark.parametrize(
    ("victim", "expected"),
    [
        ("raylet", RAYLET),
        ("gcs_server", GCS),
        ("ray::DashboardAgent", RAYLET),
        ("ray::RuntimeEnvAgent", RAYLET),
        ("driver", DRIVER),
    ],
)
def test_death_in_mid_build_is_told_and_the_same_command_goes_on(
    start: Start,
    tmp_path: Path,
    undisturbed: dict[str, str],
    leaves_nothing: Callable[..., None],
    victim: str,
    expected: str,
) -> None:
    process = start("--runner", "ray", "--workers", "2")
    wait_for_receipts(tmp_path / "out", 1, process)
    leaves_nothing(process)
    check_sentence(process, kill(process, victim), expected)
    again = start("--runner", "loop")
    printed, _ = again.communicate(timeout=200)
    assert again.returncode == 0, printed
    assert "of them from before" in printed
    assert bytes_of(tmp_path / "out") == undisturbed


@pytest.mark.parametrize(
    ("victim", "expected"),
    [("raylet", RAYLET), ("gcs_server", GCS), ("ray::RuntimeEnvAgent", RAYLET), ("driver", DRIVER)],
)
def test_death_while_ray_starts_is_told(
    start: Start, leaves_nothing: Callable[..., None], victim: str, expected: str
) -> None:
    process = start("--runner", "ray", "--workers", "2")
    killed_at = kill(process, victim)
    leaves_nothing(process)
    check_sentence(process, killed_at, expected)


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("seen", ["driver", "gcs_server", "raylet"])
def test_signal_while_ray_starts_stops_the_command(
    start: Start, leaves_nothing: Callable[..., None], seen: str, number: signal.Signals
) -> None:
    process = start("--runner", "ray")
    while find(process, seen) is None:
        assert process.poll() is None
        time.sleep(0.005)
    leaves_nothing(process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=15)
    said = [line for line in printed.splitlines() if not is_sign_of_life(line)]
    assert (process.returncode, said) == (128 + number, [STOPPED])


def test_killed_command_takes_ray_with_it(start: Start, leaves_nothing: Callable[..., None]) -> None:
    process = start("--runner", "ray")
    while find(process, "raylet") is None:
        time.sleep(0.005)
    leaves_nothing(process)
    driver = driver_of(process)
    assert driver
    process.kill()
    until = time.monotonic() + 10
    while any(not one.is_dead for one in in_session(driver.session)):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("module", ["pipeline.cli.app", "typer", "torch", "train.adapt"])
def test_signal_during_an_import_stops_any_command(tmp_path: Path, module: str, number: signal.Signals) -> None:
    """The signal comes as the module begins to load, wherever that is; some loaders swallow what a handler raises."""
    (tmp_path / "m.yaml").write_text("kind: adapt\n")
    code = f"""
import os, sys, importlib.abc
class Sends(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Sends())
sys.argv = ["maskmine", "train", {str(tmp_path / "m.yaml")!r}, "--out", "o"]
from pipeline.cli.entry import main
main()
"""
    ended = run_python(code)
    assert (ended.returncode, ended.stdout) == (128 + number, ""), ended.stderr
    assert ended.stderr.strip().startswith("maskmine: stopped. The same command goes on from the last checkpoint")
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "work",
    [
        "try:\n    os.kill(os.getpid(), number); time.sleep(60)\nexcept BaseException:\n    time.sleep(60)",
        "try:\n    os.kill(os.getpid(), number)\nfinally:\n    os.kill(os.getpid(), number); time.sleep(60)",
        "class Odd:\n    def __del__(self): os.kill(os.getpid(), number); time.sleep(60)\nOdd(); time.sleep(60)",
    ],
    ids=["swallowed", "second signal", "in a finaliser"],
)
@pytest.mark.parametrize("number", BOTH)
def test_signal_ends_a_command_that_swallows_it(work: str, number: signal.Signals) -> None:
    code = f"""
import os, signal, time, pipeline.cli.app, pipeline.cli.entry
def app(prog_name):
    number = {int(number)}
    exec({work!r}, {{"os": os, "time": time, "number": number}})
pipeline.cli.app.app = app
pipeline.cli.entry.main()
"""
    begun = time.monotonic()
    ended = run_python(code)
    assert ended.returncode == 128 + number, ended.stderr
    assert "maskmine: stopped." in ended.stderr
    assert time.monotonic() - begun < 15


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_ray_that_starts_no_worker_is_told(monkeypatch: pytest.MonkeyPatch, ray_here: None) -> None:
    from pipeline.runners import ray_scheduler

    monkeypatch.setattr(ray_scheduler, "_NO_WORKER_S", 0.5)
    monkeypatch.setattr(ray_scheduler, "_LIFE_SIGN_S", 0.3)
    spec: Any = type("Spec", (), {"manifest": type("M", (), {"run": type("R", (), {"max_attempts": 1, "window": 1})})})
    pool: Any = type("Pool", (), {"actors": 1, "cpus": 99, "gpus": 0, "stages": ()})
    said: list[str] = []
    nothing: Any = None
    scheduler = ray_scheduler.Scheduler(spec, [pool], frozenset(), nothing, said.append, nothing, nothing)
    with pytest.raises(RayLostError, match="Ray started no worker within 1 s"):
        scheduler.run([0])
    scheduler.close()
    assert said
    assert said[0].startswith("waiting for Ray to start a worker")
