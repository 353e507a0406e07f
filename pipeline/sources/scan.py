"""The images of a source: read, put in order, listed."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.coco import read_coco
from pipeline.sources.config import WEB, AnySource, CocoSource, TableSource, WebdatasetSource, root_of
from pipeline.sources.set_aside import SetAside
from pipeline.sources.table import read_table
from pipeline.sources.webdataset import read_webdataset
from stages.common import Folder, UserError, join

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


def add_scan(rows: pa.Table, source: AnySource) -> pa.Table:
    """Adds the column `listed`: sizes from one listing of each folder that is named; null where there is no listing.

    Raises:
        UserError: not one of the images is there, so that a wrong path is found before a build and not by it.
    """
    names_only = source.scan == "names" or isinstance(source, WebdatasetSource)
    if names_only or root_of(source).startswith(WEB):
        return rows.append_column("listed", pa.nulls(len(rows), pa.int64()))
    root = root_of(source)
    sizes: dict[str, int] = {}
    folders = pc.unique(pc.replace_substring_regex(rows["file"], r"[^/]*$", "")).to_pylist()
    for folder in sorted(folder for folder in folders if not folder.startswith(WEB)):
        found = Folder(join(root, folder)).sizes()
        sizes.update({folder + name: size for name, size in found.items()})
    files = rows["file"].to_pylist()
    listed = pa.array([None if file.startswith(WEB) else sizes.get(file, -1) for file in files], pa.int64())
    if pc.max(listed).as_py() == -1:
        raise UserError(
            f"source: not one of the {len(rows)} images is at {root}, such as {files[0]}; {_elsewhere(root, files[0])}"
            "check source.images (coco) or source.root (table)"
        )
    return rows.append_column("listed", listed)


def _elsewhere(root: str, file: str) -> str:
    """Where a file that is not there lies instead, if it is found nearby: without its folders, or in one below."""
    if file.startswith("/") or "://" in file:
        return ""
    below, (folder, _, name) = Folder(root), file.rpartition("/")
    if folder and below.is_file(name):
        return f"{name} is there without {folder}/; "
    found = next((inside for inside in below.names()[:_LOOKED_INTO] if below.is_file(f"{inside}/{file}")), None)
    return f"{file} is in {join(root, found)}; " if found else ""
