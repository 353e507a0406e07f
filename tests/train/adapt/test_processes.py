"""Two processes with gloo against one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from stages.common import UserError
from tests.train.adapt.conftest import Recipe, weights
from train.adapt import adapt
from train.loop import join_processes

ROOT = Path(__file__).parents[3]


def torchrun(manifest: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command += [sys.executable, "-c", "from pipeline.cli.entry import main; main()"]
    command += ["train", str(manifest), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.mark.parametrize(("kind", "micro_batch"), [("in_batch", None), ("multi_positive", 3), ("noun_bank", 3)])
def test_two_processes_end_with_the_weights_of_one(
    recipe: Recipe, tmp_path: Path, kind: str, micro_batch: int | None
) -> None:
    phase = {"train": "both", "steps": 3, "tower_lr": 1e-3, "prompts_lr": 1e-2, "warmup_steps": 1}
    asked = recipe(loss={"kind": kind, "logit_scale": 20}, phases=[phase], micro_batch=micro_batch)
    lines: list[dict[str, float]] = []
    one = weights(adapt(asked, tmp_path / "one", lines.append))
    manifest = tmp_path / "m.yaml"
    manifest.write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    done = torchrun(manifest, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    two = weights(tmp_path / "two/last")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-4)
    assert done.stdout.count("step 3/3: loss ") == 1
    logged = [json.loads(line) for line in (tmp_path / "two/log.jsonl").read_text().splitlines()]
    for name in ("loss", "grad_norm"):  # AdamW would hide a gradient that is wrong by a factor
        expected = [line[name] for line in lines if name in line]
        assert len(expected) == 3
        assert [line[name] for line in logged if name in line] == pytest.approx(expected, rel=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"device: 'cuda' was asked for"), join_processes("cuda"):
        pass
