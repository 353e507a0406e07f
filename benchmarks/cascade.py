"""Naming by a cascade against naming every region exactly: what it saves and what it loses, for each `keep`.

    python -m benchmarks.cascade [--keep 5 10 20 40] [--seeds 0 1 2] [--scenes 60] [--out out/cascade]
    python -m benchmarks.cascade --speed [--model ViT-B-16] [--data FOLDER_OF_COCO_MINI]

The first command mines and segments scenes of the rendered world with up to 100 masks per scene, or with the few of
the world's generator as it ships: pairs that are right (as `maskmine audit` counts), nouns grounded, mIoU. Regions are
those of one proposer, so rows differ in naming alone. The second takes a CLIP of a real size with random weights and a
photo with 100 masks, one thread, and tells the time of naming alone, cutting included, in turns.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.ablation.table import spread
from benchmarks.ablation.worlds import WORLD_CLIP
from benchmarks.report import ROOT, machine
from benchmarks.segment import soft_queries, with_random_clip
from benchmarks.world_clip import TEMPLATES
from pipeline.audit import audit
from pipeline.build import build
from pipeline.manifest import BuildManifest
from pipeline.terminal import Activity, terminal
from pipeline.world import write_world
from stages.cascade import first_for_nouns
from stages.coarse_clip import coarse_encoder
from stages.images import decode_image
from train.evaluate.benchmark_sets import open_set
from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.scores import segmentation_scores
from train.evaluate.semantic.scorer import Scorer, SemanticManifest
from train.segmenter import Segmenter, SegmenterConfig
from train.segmenter.naming import Namer

GENERATOR = {"kind": "grid", "model": "pipeline/world/generator"}
PROPOSERS: dict[str, dict[str, Any]] = {
    "the generator's": {**GENERATOR, "min_score": 0.2},
    "the generator's, nothing held back": {**GENERATOR, "min_score": 0.0005, "nms_iou": 0.97, "max_proposals": 100},
    "classical, 100": {"kind": "classical", "max_proposals": 100},
}
TRUTHS = ("instances.json", "stuff.json")
Naming = dict[str, Any]
Figures = dict[str, float]


def mined(world: Path, folder: Path, proposer: dict[str, Any], naming: Naming) -> Figures:
    """The audit of a build; builds of one proposer share a cache."""
    out = folder / "builds" / str(len(list((folder / "builds").glob("*"))))
    values = {
        "source": {"kind": "coco", "images": str(world / "images"), "captions": str(world / "captions.json")},
        "proposals": {"proposer": proposer},
        "matching": {"clip": {"model": WORLD_CLIP}, "naming": naming},
        "run": {"cache": str(folder / "cache"), "runner": "loop"},
    }
    build(BuildManifest.model_validate(values), str(out), terminal(file=io.StringIO()))
    found = audit(str(out), [str(world / name) for name in TRUTHS], str(world / "classes.json"))
    return {
        "pairs": found["pairs"],
        "right": 100 * found["precision"]["0.5"]["hyponym"],
        "grounded": 100 * found["grounded"]["share"],
    }


def segmented(
    world: Path, proposer: dict[str, Any], namings: dict[str, Naming], activity: Callable[..., None]
) -> dict[str, Figures]:
    """mIoU for each naming; a scene's masks are proposed once."""
    files = {"images": str(world / "images"), "labels": str(world / "labels"), "classes": str(world / "classes.json")}
    segmenter = {
        "proposer": proposer,
        "clip": {"model": WORLD_CLIP},
        "rules": {"antialias": True},
        "templates": TEMPLATES,
    }
    manifest = SemanticManifest.model_validate(
        {"kind": "semantic_segmentation", "set": {"kind": "folder", **files}, "segmenter": segmenter}
    )
    assert manifest.segmenter is not None
    pictures = open_set(manifest.set)
    scorer = Scorer.load(manifest.segmenter, pictures)
    whole = scorer.segmenter
    namers = {
        key: Namer(SegmenterConfig.model_validate({**segmenter, "naming": naming}), whole.namer.encoder)
        for key, naming in namings.items()
    }
    matrices = {key: ConfusionMatrix(len(pictures.classes)) for key in namings}
    text = whole.text(pictures.classes)
    for number, item in enumerate(pictures.items, start=1):
        truth, _ = pictures.read(item)
        image, masks = scorer.masks(item, truth)
        for key, namer in namers.items():
            scores = whole.combine(masks, namer.name(image, masks, text), text)
            matrices[key].update(scorer.labels(whole, masks, scores), truth)
        activity("segmenting", number, len(pictures.items))
    names = [one.name for one in pictures.classes]
    scores = {key: segmentation_scores(matrix, names) for key, matrix in matrices.items()}
    return {key: {"miou": found["miou_gt"], "pacc": found["pacc"]} for key, found in scores.items()}


def quality(options: argparse.Namespace) -> None:
    namings: dict[str, Naming] = {"exact": {"kind": "exact"}}
    namings |= {f"keep {keep}": {"kind": "cascade", "keep": keep, "side": options.side} for keep in options.keep}
    found: dict[tuple[str, str], list[Figures]] = {}
    with Activity(terminal(stderr=True)) as activity:
        for seed in options.seeds:
            world = options.out / f"world{seed}-{options.scenes}"
            if not (world / "classes.json").is_file():
                write_world(world, options.scenes, 800_000 + seed)
            for name, proposer in PROPOSERS.items():
                kept = world / f"{name}-{options.side}-{'-'.join(map(str, options.keep))}.json"
                if not kept.is_file():
                    rows = segmented(world, proposer, namings, activity)
                    with tempfile.TemporaryDirectory() as folder:
                        for key, naming in namings.items():
                            activity(f"seed {seed}: {name}: mining, {key}")
                            rows[key] |= mined(world, Path(folder), proposer, naming)
                    kept.write_text(json.dumps(rows))
                for key, figures in json.loads(kept.read_text()).items():
                    found.setdefault((name, key), []).append(figures)
    print(f"{machine()}; {options.scenes} scenes, seeds {options.seeds}, side {options.side}\n")
    heads = ("masks", "naming", "pairs", "right %", "nouns grounded %", "mIoU %", "pixel accuracy %")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for (name, key), seeds in found.items():
        cells = [spread([one[figure] for one in seeds]) for figure in ("pairs", "right", "grounded", "miou", "pacc")]
        print(f"| {name} | {key} | {' | '.join(cells)} |")


def speed(options: argparse.Namespace) -> None:
    photo = decode_image(min((options.data / "train2017").glob("*.jpg")).read_bytes())
    torch.set_num_threads(1)
    print(f"{machine()}; {options.model}, {options.masks} masks, one thread")
    with tempfile.TemporaryDirectory() as folder:
        values = with_random_clip(Path(folder), options)
        segmenter = Segmenter.load(SegmenterConfig.model_validate(values))
        encoder = segmenter.namer.encoder
        soft = segmenter.masks.soft(soft_queries(options.masks), *photo.shape[:2])
        binary = segmenter.propose(photo)
        nouns = encoder.encode_names([f"noun {number}" for number in range(options.nouns)])
        coarse = coarse_encoder(encoder, options.side)
        regions = [(photo, rle) for rle in binary.rles]

        def mine(keep: int | None) -> None:
            if keep is None:
                encoder.encode_regions(regions)
                return
            scores = coarse.encode_regions(regions) @ nouns.T
            encoder.encode_regions([regions[one] for one in first_for_nouns(scores.numpy(), keep)])

        def namer(keep: int | None) -> Namer:
            naming = {"kind": "exact"} if keep is None else {"kind": "cascade", "keep": keep, "side": options.side}
            return Namer(SegmenterConfig.model_validate({**values, "naming": naming}), encoder)

        ways: dict[str, Callable[[int | None], Any]] = {
            f"mining, {options.nouns} nouns": mine,
            "segmenting, binary masks": lambda keep: list(namer(keep).encode(photo, binary)),
            "segmenting, soft masks": lambda keep: list(namer(keep).encode(photo, soft)),
        }
        for way, action in ways.items():
            spent: dict[int | None, list[float]] = {keep: [] for keep in (None, *options.keep)}
            for _ in range(options.rounds):
                for keep, seconds in spent.items():
                    start = time.perf_counter()
                    action(keep)
                    seconds.append(time.perf_counter() - start)
            exact = median(spent[None])
            told = [f"keep {keep}: {exact / median(spent[keep]):.1f} times" for keep in options.keep]
            print(f"{way}: exact {exact:.1f} s; {', '.join(told)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", type=int, nargs="+", default=[5, 10, 20, 40])
    parser.add_argument("--side", type=float, default=0.375)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("out/cascade"))
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of the time alone")
    parser.add_argument("--masks", type=int, default=100)
    parser.add_argument("--nouns", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/coco-mini")
    options = parser.parse_args()
    (speed if options.speed else quality)(options)


if __name__ == "__main__":
    main()
