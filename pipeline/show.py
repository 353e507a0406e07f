"""A look at mined pairs in the terminal."""

from __future__ import annotations

import hashlib
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.common import Folder, UserError
from stages.shards import INDEX_FILE, iterate_index, read_index_rows, read_keys


def show(url: str, pairs: int, console: Console) -> None:
    """Prints a sample of a build's pairs, drawn by hash so that it is the same every time, and its commonest nouns.

    Args:
        url: folder or URL of a finished build.
        pairs: how many to print.
        console: where to.

    Raises:
        UserError: there is no finished build.
    """
    build = Folder(url)
    try:
        with build.open(INDEX_FILE) as file:
            keys = read_keys(file)
            counts = Counter[str]()
            for batch in iterate_index(file):
                counts.update(batch.noun_counts())
            rows = read_index_rows(file, _drawn(keys, pairs))
    except FileNotFoundError as error:
        raise UserError(f"{url}: no {INDEX_FILE}, so no finished build; run maskmine build first") from error
    except (ValueError, KeyError, TypeError) as error:  # pyarrow's errors are of these kinds
        raise UserError(f"{url}: {INDEX_FILE} is damaged: {error}; `maskmine verify` says more") from error
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("photo", overflow="fold", max_width=16)
    table.add_column("noun", overflow="fold", max_width=18)
    table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("area", justify="right", no_wrap=True)
    table.add_column("caption", ratio=1)
    for _, row in sorted(rows.items()):
        # A caption is untrusted text: control characters could steer the terminal.
        caption = Text("".join(sign if sign.isprintable() else " " for sign in row.caption))
        caption.stylize("bold cyan", row.noun_start, row.noun_end)
        cells = (Text(row.file.rpartition("/")[2]), Text(row.noun), f"{row.score_cosine:.3f}", f"{row.area_share:.0%}")
        table.add_row(*cells, caption)
    console.print(table, soft_wrap=False)
    common = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    names = ", ".join(f"{noun} {count}" for noun, count in common[:12])
    console.print(f"\n{len(keys):,} pairs of {len(common):,} nouns. Commonest: {names}.", soft_wrap=False)


def _drawn(keys: list[str], pairs: int) -> list[int]:
    """Numbers of the rows whose keys have the lowest hashes."""
    return sorted(range(len(keys)), key=lambda row: hashlib.sha256(keys[row].encode()).digest())[:pairs]
