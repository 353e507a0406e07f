"""The images of a source: read, put in order, listed."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.coco import read_coco
from pipeline.sources.config import AnySource, CocoSource, TableSource, WebdatasetSource, root_key, root_of
from pipeline.sources.names import loosely
from pipeline.sources.set_aside import SetAside
from pipeline.sources.tables.table import read_table, table_files
from pipeline.sources.webdataset import read_webdataset
from stages.common import WEB, Folder, UserError, join


def source_files(source: AnySource) -> dict[str, str]:
    """The annotation files that a plan hashes: name in the lock -> location.

    Raises:
        UserError: a pattern stands for a table that is not there.
    """
    if isinstance(source, CocoSource):
        named = {f"masks.{number}": file for number, file in enumerate(source.masks)}
        return {"captions": source.captions, **named}
    if not isinstance(source, TableSource):
        return {}
    files = table_files(source)
    return {"table": files[0]} if len(files) == 1 else {f"table.{at}": file for at, file in enumerate(files)}


_LOOKED_INTO = 100
"""Folders in which a missing file is looked for."""


def read_rows(source: AnySource, aside: SetAside) -> pa.Table:
    """All images of a source, one row each (schema ROWS, without `listed`), unordered.

    Args:
        source: where they are.
        aside: gets what cannot be used.

    Raises:
        UserError: naming the file, what was expected and what to do.
    """
    if isinstance(source, CocoSource):
        return read_coco(source, aside)
    if isinstance(source, TableSource):
        return read_table(source, aside)
    return read_webdataset(source, aside)


_ON_THE_WEB = f"^({'|'.join(WEB)})"


def canonical_order(rows: pa.Table) -> pa.Table:
    """Sorted by image id: as numbers if all of them are, as text otherwise.

    Raises:
        UserError: an image id occurs twice.
    """
    ids = rows["image_id"]
    if pc.all(pc.match_substring_regex(ids, r"^(0|[1-9]\d{0,17})$")).as_py():
        order = pc.sort_indices(ids.cast(pa.int64()))
    else:
        order = pc.sort_indices(ids)
    rows = rows.take(order).combine_chunks()
    ids = rows["image_id"]
    if len(rows) > 1:
        twice = ids[1:].filter(pc.equal(ids[1:], ids[:-1]))
        if len(twice):
            raise UserError(f"source: image id {twice[0].as_py()!r} occurs more than once ({len(twice)} such rows)")
    return rows


def add_scan(rows: pa.Table, source: AnySource, aside: SetAside) -> pa.Table:
    """Adds the column `listed`: sizes from one listing of each folder that is named; null where there is no listing.

    Args:
        rows: of the source (schema ROWS, without `listed`).
        source: where they are.
        aside: is told of photos that are there under another spelling.

    Raises:
        UserError: not one of the images is there, so that a wrong path is found before a build and not by it.
    """
    names_only = source.scan == "names" or isinstance(source, WebdatasetSource)
    if names_only or root_of(source).startswith(WEB):
        return rows.append_column("listed", pa.nulls(len(rows), pa.int64()))
    root = root_of(source)
    sizes: dict[str, int] = {}
    is_file = pc.and_not(rows["row"].is_null(), pc.match_substring_regex(rows["file"], _ON_THE_WEB))
    folders = pc.unique(pc.replace_substring_regex(rows["file"].filter(is_file), r"[^/]*$", "")).to_pylist()
    for folder in sorted(folders):
        place = join(root, folder)
        try:
            found = Folder(place).sizes()
        except OSError as error:
            raise UserError(
                f"{root_key(source)}: {place.rstrip('/')}, in which photos are named, cannot be listed: {error}; check "
                "the address and the rights"
            ) from error
        sizes.update({folder + name: size for name, size in found.items()})
    files = rows["file"].to_pylist()
    pairs = zip(files, is_file.to_pylist(), strict=True)
    listed = pa.array([sizes.get(file, -1) if is_listed else None for file, is_listed in pairs], pa.int64())
    spelled = _spelled_otherwise(rows["file"].filter(pc.equal(listed, -1)).to_pylist(), sizes)
    if listed.null_count == 0 and pc.max(listed).as_py() == -1:
        raise UserError(
            f"source: not one of the {len(rows)} images is at {root}, such as {files[0]}; "
            f"{spelled or _elsewhere(root, files[0])}"
            "check source.images (coco) or source.root (table)"
        )
    if spelled:
        aside.note(spelled.removesuffix("; "))
    return rows.append_column("listed", listed)


def _spelled_otherwise(missing: list[str], sizes: Collection[str]) -> str:
    """How many files that are missing are there but for their spelling, and the first of them; empty if none is."""
    there = {loosely(name): name for name in sizes} if missing else {}
    found = [(name, there[loosely(name)]) for name in missing if loosely(name) in there]
    if not found:
        return ""
    count = "1 photo is" if len(found) == 1 else f"{len(found):,} photos are"
    return f"{count} there, but spelled otherwise: {found[0][0]!r} is {found[0][1]!r} there; "


def _elsewhere(root: str, file: str) -> str:
    """Where a file that is not there lies instead, if it is found nearby: without its folders, or in one below."""
    if file.startswith("/") or "://" in file:
        return ""
    below, (folder, _, name) = Folder(root), file.replace("\\", "/").rpartition("/")
    if folder and below.is_file(name):
        return f"{name} is there without {folder}/; "
    found = next((inside for inside in below.names()[:_LOOKED_INTO] if below.is_file(f"{inside}/{file}")), None)
    return f"{file} is in {join(root, found)}; " if found else ""
