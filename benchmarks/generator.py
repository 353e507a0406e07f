"""Does a generator find what it was never shown? Recall on objects of names whose masks it was not trained on.

    python -m benchmarks.generator [--seeds 0 1 2] [--rows ...] [--scenes 4000] [--steps 600] [--test-scenes 200]
                                   [--out out/unseen]

A random half of the world's object names (and all stuff) is annotated; the objects of the other half are in the
pictures without a mask. Rows differ in what a pixel without a mask is. Recall is that of at most 20 masks per scene,
on scenes of another seed, at IoU 0.5, and averaged over IoU 0.5 to 0.95. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.ablation.table import spread
from benchmarks.ablation.worlds import WORLD_CLIP, Split, rendered
from benchmarks.report import machine
from benchmarks.world_clip import TEMPLATES
from pipeline.cli.entry import main as with_clean_ends
from pipeline.terminal import Activity, GeneratorProgress, terminal
from pipeline.world import load_vocabulary

SIDE_PX = 128
MASKS = 20
PARTS = ("things_seen", "things_unseen", "stuff_seen")
FIGURES = ("recall_50", "ar")


@dataclass(frozen=True)
class Row:
    """A generator that is trained in a certain way; no training at all for `classical`.

    Attributes:
        data: keys of the manifest's data beside the set.
        annotates_all: whether the masks of all names are trained on.
        classes: whether regions are told apart by the names of their classes, too (the head for words).
    """

    key: str
    title: str
    data: dict[str, Any] = field(default_factory=dict)
    annotates_all: bool = False
    classes: bool = False


ROWS = (
    Row("all", "all names annotated (the bound)", annotates_all=True),
    Row("background", "half of the names; what has no mask is background"),
    Row("ignored", "half of the names; what has no mask costs nothing", {"unlabelled": "ignored"}),
    Row("classes", "half of the names; background, and a class loss on them", classes=True),
    Row("classical", "classical, no training"),
)


def scores_of(row: Row, seed: int, options: argparse.Namespace, console: Console) -> dict[str, float]:
    """Trains where there is something to train, and scores; what is there already is kept."""
    from stages.proposals.classical import ClassicalProposals
    from stages.proposals.models import GridProposals
    from train.evaluate.proposals import ProposalsManifest, evaluate_proposals

    done = options.out / f"seed{seed}" / f"{row.key}.json"
    if done.is_file():
        kept: dict[str, float] = json.loads(done.read_bytes())
        return kept
    proposer: Any = ClassicalProposals()
    if row.key != "classical":
        proposer = GridProposals(model=str(_train(row, seed, options, console)))
    asked = ProposalsManifest.model_validate(
        {
            "kind": "proposals",
            "truth": _truth(options.out / f"seed{seed}" / "test"),
            "proposer": proposer.model_dump(),
            "max_proposals": [MASKS],
            "seen": _seen(seed),
        }
    )
    with Activity(console) as activity:
        found = evaluate_proposals(asked, lambda at, total: activity(f"seed {seed}: {row.title}: scoring", at, total))
    scores = {name: value for name, value in found.items() if name.startswith(PARTS)}
    done.write_text(json.dumps(scores))
    return scores


def _train(row: Row, seed: int, options: argparse.Namespace, console: Console) -> Path:
    from train.generator import train_generator
    from train.generator.config import GeneratorManifest

    manifest = {
        "kind": "generator",
        "network": {"kind": "grid", "config": {"side_px": SIDE_PX}},
        "data": {
            "sets": [_truth(options.out / f"seed{seed}" / "training")],
            "held_out": 0.0,
            "sides_px": [SIDE_PX],
            "augment": {"scale": [0.8, 1.3], "color": 0.15},
            "workers": 1,
            "names": None if row.annotates_all else _seen(seed),
            **row.data,
        },
        "open_vocabulary": {"clip": {"model": WORLD_CLIP}, "templates": TEMPLATES} if row.classes else None,
        "batch_size": 16,
        "steps": options.steps,
        "lr": 1e-3,
        "seed": seed,
        "checkpoint_every": 100,
    }
    out = options.out / f"seed{seed}" / row.key
    with GeneratorProgress(console) as progress:
        return train_generator(GeneratorManifest.model_validate(manifest), out, progress.line, progress)


def _seen(seed: int) -> list[str]:
    return [*Split.of(seed).seen, *(stuff.name for stuff in load_vocabulary().stuff)]


def _truth(world: Path) -> dict[str, Any]:
    files = {"annotations": [str(world / "instances.json")], "stuff": [str(world / "stuff.json")]}
    return {"images": str(world / "images"), **files}


def _render(seed: int, options: argparse.Namespace, console: Console) -> None:
    for name, scenes, first in (("training", options.scenes, 600_000), ("test", options.test_scenes, 700_000)):
        rendered(options.out / f"seed{seed}" / name, scenes, first + seed, None, f"seed {seed}", console)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=[row.key for row in ROWS], default=[row.key for row in ROWS])
    parser.add_argument("--scenes", type=int, default=4_000, help="to train on")
    parser.add_argument("--steps", type=int, default=600, help="of 16 scenes each")
    parser.add_argument("--test-scenes", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out/unseen"))
    options = parser.parse_args()
    console = terminal(stderr=True)
    rows = [row for row in ROWS if row.key in options.rows]
    found: dict[str, list[dict[str, float]]] = {row.key: [] for row in rows}
    for seed in options.seeds:
        _render(seed, options, console)
        for row in rows:
            found[row.key].append(scores_of(row, seed, options, console))
    print(f"{machine()}\n{options.steps} steps of 16 scenes of {SIDE_PX} px, {len(options.seeds)} seeds\n")
    heads = [f"{part.replace('_', ', ')}: {figure}" for part in PARTS for figure in ("recall at 0.5", "AR")]
    print(f"| trained on | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for row in rows:
        names = [f"{part}/{figure}@{MASKS}" for part in PARTS for figure in FIGURES]
        cells = [spread([100 * seed[name] for seed in found[row.key]]) for name in names]
        print(f"| {row.title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    with_clean_ends(main)
