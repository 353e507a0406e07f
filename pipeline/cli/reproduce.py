"""`maskmine reproduce`: the published numbers, by one command; and the row of what is mined here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from pipeline.cli import reproduce_needs as needs
from pipeline.cli import reproduce_steps as steps
from pipeline.cli.options import JsonFile, Settings, storage_of, write_json
from pipeline.cli.reproduce_plan import BENCHMARKS, MODELS, BenchmarkName, ModelName
from pipeline.terminal import Activity, duration, terminal
from stages.common import UserError

Generator = Literal["published", "maskformer"]
_STEPS = ("build", "train", "evaluate")
_PUBLISHED_DENOMINATOR = (
    "mIoU over classes with ground truth (gt), and over those with ground truth or prediction: the published one is "
    "the second. Classes are named by OpenSeg's words and synonyms, in the published run by the data sets' own names "
    "(docs/benchmark-sets.md)."
)


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        benchmarks, names: what is scored, by which of the two systems' rules.
        data, models, out: folders.
        workers: processes of an evaluation and of a training, one on each GPU.
        generator: whose masks the CLIP that is adapted here gets.
        settings: of --set, each after the name of its step.
    """

    benchmarks: tuple[BenchmarkName, ...]
    names: tuple[ModelName, ...]
    data: str
    models: Path
    out: Path
    workers: int
    generator: Generator
    settings: tuple[str, ...]

    @property
    def shards(self) -> Path:
        """Folder of the mined pairs."""
        return self.out / "mined"

    def adapted(self, name: ModelName) -> Path:
        """Folder of a training."""
        return self.out / f"adapted-{name}"


@dataclass(frozen=True)
class Step:
    """One step of the whole.

    Attributes:
        title: what it does.
        folder: where it keeps what is done.
        checks: of what it needs; each raises UserError.
        run: does it, and gives a row of the table if it scores something.
    """

    title: str
    folder: Path
    checks: tuple[needs.Check, ...]
    run: Callable[[Console], steps.Row | None]


def reproduce(
    benchmarks: Annotated[
        list[str],
        typer.Argument(metavar="BENCHMARK...", help="a-847, pc-459, a-150, pc-59, pas-20, or all.", show_default=False),
    ],
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder of the data sets.", show_default=False)],
    models: Annotated[Path, typer.Option(metavar="DIR", help="Folder of checkpoints and models.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Each step has a folder in it.")] = Path("reproduced"),
    model: Annotated[
        list[str], typer.Option(help="swin-b or r101c; may be given again. Default: those that are there.")
    ] = [],  # noqa: B006 - typer's way
    mine: Annotated[bool, typer.Option("--mine", help="From COCO: mine, adapt the CLIP, score it.")] = False,
    generator: Annotated[Generator, typer.Option(help="With --mine: whose masks are named at the end.")] = "published",
    workers: Annotated[int, typer.Option(min=1, help="Processes that score and train: one for each GPU.")] = 1,
    check: Annotated[bool, typer.Option("--check", help="Only say what is to be done, and what is missing.")] = False,
    setting: Settings = [],  # noqa: B006 - typer's way
    json_file: JsonFile = None,
) -> None:
    """Run the published system on its benchmarks, and print measured beside published. See docs/reproduce.md."""
    _check_words("BENCHMARK", benchmarks, (*BENCHMARKS, "all"))
    _check_words("--model", model, tuple(MODELS))
    _check_settings(setting)
    console = terminal()
    chosen = tuple(name for name in BENCHMARKS if name in benchmarks or "all" in benchmarks)
    names = _names(model, models, mine and generator == "maskformer")
    asked = Asked(chosen, names, data, models, out, workers, generator, tuple(setting))
    with Activity(console):
        planned = list(_mining_steps(asked)) if mine else list(_published_steps(asked))
    for number, step in enumerate(planned, start=1):
        console.print(f"{number}. {step.title} -> {step.folder}")
    with storage_of(data), Activity(console) as activity:
        activity("looking for data, checkpoints and models")
        to_fetch = _check_needs(planned, not check, console)
    if check:
        console.print("All the rest is there." if to_fetch else "All of it is there.")
        return
    rows = list(_run(planned, console))
    steps.print_rows(rows, console)
    console.print(_PUBLISHED_DENOMINATOR)
    write_json(json_file, {"rows": [row.to_json() for row in rows]})


def _check_needs(planned: list[Step], fetching: bool, console: Console) -> list[str]:
    """Fetches what the hub has, or tells what would be fetched.

    Raises:
        UserError: something is missing.
    """
    with nullcontext() if fetching else needs.nothing_fetched():
        lacking, to_fetch = needs.problems(one for step in planned for one in step.checks)
    if fetching:  # nothing is left to fetch, unless the environment forbids it
        lacking, to_fetch = [*lacking, *to_fetch], []
    for model in to_fetch:
        console.print(f"Not here yet, fetched when the command runs: {model}")
    if lacking:
        listed = "\n".join(f"- {problem}" for problem in lacking)
        raise UserError(f"{len(lacking)} thing(s) are missing, and nothing was begun:\n{listed}")
    return to_fetch


def _check_words(name: str, given: list[str], known: tuple[str, ...]) -> None:
    if unknown := [one for one in given if one not in known]:
        raise UserError(f"{name}: {unknown[0]!r} is unknown; expected {', '.join(known[:-1])} or {known[-1]}")


def _check_settings(settings: list[str]) -> None:
    for one in settings:
        if one.partition(".")[0] not in _STEPS:
            raise UserError(
                f"--set {one}: expected the name of a step before the key: {', '.join(_STEPS)}; such as "
                "--set evaluate.segmenter.batch_size=64"
            )


def _names(asked: list[str], models: Path, without_checkpoints: bool) -> tuple[ModelName, ...]:
    """Those that are asked for, else those whose checkpoint is there, else both, so that both are told as missing."""
    every: tuple[ModelName, ...] = tuple(MODELS)
    if asked or without_checkpoints:
        return tuple(name for name in every if name in asked) or every
    return tuple(name for name in every if needs.checkpoint_of(name, models).exists()) or every


def _run(planned: list[Step], console: Console) -> Iterator[steps.Row]:
    import time

    for number, step in enumerate(planned, start=1):
        console.print(f"Step {number} of {len(planned)}: {step.title}")
        begun = time.monotonic()
        with storage_of(str(step.folder)):
            row = step.run(console)
        console.print(f"Step {number} took {duration(time.monotonic() - begun)} in this run.")
        if row is not None:
            yield row


def _published_steps(asked: Asked) -> Iterator[Step]:
    for name in asked.names:
        for benchmark in asked.benchmarks:
            title = f"OVSeg {MODELS[name].title} on {BENCHMARKS[benchmark].title}, as published"
            yield _scoring(asked, name, benchmark, title, asked.out / f"published-{name}-{benchmark}", None)


def _mining_steps(asked: Asked) -> Iterator[Step]:
    build = needs.build_manifest(asked.data, asked.models, asked.settings)
    yield Step(
        "mine pairs from COCO's captions by the paper's recipe",
        asked.shards,
        tuple(needs.check_mining(build, asked.models)),
        lambda console: steps.mine(build, asked.shards, console),
    )
    for name in asked.names:
        yield _adapting(asked, name)
        for benchmark in asked.benchmarks:
            masks = "a MaskFormer" if asked.generator == "maskformer" else f"OVSeg {MODELS[name].title}"
            title = f"the masks of {masks}, named by the adapted {MODELS[name].clip}, on {BENCHMARKS[benchmark].title}"
            folder = asked.out / f"mine-{name}-{asked.generator}-{benchmark}"
            yield _scoring(asked, name, benchmark, title, folder, asked.adapted(name) / "last")


def _adapting(asked: Asked, name: ModelName) -> Step:
    facts, folder = MODELS[name], asked.adapted(name)
    settings = needs.recipe_settings(name, asked.shards, asked.models, asked.settings)
    recipe = needs.recipe(name, settings)

    def run(console: Console) -> None:
        if asked.workers == 1:
            steps.adapt_here(recipe, folder, console)
        else:
            steps.adapt_by_torchrun(needs.manifest_file(facts.recipe), settings, folder, asked.workers)

    check = partial(needs.check_recipe, recipe, facts, asked.models)
    return Step(f"adapt {facts.clip} to the mined pairs: FT, then MPT", folder, (check,), run)


def _scoring(
    asked: Asked, name: ModelName, benchmark: BenchmarkName, title: str, folder: Path, adapted: Path | None
) -> Step:
    with_maskformer = adapted is not None and asked.generator == "maskformer"
    manifest = needs.evaluation(name, benchmark, asked.data, asked.models, asked.settings, adapted, with_maskformer)

    def check_set() -> None:
        from train.evaluate.benchmark_sets import open_set

        open_set(manifest.set)

    def check_masks() -> None:
        if with_maskformer:
            needs.check_maskformer(manifest, asked.models)
        else:
            needs.check_checkpoint(name, asked.models)

    def run(console: Console) -> steps.Row:
        scores, measured = steps.score(manifest, folder, asked.workers, console)
        for note in scores["notes"]:
            console.print(f"Note: {note}")
        system = f"OVSeg {MODELS[name].title}" if adapted is None else f"mined here, {MODELS[name].clip}"
        published = MODELS[name].miou_percent[benchmark]
        return steps.Row(system, BENCHMARKS[benchmark].title, published, scores, measured)

    return Step(title, folder, (check_set, check_masks), run)
