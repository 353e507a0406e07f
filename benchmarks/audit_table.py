"""Strategies, proposal kinds and thresholds against each other on the rendered world, as one table.

    python -m benchmarks.audit_table --clip local-dir:FOLDER [--images 500] [--seed 0] [--keep 0.5] [--workers 2]
                                     [--world FOLDER] [--json FILE]

Renders a world, mines it once for each combination with a shared cache, and audits each build against instances.json
and stuff.json (docs/audit.md defines the figures). Thresholds depend on the CLIP: each is the quantile that leaves
the given share of the pairs that the same strategy and proposals give without one.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from benchmarks.ablation.worlds import MASKS, PROPOSERS, Proposals
from benchmarks.report import machine
from pipeline.audit import audit
from pipeline.audit.printing import percent
from pipeline.build import build
from pipeline.manifest import BuildManifest
from pipeline.terminal import terminal
from pipeline.world import write_world

STRATEGIES = ("best_mask_per_noun", "mutual_best", "one_to_one")
THRESHOLDS = {"min_score_cosine": "score_cosine", "min_margin_noun": "margin_noun", "min_margin_mask": "margin_mask"}
"""Key of matching.rules -> column of the index that it cuts."""
TRUTHS = ("instances.json", "stuff.json")
COLUMNS = {
    "proposals": "proposals",
    "strategy": "strategy",
    "threshold": "threshold",
    "pairs": "pairs",
    "p50": "precision, IoU 0.5",
    "p75": "precision, IoU 0.75",
    "all50": "of all pairs",
    "grounded": "nouns grounded",
    "instances": "instances found",
    "classes": "classes found",
    "nouns": "nouns",
    "contradictory": "contradictory masks",
    "area": "area",
    "ece": "ECE",
}


class Bench:
    """Mines a world in many ways, in one folder."""

    def __init__(self, folder: Path, world: Path, clip: str, workers: int) -> None:
        self._folder, self._world, self._clip, self._workers = folder, world, clip, workers
        self._builds = 0

    def mine(self, proposals: Proposals, rules: dict[str, Any], first: bool = False) -> Path:
        """Builds with the shared cache; only the first build of its proposals has much to do, and gets the workers."""
        masks = [str(self._world / name) for name in TRUTHS] if proposals == "ground_truth" else []
        workers = {"runner": "ray", "workers": self._workers} if first and self._workers > 1 else {"runner": "loop"}
        images, captions = str(self._world / "images"), str(self._world / "captions.json")
        values = {
            "source": {"kind": "coco", "images": images, "captions": captions, "masks": masks},
            "proposals": {"proposer": PROPOSERS[proposals]},
            "matching": {"clip": {"model": self._clip}, "rules": rules},
            "run": {"cache": str(self._folder / "cache"), **workers},
        }
        self._builds += 1
        out = self._folder / f"build{self._builds}"
        build(BuildManifest.model_validate(values), str(out), terminal(file=io.StringIO()))
        return out

    def audited(self, mined: Path) -> dict[str, Any]:
        """The audit's report."""
        return audit(str(mined), [str(self._world / name) for name in TRUTHS], str(self._world / "classes.json"))

    def rows(self, keep: list[float]) -> Iterator[dict[str, Any]]:
        """One row per combination: the figures of COLUMNS, seconds, rules and the whole report."""
        for proposals in PROPOSERS:
            for strategy in STRATEGIES:
                start = time.perf_counter()
                base = self.mine(proposals, {"strategy": strategy}, first=strategy == STRATEGIES[0])
                yield self._row(proposals, {"strategy": strategy}, base, start)
                for key, column in THRESHOLDS.items():
                    values = pyarrow.parquet.read_table(base / "index.parquet", columns=[column])[column].drop_null()
                    for share in keep:
                        start = time.perf_counter()
                        least = float(np.quantile(values.to_numpy(), 1 - share))
                        # A margin rule takes no number below 0, which already means: no better rival.
                        rules = {"strategy": strategy, key: least if key == "min_score_cosine" else max(least, 0.0)}
                        yield self._row(proposals, rules, self.mine(proposals, rules), start)

    def _row(self, proposals: Proposals, rules: dict[str, Any], mined: Path, start: float) -> dict[str, Any]:
        report = self.audited(mined)
        thresholds = [f"{key} {value:.4f}" for key, value in rules.items() if key != "strategy"]
        half, strict = report["precision"]["0.5"], report["precision"]["0.75"]
        found = report["recall"]["0.5"]["hyponym"]
        masks = report["masks"]
        return {
            "proposals": MASKS[proposals],
            "strategy": rules["strategy"],
            "threshold": thresholds[0] if thresholds else "",
            "pairs": f"{report['pairs']:,}",
            "p50": percent(half["hyponym"]),
            "p75": percent(strict["hyponym"]),
            "all50": percent(half["lower_bound"]),
            "grounded": percent(report["grounded"]["share"]),
            "instances": percent(found["instances"]),
            "classes": percent(found["image_classes"]),
            "nouns": f"{report['nouns']['unique']:,}",
            "contradictory": percent(masks["contradictory"] / masks["masks"] if masks["masks"] else None),
            "area": percent(report["score"]["precision_coverage_area"]),
            "ece": percent(report["score"]["calibration"]["ece"]),
            "rules": rules,
            "seconds": time.perf_counter() - start,
            "report": report,
        }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS), *([row[key] for key in COLUMNS] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", required=True, help="open_clip name, or local-dir:FOLDER")
    parser.add_argument("--images", type=int, default=500, help="scenes to render")
    parser.add_argument("--seed", type=int, default=0, help="of the world")
    parser.add_argument("--keep", type=float, nargs="*", default=[0.5], help="shares of pairs that thresholds leave")
    parser.add_argument("--workers", type=int, default=1, help="for what has to be computed")
    parser.add_argument("--world", type=Path, help="a rendered world to take instead")
    parser.add_argument("--json", type=Path, help="rows with their whole audits")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = options.world or folder / "world"
        if options.world is None:
            write_world(world, options.images, options.seed)
        rows = []
        for row in Bench(folder, world, options.clip, options.workers).rows(options.keep):
            rows.append(row)
            done = f"{row['proposals']} {row['strategy']} {row['threshold']}: {row['p50']}, {row['seconds']:.1f} s"
            print(done, file=sys.stderr, flush=True)
    print(f"{rows[0]['report']['build']['images']:,} scenes, {sum(row['seconds'] for row in rows):.0f} s in all\n")
    print(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
