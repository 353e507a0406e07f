"""What several commands have in common: options, and failures of storage told as messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.terminal import Activity
from stages.common import AskedPrecision, UserError, resolve_device, slowness_warning

Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the manifest, e.g. seed=1."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="All figures, as JSON.")]


@contextmanager
def storage_of(place: str) -> Iterator[None]:
    """Turns a storage's failure (disk full, no rights, no bucket, no network) into a message that says where.

    Raises:
        UserError: naming the place.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{place}: cannot be read or written: {error}") from error


@contextmanager
def about(flag: str, *starts: str) -> Iterator[None]:
    """Puts a flag's name before what a library, which knows no flags, says is wrong.

    Args:
        flag: such as ``--classes``.
        starts: how such an error begins, before a colon; any error if there is none.

    Raises:
        UserError: the same, after the flag.
    """
    try:
        yield
    except UserError as error:
        if starts and not str(error).startswith(tuple(f"{start}:" for start in starts)):
            raise
        named = str(error).startswith(f"{flag[2:]}:")  # the argument of a function has the flag's name
        raise UserError(f"--{error}" if named else f"{flag}: {error}") from error


def warn_if_slow(activity: Activity, precision: AskedPrecision, device: str) -> None:
    """Says so where the manifest asks for a precision for which the device has no units."""
    if warning := slowness_warning(precision, resolve_device(device)):
        activity.say(warning)


def write_json(file: Path | None, values: dict[str, Any]) -> None:
    """Writes what --json asks for, if it does.

    Raises:
        UserError: the file cannot be written.
    """
    import json

    if file is not None:
        with storage_of(str(file)):
            file.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
