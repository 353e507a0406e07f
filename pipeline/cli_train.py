"""Commands of the training room. The command line is the one place where pipeline meets train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.cli_options import JsonFile, Settings, storage_of, write_json
from stages.errors import UserError

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest (YAML).", show_default=False)]


def train(
    manifest: Manifest,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.", show_default=False)],
    setting: Settings = [],  # noqa: B006 - typer's way
) -> None:
    """Train from shards. The same command again goes on from the last checkpoint."""
    from stages.manifests import read_values

    kinds = {"adapt": _adapt, "pretrain": _pretrain}
    kind = read_values(manifest, "kind", setting).get("kind")
    if kind not in kinds:
        raise UserError(f"{manifest}: kind: expected {' or '.join(kinds)}, found {kind!r}")
    with storage_of(str(out)):
        kinds[kind](manifest, out, setting, Console())


def _pretrain(manifest: Path, out: Path, setting: list[str], console: Console) -> None:
    from train.manifests import load_pretrain
    from train.pretrain import pretrain

    recipe = load_pretrain(manifest, setting)
    written = pretrain(recipe, out, lambda line: _print_line(console, line, recipe.steps))
    console.print(f"{written}: trained; a manifest names it as local-dir:{written}", highlight=False, soft_wrap=True)


def _adapt(manifest: Path, out: Path, setting: list[str], console: Console) -> None:
    from rich.progress import BarColumn, Progress, TextColumn

    from train.adapt import adapt
    from train.manifests import load_adapt

    recipe = load_adapt(manifest, setting)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,.0f} steps"))
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun began
    live = console.is_terminal and is_first
    with Progress(*columns, console=console, disable=not live, transient=True) as progress:
        task = progress.add_task("training", total=1)

        def report(line: dict[str, Any]) -> None:
            if live and "steps" in line:
                progress.update(task, completed=line["step"], total=line["steps"], description=_of_adapt(line))
            else:
                console.print(f"step {line['step']:,}: {_of_adapt(line)}", highlight=False, soft_wrap=True)

        written = adapt(recipe, out, report)
    if is_first:
        console.print(f"{written}: trained; a manifest names it under weights", highlight=False, soft_wrap=True)


def _of_adapt(line: dict[str, Any]) -> str:
    if "held_out" in line:
        return f"held-out score {line['held_out']:.2f}"
    left_min = (line["steps"] - line["step"]) * line["seconds_a_step"] / 60
    rate = f"{line['pairs_per_s']:,.0f} pairs/s, {left_min:.0f} min left"
    return f"phase {line['phase'] + 1}: loss {line['loss']:.3f}; {rate}"


def evaluate(
    manifest: Manifest,
    setting: Settings = [],  # noqa: B006 - typer's way
    json_file: JsonFile = None,
) -> None:
    """Score a CLIP on ground-truth regions."""
    from rich.progress import Progress, TextColumn

    from train.classify import classify
    from train.classify.printing import print_scores
    from train.manifests import load_classify

    console = Console()
    asked = load_classify(manifest, setting)
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,} regions"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("naming", total=None)
        scores = classify(asked, lambda done: progress.update(task, completed=done))
    print_scores(scores, console)
    write_json(json_file, scores)


def _print_line(console: Console, line: dict[str, Any], steps: int) -> None:
    left_s = (steps - line["step"]) * line["seconds_a_step"]
    shown = ", ".join(f"{name} {value:.3f}" for name, value in line.items() if name.endswith("loss"))
    rate = f"{line['images_per_s']:.0f} images/s, {left_s / 60:.0f} min left"
    console.print(f"step {line['step']:,} of {steps:,}: {shown}; {rate}", highlight=False, soft_wrap=True)
