"""Training with loader processes, stopped from a terminal or a scheduler: one farewell, the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.train.adapt.conftest import Recipe

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_training_says_its_farewell_once_whatever_its_loader_processes_do(
    recipe: Recipe, pairs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    phase = {"train": "both", "steps": 100_000, "warmup_steps": 2}
    data = {"sets": [{"shards": [str(pairs)]}], "workers": 2}
    values = recipe(phases=[phase], data=data, checkpoint_every=100_000).model_dump(mode="json")
    manifest, out = tmp_path / "m.yaml", tmp_path / "run"
    manifest.write_text(yaml.safe_dump(values))
    command = [
        sys.executable,
        "-c",
        "from pipeline.cli.entry import main; main()",
        "train",
        str(manifest),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background of a script inherit an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until = time.monotonic() + 120
        while not (out / "log.jsonl").is_file() or '"loss"' not in (out / "log.jsonl").read_text():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.1)
        if number == signal.SIGINT:  # a terminal's reaches all processes
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    said = (
        "maskmine: stopped. The same command goes on from the last checkpoint, or from the start if there is none yet."
    )
    assert process.returncode == 128 + number, told
    assert told.count(said) == 1, told
    assert "KeyboardInterrupt" not in told  # torch's loader may add words of its own, if a process of it aborts
    assert "resource_sharer" not in told
