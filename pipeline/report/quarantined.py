"""Rows of the quarantine table with what can still be shown of their photos and captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from pipeline.plan import read_unit
from pipeline.report.pictures import PagePicture, plain_picture
from pipeline.report.text import clean, shorten
from pipeline.sources.config import SourceConfig, root_of
from pipeline.sources.photos import ImageReader
from stages.common import WEB, Folder, ImageRecord, SampleError, UserError, sha256_hex
from stages.images import decode_image

_MOST_PIXELS = 40_000_000
_BUDGET_BYTES = 8_000
_NOT_USABLE = {"excluded": "not read", "missing_file": "photo is missing", "killed_process": "not opened again"}


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One bad input; `no_picture` says why there is none."""

    stage: str
    reason: str
    item: str
    image_id: str
    file: str
    message: str
    caption: str
    picture: PagePicture | None
    no_picture: str


class Photos:
    """The photos of a build's source, as far as they can be had.

    A photo is shown only if its bytes are those that the build saw: a build's folder may be anybody's, and must not
    be able to put other files of this machine into a page. Photos that the build could not decode are not tried
    again, least of all those that killed a process.

    Args:
        store: the build's folder.
        source: the manifest's source, as the lock has it.
        sha256: hashes of photos, by image id, as images.parquet has them.
    """

    def __init__(self, store: Folder, source: Any, sha256: dict[str, str]) -> None:  # noqa: ANN401 - JSON
        self._store, self._sha256 = store, sha256
        self._units: dict[int, dict[str, ImageRecord]] = {}
        self._reader: ImageReader | None = None
        self._gone = ""
        try:
            parsed = TypeAdapter[Any](SourceConfig).validate_python(source)
            if root_of(parsed).startswith(WEB):
                self._gone = "photo is on the web"
            else:
                self._reader = ImageReader(parsed)
        except (ValidationError, UserError):
            self._gone = "source unknown"

    def show(self, row: dict[str, Any]) -> Quarantined:
        """A row of the quarantine table, made ready for the page."""
        record = None if row["unit"] is None else self._record(row["unit"], row["image_id"])
        picture, missing = self._picture(row, record)
        number, caption = row["caption_number"], ""
        if record is not None and number is not None and number < len(record.captions):
            caption = clean(shorten(record.captions[number], 160))
        texts = {name: clean(shorten(row[name], 160)) for name in ("image_id", "file", "message")}
        codes = {name: clean(shorten(row[name], 60)) for name in ("stage", "reason", "item")}
        return Quarantined(**texts, **codes, caption=caption, picture=picture, no_picture=missing)

    def _record(self, unit: int, image_id: str) -> ImageRecord | None:
        if unit not in self._units:
            try:
                self._units = {unit: {record.image_id: record for record in read_unit(self._store, unit)}}
            except (OSError, ValueError, KeyError, IndexError, pa.ArrowException):
                self._units = {unit: {}}
        return self._units[unit].get(image_id)

    def _picture(self, row: dict[str, Any], record: ImageRecord | None) -> tuple[PagePicture | None, str]:
        if row["unit"] is None:
            return None, f"no photo: a bad {row['item']}"
        if row["stage"] == "read":
            return None, _NOT_USABLE.get(row["reason"], "photo not readable")
        if record is None:
            return None, "plan not there"
        if self._reader is None or record.file.startswith(WEB):
            return None, self._gone or "photo is on the web"
        try:
            data = self._reader.read(record)
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            return None, "photo is gone"
        except Exception:  # a storage without access, in any of its libraries' errors: the next photo has it, too
            self._reader, self._gone = None, "photos cannot be reached"
            return None, self._gone
        if sha256_hex(data) != self._sha256.get(record.image_id):
            return None, "photo has changed"
        try:
            return plain_picture(Image.fromarray(decode_image(data, _MOST_PIXELS)), _BUDGET_BYTES), ""
        except SampleError:
            return None, "photo cannot be shown"
