"""A look at mined pairs in the terminal."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.records import table_name
from stages.common import Folder, UserError


def show(url: str, pairs: int, console: Console) -> None:
    """Prints a sample of a build's pairs, drawn by hash so that it is the same every time, and its commonest nouns.

    Args:
        url: folder or URL of a finished build.
        pairs: how many to print.
        console: where to.

    Raises:
        UserError: there is no finished build.
    """
    data = Folder(url).read_or_none(table_name("index"))
    if data is None:
        raise UserError(f"{url}: no {table_name('index')}, so no finished build; run maskmine build first")
    columns = ["key", "file", "caption", "noun", "noun_canonical", "noun_start", "noun_end", "score_cosine", "area_px"]
    columns += ["image_height_px", "image_width_px"]
    index = pyarrow.parquet.read_table(io.BytesIO(data), columns=columns)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("photo", overflow="fold", max_width=16)
    table.add_column("noun", overflow="fold", max_width=18)
    table.add_column("cosine", justify="right", no_wrap=True)
    table.add_column("area", justify="right", no_wrap=True)
    table.add_column("caption", ratio=1)
    for row in _drawn(index, pairs):
        # A caption is untrusted text: control characters could steer the terminal.
        caption = Text("".join(sign if sign.isprintable() else " " for sign in row["caption"]))
        caption.stylize("bold cyan", row["noun_start"], row["noun_end"])
        share = row["area_px"] / (row["image_height_px"] * row["image_width_px"])
        cells = (Text(row["file"].rpartition("/")[2]), Text(row["noun"]), f"{row['score_cosine']:.3f}", f"{share:.0%}")
        table.add_row(*cells, caption)
    console.print(table, soft_wrap=False)
    common = index["noun_canonical"].value_counts().to_pylist()
    common.sort(key=lambda entry: (-entry["counts"], entry["values"]))
    names = ", ".join(f"{entry['values']} {entry['counts']}" for entry in common[:12])
    console.print(f"\n{len(index):,} pairs of {len(common):,} nouns. Commonest: {names}.", soft_wrap=False)


def _drawn(index: pa.Table, pairs: int) -> list[dict[str, Any]]:
    keys = index["key"].to_pylist()
    order = sorted(range(len(keys)), key=lambda row: hashlib.sha256(keys[row].encode()).digest())
    return list(index.take(pa.array(sorted(order[:pairs]), pa.int64())).to_pylist())
