"""Commands of the training room. The command line is the one place where pipeline meets train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from pipeline.cli.options import JsonFile, Settings, about, storage_of, warn_if_slow, write_json
from pipeline.terminal import Activity, AdaptProgress, GeneratorProgress, PretrainProgress, terminal
from stages.common import UserError

if TYPE_CHECKING:
    from train.manifests import (
        AdaptManifest,
        ClassifyManifest,
        GeneratorManifest,
        PretrainManifest,
        ProposalsManifest,
        SemanticManifest,
    )

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest (YAML).", show_default=False)]


def train(
    manifest: Manifest,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.", show_default=False)],
    setting: Settings = [],  # noqa: B006 - typer's way
) -> None:
    """Train a CLIP, or a mask generator. The same command again goes on from the last checkpoint."""
    console, is_first = terminal(), os.environ.get("RANK", "0") == "0"  # of the processes that torchrun began
    with Activity(console, is_first):
        from stages.common import load
        from train.manifests import GeneratorManifest, PretrainManifest, TrainManifest

        recipe = load(TrainManifest, manifest, setting)
    with storage_of(str(out)):
        if isinstance(recipe, PretrainManifest):
            _pretrain(recipe, out, console)
        elif isinstance(recipe, GeneratorManifest):
            _train_generator(recipe, out, console, is_first)
        else:
            _adapt(recipe, out, console, is_first)


def _pretrain(recipe: PretrainManifest, out: Path, console: Console) -> None:
    from train.pretrain import pretrain

    with PretrainProgress(console) as progress:
        written = pretrain(recipe, out, progress.line, progress)
    console.print(f"{written}: trained; a manifest names it as local-dir:{written}")


def _train_generator(recipe: GeneratorManifest, out: Path, console: Console, is_first: bool) -> None:
    from train.generator import train_generator

    with GeneratorProgress(console, is_first) as progress:
        written = train_generator(recipe, out, progress.line, progress)
    if is_first:
        console.print(f"{written}: trained; a manifest names it as the proposer's model, kind: {recipe.network.kind}")


def _adapt(recipe: AdaptManifest, out: Path, console: Console, is_first: bool) -> None:
    from train.adapt import adapt

    with AdaptProgress(console, is_first) as progress:
        written = adapt(recipe, out, progress.line, progress)
    if is_first:
        console.print(f"{written}: trained; a manifest names it under init.weights or clip.weights")


def evaluate(
    manifest: Manifest,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of a segmentation: keeps counts, so that a stopped run goes on."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, of a segmentation.")] = 1,
    setting: Settings = [],  # noqa: B006 - typer's way
    json_file: JsonFile = None,
) -> None:
    """Score a CLIP on ground-truth regions, a segmenter on a benchmark, or mask proposals on true masks."""
    console = terminal()
    with Activity(console):
        from stages.common import load
        from train.manifests import EvaluateManifest, SemanticManifest

        asked = load(EvaluateManifest, manifest, setting)
    if isinstance(asked, SemanticManifest):
        with storage_of(str(out or manifest)):
            scores = _score_segmentation(asked, out, workers, console)
    elif out is not None or workers > 1:
        raise UserError(
            f"--out and --workers are for a semantic_segmentation; this manifest's kind, {asked.kind}, has no use for "
            "them"
        )
    else:
        scores = _score_proposals(asked, console) if asked.kind == "proposals" else _classify(asked, console)
    write_json(json_file, scores)


def _classify(asked: ClassifyManifest, console: Console) -> dict[str, Any]:
    with Activity(console) as activity:
        from train.evaluate.classify import classify, print_scores

        activity("loading ground truth and the CLIP")
        scores = classify(asked, lambda done: activity("naming regions", done))
    print_scores(scores, console)
    return scores


def _score_proposals(asked: ProposalsManifest, console: Console) -> dict[str, Any]:
    with Activity(console) as activity:
        from train.evaluate.proposals import evaluate_proposals, print_proposals

        activity("loading ground truth and the proposer")
        warn_if_slow(activity, asked.precision, asked.device)
        scores = evaluate_proposals(asked, lambda done, total: activity("proposing masks", done, total))
    print_proposals(scores, console)
    return scores


def _score_segmentation(asked: SemanticManifest, out: Path | None, workers: int, console: Console) -> dict[str, Any]:
    with Activity(console) as activity:
        from train.evaluate.semantic import evaluate_semantic, print_semantic

        activity("loading the set and the models")
        if asked.segmenter is not None:
            warn_if_slow(activity, asked.segmenter.precision, asked.segmenter.device)
        scores = evaluate_semantic(asked, out, workers, lambda done, total: activity("segmenting photos", done, total))
    print_semantic(scores, console)
    return scores


def tune(
    manifest: Manifest,
    setting: Settings = [],  # noqa: B006 - typer's way
    json_file: JsonFile = None,
) -> None:
    """Choose a segmenter's ensemble weight, temperature and threshold on held-out training pictures."""
    console = terminal()
    with Activity(console) as activity:
        from stages.common import load
        from train.evaluate.semantic import TuneManifest, print_tuning
        from train.evaluate.semantic import tune as try_all

        asked = load(TuneManifest, manifest, setting)
        activity("loading the set and the models")
        warn_if_slow(activity, asked.segmenter.precision, asked.segmenter.device)
        tried = try_all(asked, lambda done, total: activity("trying", done, total))
    print_tuning(tried, asked.metric, console)
    write_json(json_file, {"metric": asked.metric, "rows": tried.rows, "notes": tried.notes})


def export(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS", help="Such as RUN/last; with ovseg_folder, OVSeg's file.", show_default=False
        ),
    ],
    layout: Annotated[
        Literal["open_clip", "ovseg", "training", "state_dict", "ovseg_folder"],
        typer.Option(help="open_clip, ovseg_folder: a folder; the others: a file.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="PATH", help="New folder or file.", show_default=False)],
    precision: Annotated[Literal["fp32", "fp16", "bf16"], typer.Option(help="Of matrices.")] = "fp32",
    no_prompts: Annotated[bool, typer.Option("--no-prompts", help="Leave the mask prompts out.")] = False,
    segmenter: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With ovseg: the file whose mask generator is kept.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands there.")] = False,
) -> None:
    """Write an adapted CLIP for other systems, or OVSeg's file as safetensors. See docs/export.md."""
    console = terminal()
    with storage_of(str(out)), about("--segmenter", "segmenter"), Activity(console):
        from train.clip.export import export as write

        notes = write(folder, layout, out, precision, not no_prompts, segmenter, force)
    for line in (f"{out}: written.", *notes):
        console.print(line)
