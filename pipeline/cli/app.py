"""The command `maskmine`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli import reproduce, segment, train
from pipeline.cli.options import JsonFile, Settings, about, storage_of, write_json
from pipeline.records import Lock
from pipeline.terminal import Activity, duration, file_size, terminal
from stages.common import UserError

app = typer.Typer(
    help="Mine mask-noun pairs from captioned photos, reproducibly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Build manifest (YAML).", show_default=False)]
WorldSettings = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set an option of the world, e.g. single_object=true.")
]


def _version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(f"maskmine {metadata.version('maskmine')}")
        except metadata.PackageNotFoundError as error:
            raise UserError("--version: this copy is not installed, so it has none; try pip install -e .") from error
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Mine mask-noun pairs from captioned photos, reproducibly."""


@app.command()
def plan(
    manifest: ManifestPath,
    setting: Settings = [],  # noqa: B006 - typer's way
    sample: Annotated[int, typer.Option(help="Images to try for the estimate; 0 loads no model.", min=0)] = 4,
) -> None:
    """Check everything without building: inputs, models, units; estimate size and time from a short sample."""
    from pipeline.estimate import estimate
    from pipeline.manifest import BuildManifest
    from pipeline.plan import make_plan
    from stages.common import load

    console = terminal()
    settings = load(BuildManifest, manifest, setting)
    with storage_of(f"inputs of {manifest}"), Activity(console) as activity:
        activity("reading inputs, hashing models")
        planned = make_plan(settings)
    rows = [
        ("images", f"{len(planned.rows):,}"),
        ("missing", f"{planned.missing:,} not in their folder; they would be quarantined"),
        *(
            ("set aside", f"{count:,} {item}{'s' * (count != 1)}: {reason}")
            for (item, reason), count in planned.aside.reasons().items()
        ),
        ("shards", f"{planned.units:,} of {planned.images_per_unit} images"),
    ]
    rows += [(f"input {role}", f"sha256 {value[:16]}") for role, value in planned.document.inputs.items()]
    for stage, files in planned.document.models.items():
        listed = [f"{name} {value[:8]}" for name, value in files.items()] or ["none"]
        rows += [(f"model {stage}", line) for line in listed]
    _print_rows(console, [*rows, ("plan", planned.digest)])
    for (item, reason), first in planned.aside.examples().items():
        console.print(f"set aside, the first {item} by {reason}: {first}")
    for sentence in planned.aside.notes:
        console.print(sentence)
    if sample:
        with storage_of(f"inputs of {manifest}"), Activity(console) as activity:
            activity(f"mining a sample of {sample} images")
            found = estimate(settings, planned, sample)
        total = len(planned.rows)
        console.print(
            f"From a sample of {found.images} images: about {duration(found.seconds_per_image * total)} on one worker "
            f"({found.seconds_per_image:.2f} s per image), {file_size(found.bytes_per_image * total)} of shards, "
            f"{found.pairs_per_image * total:,.0f} pairs"
            + (f"; {found.quarantined} of the sample would be quarantined." if found.quarantined else "."),
        )


@app.command()
def build(
    manifest: ManifestPath,
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder or fsspec URL of the build.", show_default=False)],
    setting: Settings = [],  # noqa: B006 - typer's way
    workers: Annotated[int | None, typer.Option(min=1, help="Ray actors; default one per CPU or GPU.")] = None,
    runner: Annotated[str | None, typer.Option(help="ray, or loop: a plain loop in this process.")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster; otherwise Ray starts here.")] = None,
    cache: Annotated[str | None, typer.Option(help="Cache folder or URL that builds share, or none.")] = None,
    lock: Annotated[str | None, typer.Option(help="build.lock.json that this build must reproduce.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="A remote folder's other driver is gone.")] = False,
) -> None:
    """Build shards of (region, mask, noun). The same command again goes on where a stopped one was."""
    from pipeline.build import build as run_build
    from pipeline.manifest import BuildManifest
    from stages.common import LockError, load

    console = terminal()
    given = {"workers": workers, "runner": runner, "cache": cache}
    overrides = [*setting, *(f"run.{name}={value}" for name, value in given.items() if value is not None)]
    settings = load(BuildManifest, manifest, overrides)
    try:
        with storage_of(out), about("--lock", str(lock)), about("--address", str(address)):
            outcome = run_build(settings, out, console, address=address, lock=lock, take_over=take_over)
    except LockError as error:
        raise UserError(f"{error} ({lock}); the build cannot be reproduced from these images") from error
    if outcome.lock is None:
        for unit, reason in sorted(outcome.failures.items()):
            console.print(f"unit {unit} failed: {reason}")
        console.print("Not finished; the same command tries the failed units again.")
        raise typer.Exit(1)
    _summary(console, out, outcome.lock, outcome.done_before, lock)


@app.command()
def verify(directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a finished build.")]) -> None:
    """Check every promise of a finished build from its files alone; exit status 1 if one is broken."""
    from pipeline.verify import verify as check

    console = terminal()
    with storage_of(directory), Activity(console) as activity:
        activity("checking shards and tables")
        notes: list[str] = []
        lock, problems = check(directory, notes.append)
    for line in (*notes, *problems):
        console.print(line)
    if problems:
        console.print(f"{len(problems)} problem(s) in {directory}.")
        raise typer.Exit(1)
    assert lock is not None
    console.print(
        f"{directory}: all is well: {lock.counts.pairs:,} pairs of {lock.counts.images:,} images.",
    )


@app.command()
def show(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a finished build.")],
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs to print.")] = 20,
) -> None:
    """Print a sample of a build's pairs and its commonest nouns."""
    from pipeline.show import show as print_pairs

    print_pairs(directory, pairs, terminal())


@app.command()
def report(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a finished build.")],
    pairs: Annotated[int, typer.Option(min=1, max=100, help="Pictures in each section of pairs.")] = 12,
) -> None:
    """Write a finished build's report.html again: pictures of pairs, counts, histograms. A build writes it, too."""
    from pipeline.report.page import write_report
    from stages.common import Folder

    console = terminal()
    with storage_of(directory), Activity(console) as activity:
        activity("drawing pairs")
        size = write_report(Folder(directory), pairs)
    console.print(f"{directory.rstrip('/')}/report.html: {file_size(size)}.")


@app.command()
def world(
    out: Annotated[Path, typer.Option(metavar="DIR", help="New or empty folder.", show_default=False)],
    images: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    setting: WorldSettings = [],  # noqa: B006 - typer's way
    captioned: Annotated[bool, typer.Option("--captioned", help="Shards of pictures and captions; no masks.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they change no byte.")] = 1,
) -> None:
    """Render captioned scenes with ground truth, in COCO's layout: a small world to try things on."""
    from pipeline.world import WorldConfig, write_captioned_shards, write_world
    from stages.common import read_settings

    config = read_settings(WorldConfig, setting)
    write = write_captioned_shards if captioned else write_world
    console = terminal()
    with Activity(console) as activity:
        activity("rendering scenes", 0, images)
        write(out, images, seed, config, workers, lambda done: activity("rendering scenes", done, images))
    held = "captions, in shards" if captioned else "captions, masks and labels"
    console.print(f"{out}: {images:,} scenes with {held} (see docs/world.md).")


@app.command()
def audit(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder or URL of a finished build.")],
    truth: Annotated[
        list[str], typer.Option(metavar="FILE", help="COCO-style annotations; may be given again.", show_default=False)
    ],
    synonyms: Annotated[str | None, typer.Option(metavar="FILE", help="Other words for the truth's classes.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Compare a build's pairs with ground truth: precision, recall, calibration of the score."""
    from pipeline.audit import audit as run_audit
    from pipeline.audit.printing import print_report

    console = terminal()
    with (
        storage_of(directory),
        about("--truth", *truth),
        about("--synonyms", "synonyms"),
        Activity(console) as activity,
    ):
        activity("reading pairs and truth")
        report = run_audit(directory, truth, synonyms, lambda done, total: activity("auditing pairs", done, total))
    print_report(report, directory, console)
    write_json(json_file, report)


app.command()(train.train)
app.command()(train.evaluate)
app.command()(train.tune)
app.command()(segment.segment)
app.command()(train.export)
app.command()(reproduce.reproduce)


def _summary(console: Console, out: str, lock: Lock, done_before: int, reference: str | None) -> None:
    counts = lock.counts
    aside = "".join(f", {count:,} {item} of the input" for item, count in lock.plan.set_aside.items())
    quarantined = f"{counts.images_quarantined:,} images, {counts.captions_quarantined:,} captions{aside}"
    rows = [
        ("pairs", f"{counts.pairs:,}"),
        ("images with pairs", f"{counts.images_pairs:,} of {counts.images:,}"),
        ("images without", f"{counts.images_no_pairs:,} (reasons in images.parquet)"),
        ("quarantined", f"{quarantined} (reasons in quarantine.parquet)"),
        ("shards", f"{len(lock.units):,}" + (f", {done_before:,} of them from before" if done_before else "")),
        ("plan", lock.plan_digest[:16]),
        ("folder", out),
    ]
    _print_rows(console, rows)
    if reference:
        _compare(console, lock, reference)


def _print_rows(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Names and values in two columns; a value is never cut or folded, so that it can be copied."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(f"{name:<{width}}  {value}")


def _compare(console: Console, lock: Lock, reference: str) -> None:
    from pipeline.build import read_lock_file

    wanted = {entry.unit: entry.shard_sha256 for entry in read_lock_file(reference).units}
    other = [entry.unit for entry in lock.units if entry.shard_sha256 != wanted.get(entry.unit)]
    if other:
        console.print(f"{len(other)} of {len(wanted)} shards differ from the lock, e.g. unit {other[0]}.")
        raise typer.Exit(1)
    console.print(f"All {len(wanted)} shards are, bit for bit, those of the lock.")
