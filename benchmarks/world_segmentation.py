"""Two-stage segmentation of the rendered world: proposals against CLIPs, with the bounds of perfect masks and names.

    python -m benchmarks.world_segmentation [--runs out/ablation/500-1200-60x128] [--seeds 0 1 2] [--scenes 80]

Takes the CLIPs that `python -m benchmarks.ablation` left, and scenes that no CLIP was trained on. Seen classes are
those that the ablation's captions mention: half of the objects, and all stuff.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.ablation.rows import RULES
from benchmarks.ablation.table import spread
from benchmarks.ablation.worlds import MASKS, PROPOSERS, WORLD_CLIP, Proposals, Split
from benchmarks.report import machine
from benchmarks.world_clip import TEMPLATES
from pipeline.world import WorldConfig, write_world
from pipeline.world.vocabulary import load_vocabulary
from train.evaluate.semantic import SemanticManifest, evaluate_semantic

_CLIPS = {"plain CLIP": None, "MPT": "mpt", "FT": "ft", "FT, then MPT": "ft_mpt"}


def score(
    runs: Path, seed: int, world: Path, proposals: Proposals, run: str | None, perfect_names: bool
) -> dict[str, Any]:
    """Scores of one cell; kept in the folder of the seed."""
    kept = runs / f"seed{seed}" / "segmentation" / f"{proposals}-{'names' if perfect_names else run or 'plain'}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_bytes())
        return found
    clip = {"weights": str(runs / f"seed{seed}" / "runs" / run / "last")} if run else {"model": WORLD_CLIP}
    seen = [*Split.of(seed).seen, *(stuff.name for stuff in load_vocabulary().stuff)]
    manifest = {
        "kind": "semantic_segmentation",
        "set": {
            "kind": "folder",
            "images": str(world / "images"),
            "labels": str(world / "labels"),
            "classes": str(world / "classes.json"),
        },
        "segmenter": {
            "proposer": PROPOSERS[proposals],
            "clip": clip,
            "rules": RULES.model_dump(),
            "templates": TEMPLATES,
        },
        "best_labels": perfect_names,
        "seen": seen,
        "open_metrics": False,
    }
    found = evaluate_semantic(SemanticManifest.model_validate(manifest), workers=os.cpu_count() or 1)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=Path, default=Path("out/ablation/500-1200-60x128"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=80)
    options = parser.parse_args()
    world = options.runs / f"segmented_{options.scenes}"
    if not (world / "classes.json").is_file():
        write_world(world, options.scenes, 50_000, WorldConfig(single_object=0.0))
    rows: list[tuple[Proposals, str, str | None, bool]] = []
    for proposals in PROPOSERS:
        rows += [(proposals, name, run, False) for name, run in _CLIPS.items()]
        if proposals != "ground_truth":
            rows.append((proposals, "perfect names", None, True))
    print(f"{machine()}; {options.scenes} cluttered scenes, 429 classes, seeds {options.seeds}\n")
    print("| masks | names by | mIoU % seen | unseen | harmonic | pixel accuracy % |\n|---|---|---|---|---|---|")
    for proposals, name, run, perfect_names in rows:
        found = [score(options.runs, seed, world, proposals, run, perfect_names) for seed in options.seeds]
        cells = [spread([one[part]["miou_gt"] for one in found]) for part in ("seen", "unseen")]
        cells += [spread([one["harmonic"]["miou_gt"] for one in found]), spread([one["pacc"] for one in found])]
        print(f"| {MASKS[proposals]} | {name} | {' | '.join(cells)} |", flush=True)
        print(f"{proposals}, {name}: done", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
