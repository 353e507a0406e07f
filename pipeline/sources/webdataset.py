"""Image-text shards as img2dataset writes them."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pyarrow as pa

from pipeline.sources.config import WebdatasetSource, table_of
from pipeline.sources.set_aside import SetAside
from stages.common import Folder, UserError, open_file
from stages.shards import CaptionedPicture, Trouble, find_tars, read_captioned_pictures

_Counted = dict[str, tuple[str, int]]
"""What loses nothing: reason -> the first such thing, as a sentence, and how many there are."""
_COLUMNS = ("image_id", "file", "captions", "offset", "nbytes", "license")


def read_webdataset(source: WebdatasetSource, aside: SetAside) -> pa.Table:
    """One row per picture; reads the tars' headers and texts, not the images.

    Raises:
        UserError: there is no shard, or one is no tar.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    harmless: _Counted = {}
    shards = _shards(source, aside)
    for location in shards:
        name = _name(location)
        pictures = _read(location, source, aside, harmless, len(shards) == 1)
        for picture in pictures:
            row = (_image_id(name, picture.key), name, picture.captions)
            for column, value in zip(_COLUMNS, (*row, picture.offset, picture.nbytes, picture.license), strict=True):
                columns[column].append(value)
        if not pictures:
            aside.note(f"{name} holds no picture")
    for sentence, count in harmless.values():
        aside.note(sentence + (f" (and so on, {count:,} times in all)" if count > 1 else ""))
    return table_of(columns)


def _shards(source: WebdatasetSource, aside: SetAside) -> list[str]:
    """The tars that the pattern names, sorted; those of a range that are not there are set aside.

    Raises:
        UserError: there is none.
    """
    folder, _, base = source.path.rpartition("/")
    if any(sign in folder for sign in "*?[{}"):
        if base and Folder(folder).is_file(base):
            return [source.path]
        raise UserError(f"source.path: {source.path}: a pattern may stand in the file name alone, not in its folder")
    by_name, hidden = find_tars(source.path)
    found = {file for files in by_name.values() for file in files}
    if not found:
        raise UserError(
            f"source.path: no shard at {source.path}; expected a tar or a pattern such as DIR/{{00000..00009}}.tar"
        )
    for name in (_name(name) for name, files in by_name.items() if not files):
        aside.add("shard", name, "missing_shard", f"there is no file {name}, which source.path names")
    if hidden:
        aside.note(f"{len(hidden):,} hidden files beside the shards are none, such as {_name(min(hidden))}")
    return sorted(found)


def _read(
    location: str, source: WebdatasetSource, aside: SetAside, harmless: _Counted, is_alone: bool
) -> list[CaptionedPicture]:
    """Pictures of one tar; what is lost is set aside, what is not is counted in `harmless`.

    Raises:
        UserError: it is no tar. One of several that was cut off before its first member is set aside.
    """
    name = _name(location)

    def tell(trouble: Trouble) -> None:
        if trouble.item is None:
            first, count = harmless.get(trouble.reason, (f"{name}: {trouble.message}", 0))
            harmless[trouble.reason] = (first, count + 1)
        else:
            image_id = _image_id(name, trouble.key) if trouble.key else ""
            aside.add(trouble.item, name, trouble.reason, trouble.message, image_id)

    try:
        with open_file(location) as file:
            nbytes = file.seek(0, io.SEEK_END)
            if nbytes < tarfile.BLOCKSIZE and not is_alone:
                message = f"cut off at byte {nbytes}, before the end of the first header: nothing of it can be read"
                aside.add("shard", name, "cut_shard", message)
                return []
            return list(read_captioned_pictures(file, source.key_ends_at, tell))
    except OSError as error:
        raise UserError(f"source.path: {location} cannot be read as an uncompressed tar: {error}") from error


def _image_id(shard: str, key: str) -> str:
    return f"{shard.removesuffix('.tar')}/{key}"


def _name(location: str) -> str:
    return location.rpartition("/")[2]
