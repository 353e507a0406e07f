"""A step of adaptation: cached text embeddings over encoding text at each step, and prompt tuning over fine-tuning.

    python -m benchmarks.adapt_step [--clip ViT-B-16] [--batch 64] [--nouns 409] [--rounds 5] [--threads 2]

A step is the trainer's: forward, loss, backward, the gradient's norm, AdamW; in fp32, on random pixels and masks,
without the loader. The steps take turns, and each ratio is the median over rounds. Without the cache, a step encodes
besides what its loss needs: the nouns of its pairs for `in_batch`, all nouns for `noun_bank`; without gradient, since
the text tower is frozen.

Memory is that of a process of its own for FT and for MPT: its peak over three steps beyond what it holds before the
first, as Linux counts it (VmHWM after a reset): activations, gradients and AdamW's moments, but not the model.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from benchmarks.report import machine, measure
from pipeline.world.vocabulary import load_vocabulary
from stages.clip import ClipInput, encode_names, load_clip
from stages.clip_config import ClipConfig
from stages.common import LOCAL_DIR
from train.adapt import AdaptManifest
from train.adapt.objective import Objective
from train.adapt.output import optimizer_of
from train.clip.model import MaskPromptCLIP
from train.data.loader import Batch
from train.data.pair_index import PairIndex
from train.loop import Processes

WORLD_CLIP = f"{LOCAL_DIR}pipeline/world/clip"
TRAINED: dict[str, Literal["tower", "prompts"]] = {"FT": "tower", "MPT": "prompts"}
LOSSES = ("in_batch", "noun_bank")
Step = Callable[[], None]


def model_of(name: str) -> tuple[Any, Any]:
    """A trained CLIP from a folder; of open_clip's names one with random weights, as speed needs no others."""
    if name.startswith(LOCAL_DIR):
        return load_clip(ClipConfig(model=name), "cpu")
    import open_clip

    return open_clip.create_model(name).eval().requires_grad_(False), open_clip.get_tokenizer(name)


def names_of(count: int) -> tuple[str, ...]:
    """Names of the world, and numbered ones if it has too few."""
    names = [thing.name for thing in load_vocabulary().things]
    return tuple(sorted([*names, *(f"thing {number}" for number in range(count - len(names)))][:count]))


def batch_of(names: tuple[str, ...], size: int, side_px: int) -> Batch:
    """Random pixels, the left half of each blank."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(len(names), (size,), generator=generator)
    nouns = tuple(names[int(number)] for number in numbers)
    masks = torch.ones(size, 1, side_px, side_px)
    masks[..., : side_px // 2] = 0
    images = torch.randn(size, 3, side_px, side_px, generator=generator)
    return Batch(images, masks, nouns, nouns, tuple(map(str, range(size))), numbers, numbers)


class Steps:
    """Steps of FT or MPT of one model, with one loss."""

    def __init__(self, recipe: str, loss: str, options: Namespace) -> None:
        clip, self._tokenize = model_of(options.clip)
        self._names = names_of(options.nouns)
        self._batch = batch_of(self._names, options.batch, ClipInput.of(clip).size_px)
        values = {"kind": "adapt", "init": {"model": options.clip}, "data": {"sets": [{"shards": ["none"]}]}}
        phase = {"train": TRAINED[recipe], "steps": 1}
        manifest = AdaptManifest.model_validate({**values, "phases": [phase], "loss": {"kind": loss}})
        self._loss = loss
        self._model = MaskPromptCLIP(clip, 3)
        none = np.empty(0, dtype=np.int32)
        places = {"set_number": none, "shard": none, "noun": none, "canonical": none}
        keys = pa.array([], pa.large_string())
        empty = np.empty(0, dtype=np.int64)
        pair_index = PairIndex((), self._names, self._names, keys, **places, offset=empty, nbytes=empty, left_out={})
        self._objective = Objective(manifest, clip, self._tokenize, pair_index, Processes(0, 1, "cpu"))
        self._optimizer = optimizer_of(self._model, manifest.phases[0])
        self._model.train()

    def cached(self) -> None:
        self._objective.backward(self._model, self._batch, lambda loss: loss)
        trained = [value for group in self._optimizer.param_groups for value in group["params"]]
        torch.nn.utils.clip_grad_norm_(trained, float("inf"))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def encoding(self) -> None:
        """The same step, and the text that it would need each time."""
        nouns = self._names if self._loss == "noun_bank" else self._batch.nouns
        encode_names(self._model.clip, self._tokenize, nouns, ("{}",))
        self.cached()


def in_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after one that nobody counts."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_beyond_start_mib(recipe: str, options: Namespace) -> float:
    """What three steps take beyond the process before them, in MiB."""
    steps = Steps(recipe, "in_batch", options)
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to VmRSS
    before = _memory_mib("VmRSS")
    for _ in range(3):
        steps.cached()
    return _memory_mib("VmHWM") - before


def _memory_mib(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def ratio(seconds: dict[str, list[float]], one: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", default=WORLD_CLIP, help="local-dir:FOLDER, or a name: then with random weights")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--nouns", type=int, default=409)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", choices=TRAINED, help="only print the memory of this recipe's steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak_beyond_start_mib(options.peak, options))
        return
    print(f"{machine()}, {options.threads} threads; {options.clip}, batch {options.batch}, {options.nouns} nouns")
    for loss in LOSSES:
        steps = {recipe: Steps(recipe, loss, options) for recipe in TRAINED}
        turns = {f"{recipe}, cached": each.cached for recipe, each in steps.items()}
        turns |= {f"{recipe}, encoding": each.encoding for recipe, each in steps.items()}
        seconds = in_turns(turns, options.rounds)
        for name, found in seconds.items():
            print(f"{loss}: {name}: {statistics.median(found) * 1000:.0f} ms", flush=True)
        for recipe in TRAINED:
            gain = ratio(seconds, f"{recipe}, encoding", f"{recipe}, cached")
            print(f"{loss}: {recipe}: the cache makes a step {gain:.2f} times as fast")
        print(f"{loss}: MPT takes {ratio(seconds, 'MPT, cached', 'FT, cached'):.2f} of FT's time", flush=True)
    given = [f"--{name}={getattr(options, name)}" for name in ("clip", "batch", "nouns", "threads")]
    child = [sys.executable, "-m", "benchmarks.adapt_step", *given]
    peaks = {recipe: float(measure([*child, f"--peak={recipe}"]).output) for recipe in TRAINED}
    for recipe, peak in peaks.items():
        print(f"{recipe}: {peak:.0f} MiB at the peak of three steps beyond the start")
    print(f"MPT takes {peaks['MPT'] / peaks['FT']:.2f} of FT's memory")


if __name__ == "__main__":
    main()
