"""Samples per second of the shard writer over webdataset's TarWriter, on the same samples; raw writing beside them.

    python -m benchmarks.shard_writing [--samples 4000] [--rounds 5]

Samples are encoded before: a crop of 8 to 40 KB, JSON, mask and text, as mining gives them. Writers take turns, into
the same folder; the best of the rounds counts. Raw is all bytes in one write of each shard.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset

from benchmarks.report import machine
from stages.shards import Sample, write_shard


def samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    sizes = {"jpg": (8_000, 40_000), "json": (900, 1_600), "mask.png": (200, 1_500), "txt": (3, 14)}
    return [
        Sample(f"{number:09d}-000", {name: rng.bytes(int(rng.integers(*size))) for name, size in sizes.items()}, None)
        for number in range(count)
    ]


def ours(made: list[Sample], file: Path) -> None:
    with file.open("wb") as out:
        write_shard(made, out)


def theirs(made: list[Sample], file: Path) -> None:
    with file.open("wb") as out, webdataset.TarWriter(out, encoder=False) as tar:
        for sample in made:
            tar.write({"__key__": sample.key, **sample.members})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    made = samples(options.samples)
    size = sum(len(data) for sample in made for data in sample.members.values())
    raw = b"".join(data for sample in made for data in sample.members.values())
    writers: dict[str, Callable[[Path], object]] = {
        "ours": lambda file: ours(made, file),
        "webdataset's TarWriter": lambda file: theirs(made, file),
        "raw": lambda file: file.write_bytes(raw),
    }
    best = dict.fromkeys(writers, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name, writer in writers.items():
                start = time.perf_counter()
                writer(Path(folder) / "shard.tar")
                best[name] = min(best[name], time.perf_counter() - start)
    print(f"{machine()}; {len(made):,} samples of {size / len(made) / 1000:.1f} KB")
    for name, seconds in best.items():
        print(f"{name}: {len(made) / seconds:,.0f} samples/s, {size / seconds / 1e6:,.0f} MB/s")
    ours_over = best["webdataset's TarWriter"] / best["ours"]
    print(f"ours over webdataset's TarWriter: {ours_over:.2f}")


if __name__ == "__main__":
    main()
