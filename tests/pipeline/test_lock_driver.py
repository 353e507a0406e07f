"""One driver per folder: the second is refused; a killed one is no hindrance."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipeline.lock_driver import LOCK, only_driver
from stages.common import Folder, UserError

HOLD = """
import sys, time
from pipeline.lock_driver import only_driver
from stages.common import Folder
with only_driver(Folder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def remote() -> Folder:
    return Folder(f"memory://{uuid.uuid4().hex}/out")


def mark(store: Folder, **holder: object) -> None:
    store.write(LOCK, json.dumps(holder).encode())


def dead_process() -> int:
    """Id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_second_local_driver_is_refused_by_name_until_the_first_is_killed(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        store = Folder(str(tmp_path))
        refusal = re.escape(f"{tmp_path}: another build works on this folder (process {process.pid} on ")
        with pytest.raises(UserError, match=refusal), only_driver(store):
            pass
        with pytest.raises(UserError, match=refusal), only_driver(store, take_over=True):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with only_driver(store):
            assert json.loads((tmp_path / LOCK).read_bytes())["pid"] == os.getpid()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("error", [None, RuntimeError("in the middle")])
def test_folder_is_free_again_afterwards(tmp_path: Path, remote: Folder, error: Exception | None) -> None:
    for store in (Folder(str(tmp_path)), remote):
        try:
            with only_driver(store):
                if error:
                    raise error
        except RuntimeError:
            pass
        with only_driver(store):
            pass
    assert not remote.exists(LOCK)


def test_remote_driver_elsewhere_is_refused_unless_taken_over(remote: Folder) -> None:
    mark(remote, host="another-host", pid=1)
    with pytest.raises(UserError, match=r"process 1 on another-host.*take the folder over"), only_driver(remote):
        pass
    assert json.loads(remote.read(LOCK)) == {"host": "another-host", "pid": 1}
    with only_driver(remote, take_over=True):
        assert json.loads(remote.read(LOCK))["pid"] == os.getpid()
    assert not remote.exists(LOCK)


def test_of_two_remote_drivers_that_start_together_one_is_refused(
    remote: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter([None])
    monkeypatch.setattr(remote, "read_or_none", lambda name: next(seen))
    mark(remote, host="another-host", pid=1)  # after the look, before the mark
    with pytest.raises(UserError, match="process 1 on another-host"), only_driver(remote):
        pass
    assert json.loads(remote.read(LOCK))["pid"] == 1


def test_remote_driver_that_lives_here_is_refused(remote: Folder) -> None:
    mark(remote, host=socket.gethostname(), pid=os.getppid())
    with pytest.raises(UserError, match=f"process {os.getppid()}"), only_driver(remote):
        pass


def test_remote_driver_that_died_here_is_replaced(remote: Folder) -> None:
    mark(remote, host=socket.gethostname(), pid=dead_process())
    with only_driver(remote):
        assert json.loads(remote.read(LOCK))["pid"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"{no json", b"[1]", b'{"host": null}', b'{"host": "HERE", "pid": null}'])
def test_damaged_mark_is_refused_not_ignored(remote: Folder, content: bytes) -> None:
    remote.write(LOCK, content.replace(b"HERE", socket.gethostname().encode()))
    with pytest.raises(UserError, match="another build works on this folder"), only_driver(remote):
        pass


def test_driver_that_was_taken_over_leaves_the_other_ones_mark(remote: Folder) -> None:
    with only_driver(remote):
        mark(remote, host="another-host", pid=1)
    assert json.loads(remote.read(LOCK))["host"] == "another-host"
