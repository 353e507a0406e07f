"""Wall time of the Ray build over the plain loop, and of 2 workers over 1; the bytes must be the same.

    python -m benchmarks.runners [--images 160] [--data FOLDER_OF_COCO_MINI]

Ratios of whole commands (start of Python and Ray included) in one run, in turn: loop, Ray 1, Ray 2, repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
from pathlib import Path

from benchmarks.many_images import write_manifest, write_table
from benchmarks.report import MASKMINE, ROOT, machine, measure

RUNS = {
    "loop": ("--runner", "loop"),
    "ray, 1 worker": ("--runner", "ray", "--workers", "1"),
    "ray, 2 workers": ("--runner", "ray", "--workers", "2"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/coco-mini")
    options = parser.parse_args()
    captions = options.data / "annotations/captions_train2017.json"
    print(machine())
    walls: dict[str, list[float]] = {name: [] for name in RUNS}
    digests: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_table(folder, options.data / "train2017", captions, options.images)
        manifest = write_manifest(folder, table, images_per_shard=8)
        for repeat in range(options.repeats):
            for run, flags in RUNS.items():
                out = folder / f"{run.replace(' ', '')}{repeat}"
                walls[run].append(measure([*MASKMINE, "build", str(manifest), "--out", str(out), *flags]).wall_s)
                digests.add(_digest(out))
                print(f"{run}: {walls[run][-1]:.1f} s", flush=True)
    median = {run: statistics.median(seconds) for run, seconds in walls.items()}
    print(
        f"\n{options.images} photos, classical proposals, one thread per process, {options.repeats} runs each, medians:"
    )
    print(f"ray with 1 worker over the loop: {median['ray, 1 worker'] / median['loop']:.2f} (goal at most 1.15)")
    print(f"2 workers over 1: {median['ray, 1 worker'] / median['ray, 2 workers']:.2f} times as fast (goal 1.7)")
    print(f"bytes of all {len(RUNS) * options.repeats} builds: {'the same' if len(digests) == 1 else 'DIFFERENT'}")


def _digest(out: Path) -> str:
    files = sorted((out / "shards").iterdir())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    main()
