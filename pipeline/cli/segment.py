"""`maskmine segment`: photos and words in, pictures and data out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.cli.options import Settings, about, storage_of, warn_if_slow
from pipeline.terminal import Activity, terminal
from stages.common import UnreachableError, UserError, ahead, escaped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from train.segmenter import ClassName, PhotoError, Segmentation, Segmenter

Photos = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Photos, folders, or patterns in quotes.", show_default=False)
]
Classes = Annotated[
    str,
    typer.Option(
        metavar="WORDS",
        help='"sea, boat, sofa|couch" (| for synonyms), or @FILE, one class per line.',
        show_default=False,
    ),
]
WITHOUT_NETWORK = """\
  maskmine world --out out/try --images 1
  maskmine segment out/try/images/0000001.jpg --classes "orangutan, wood" --config manifests/segment/world.yaml"""


def segment(
    photos: Photos,
    classes: Classes,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Segmenter (YAML), such as manifests/segment/world.yaml.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results; default: segmented.", show_default=False)
    ] = None,
    print_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a photo, a line each, on stdout; files only with --out.")
    ] = False,
    everything_else: Annotated[
        bool, typer.Option("--everything-else", help="What is none of the classes becomes 'nothing'.")
    ] = False,
    setting: Settings = [],  # noqa: B006 - typer's way
) -> None:
    """Segment photos by words: an overlay with a legend, a label map, and data of each. Exit status 1 if one is bad."""
    from train.segmenter import check_outputs, find_photos, parse_classes

    console = terminal(stderr=print_json)
    with about("--classes"):
        named = parse_classes(classes)
    found = find_photos(photos)
    folder = out or (None if print_json else Path("segmented"))
    if folder is not None:
        with about("--out"):
            check_outputs(found, folder)
    with Activity(terminal(stderr=True)) as activity:
        activity("loading models")
        segmenter = _segmenter(config, setting, everything_else)
        warn_if_slow(activity, segmenter.config.precision, segmenter.config.device)
    if segmenter.masks.needs_record:
        kind = segmenter.config.proposer.kind
        raise UserError(f"proposer: kind {kind!r} takes masks that come with a photo; choose one that looks at pixels")
    _tell(segmenter, named, terminal(stderr=True))
    if bad := _segment_all(segmenter, found, named, folder, print_json, console):
        console.print(f"{bad} of {len(found)} photos could not be segmented.")
        raise typer.Exit(1)


def _segmenter(config: Path | None, setting: list[str], everything_else: bool) -> Segmenter:
    from stages.common import load
    from train.segmenter import EVERYTHING_ELSE, PHOTO_SEGMENTER, Segmenter, SegmenterManifest

    settings = load(SegmenterManifest, config or PHOTO_SEGMENTER, setting)
    if everything_else and settings.everything_else is None:
        settings = settings.model_copy(update={"everything_else": EVERYTHING_ELSE})
    try:
        return Segmenter.load(settings)
    except UnreachableError as error:
        default = "Without --config, models for photos are downloaded at first use. " if config is None else ""
        raise UserError(
            f"{error}\n{default}Where there is no network, copy {PHOTO_SEGMENTER}, name local "
            "folders of models in it, and give it as --config.\n"
            f"To see it work without a network, in maskmine's own folder:\n{WITHOUT_NETWORK}"
        ) from error


def _tell(segmenter: Segmenter, classes: tuple[ClassName, ...], console: Console) -> None:
    """Says what would surprise: one class alone, and which classes the mask generator was trained on."""
    if len(classes) == 1 and segmenter.config.everything_else is None:
        console.print(
            f"Warning: {classes[0].name!r} is the only class, so every mask is one; "
            "give more classes, or --everything-else.",
        )
    if segmenter.masks.labels:
        matches = segmenter.label_matches(classes)
        known = [f"{one.name} ({match.how})" for one, match in zip(classes, matches, strict=True) if match.how]
        console.print(
            f"The mask generator knows {len(known)} of {len(classes)} classes; CLIP alone names the others. "
            + ", ".join(known[:20])
            + (", ..." if len(known) > 20 else ""),
        )


def _segment_all(
    segmenter: Segmenter,
    photos: list[Path],
    classes: tuple[ClassName, ...],
    folder: Path | None,
    print_json: bool,
    console: Console,
) -> int:
    """Segments all photos and says what is in them; gives the number of those that could not be.

    While a photo is segmented, threads decode the next ones and write the results of the last one.
    """
    from train.segmenter import PhotoError

    bad = 0
    shown = terminal(stderr=True)
    with Activity(shown) as activity, ahead(_read(photos)) as pictures, ThreadPoolExecutor(1) as writer:
        last: Callable[[], None] | None = None
        for number, (photo, picture) in enumerate(pictures):
            activity("segmenting photos", number, len(photos))
            try:
                if isinstance(picture, PhotoError):
                    raise picture
                result = segmenter.segment_file(photo, classes, picture)
            except PhotoError as error:
                bad += 1
                told = partial(shown.print, f"maskmine: {error}")
            else:
                files = None if folder is None else writer.submit(result.save, folder)
                told = partial(_tell_result, result, folder, files, print_json, console)
            if last is not None:
                last()
            last = told
        if last is not None:
            last()
    return bad


def _read(photos: list[Path]) -> Iterator[tuple[Path, NDArray[np.uint8] | PhotoError]]:
    """Each photo decoded, or what is wrong with it."""
    from train.segmenter import PhotoError, read_photo

    for photo in photos:
        try:
            yield photo, read_photo(photo)
        except PhotoError as error:
            yield photo, error


def _tell_result(
    result: Segmentation,
    folder: Path | None,
    files: Future[tuple[Path, ...]] | None,
    print_json: bool,
    console: Console,
) -> None:
    """Says what is in a photo, once its files are written."""
    if files is not None:
        with storage_of(str(folder)):
            overlay = files.result()[0]
        console.print(_summary(result, str(overlay)))
    if print_json:
        typer.echo(json.dumps(result.to_json(), ensure_ascii=False))


def _summary(result: Segmentation, overlay: str) -> str:
    shares = {name: 100 * area_px / result.labels.size for name, area_px in result.areas_px.items()}
    listed = [f"{name} {share:.0f} %" if share >= 1 else f"{name} < 1 %" for name, share in shares.items()]
    more = f", {len(listed) - 8} more" if len(listed) > 8 else ""
    return escaped(f"{result.file}: {', '.join(listed[:8]) or 'nothing'}{more} -> {overlay}")
