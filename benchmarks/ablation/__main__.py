"""The published ablations in miniature, on the rendered world.

    python -m benchmarks.ablation [--seeds 0 1 2] [--scenes 500] [--objects 1200] [--steps 60] [--out out/ablation]
    python -m benchmarks.ablation --rows plain mpt ft ft_mpt  # these alone, such as those that world_segmentation takes
    python -m benchmarks.ablation --short      # plain, MPT, FT, FT then MPT; one small seed, for the demo

A run that was stopped goes on where it was: what is in the folder is kept, so another recipe needs another folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.report import machine
from pipeline.cli.entry import main as with_clean_ends
from pipeline.terminal import Activity, duration, terminal

_SHORT = {"scenes": 240, "objects": 400, "steps": 40, "batch": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=500, help="to mine")
    parser.add_argument("--objects", type=int, default=1200, help="to test on")
    parser.add_argument("--steps", type=int, default=60, help="of a phase, 128 pairs each")
    parser.add_argument("--rows", nargs="+", help="keys of the rows that are run, in place of all")
    parser.add_argument("--short", action="store_true", help="few rows, one small seed")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    options = parser.parse_args()
    console = terminal(stderr=True)
    with Activity(console) as activity:
        activity("loading libraries")
        from benchmarks.ablation.rows import ALL, SHORT, scores_of
        from benchmarks.ablation.table import Scores, goals_table, published_table, rows_table
        from benchmarks.ablation.worlds import Size, Worlds
    rows = SHORT if options.short else ALL
    if options.rows:
        known = {row.key: row for row in ALL}
        if unknown := set(options.rows) - set(known):
            parser.error(f"--rows: {', '.join(sorted(unknown))}: expected of {', '.join(known)}")
        rows = tuple(known[key] for key in options.rows)
    size = Size(**_SHORT) if options.short else Size(options.scenes, options.objects, options.steps)
    seeds = [0] if options.short else options.seeds
    start = time.monotonic()
    scores: Scores = {row.key: [] for row in rows}
    for seed in seeds:
        worlds = Worlds(options.out / str(size) / f"seed{seed}", seed, size, console)
        for row in rows:
            found = scores_of(row, worlds)
            scores[row.key].append(found)
            shown = ", ".join(f"{part} {found[part]:.1f} %" for part in ("seen", "unseen"))
            console.print(f"{duration(time.monotonic() - start)}: seed {seed}: {row.title}: {shown}")
    (options.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    steps = f"{size.steps} steps of {size.batch} pairs per phase"
    print(f"{machine()}\n{size.scenes:,} scenes, {size.objects:,} test objects, {steps}\n")
    print(rows_table(rows, scores))
    if rows == ALL:
        print("", goals_table(scores), published_table(scores), sep="\n\n")


if __name__ == "__main__":
    with_clean_ends(main)
