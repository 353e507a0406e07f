"""Stage `read`: every image's bytes, hashed and decoded once."""

from __future__ import annotations

import io

import pyarrow.parquet

from pipeline.sources.photos import ImageReader, Outcome
from pipeline.unit import BuildSpec, ImageWork, PlainStep, UnitWork, each_image
from stages.common import Folder, ImageRecord, LockError, SampleError, digest, read_file, sha256_hex
from stages.proposals import mask_files


class ReadImages(PlainStep):
    """Reads, hashes and decodes every image once: what cannot be decoded is quarantined here."""

    stage = "read"

    def __init__(self, spec: BuildSpec) -> None:
        self._spec = spec
        self._reader = ImageReader(spec.manifest.source)
        self._excluded = set(spec.manifest.source.exclude)

    def run(self, unit: UnitWork) -> None:
        """Sets `data` and the hashes of every image.

        Raises:
            LockError: the images are not those of the lock that the build must reproduce.
            UserError: the source's storage is down.
        """
        wanted = [image.record for image in unit.images if image.record.image_id not in self._excluded]
        found = iter(self._reader.read_all(wanted))
        for image in unit.images:
            with each_image(unit, image, self.stage):
                if image.record.image_id in self._excluded:
                    raise SampleError("excluded", "the manifest's source.exclude names it")
                self._take(image, next(found), unit.poison_images)
        self._check_lock(unit)

    def _take(self, image: ImageWork, outcome: Outcome, poison_images: frozenset[str]) -> None:
        record = image.record
        try:
            if isinstance(outcome, Exception):
                raise outcome
        except FileNotFoundError as error:
            raise SampleError("missing_file", f"there is no file {record.file}") from error
        except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
            raise SampleError("unreadable_file", f"{record.file}: {error.strerror or type(error).__name__}") from error
        image.data = outcome
        image.sha256 = sha256_hex(image.data)
        image.masks_sha256 = _hash_mask_files(record)
        if record.image_id in poison_images:
            raise SampleError("killed_process", "the process that worked on it died each time")
        image.pixels()

    def _check_lock(self, unit: UnitWork) -> None:
        expected = self._spec.expected_images
        if expected is not None and not unit.is_probe and unit.images_root() != expected.get(unit.number):
            named = ", ".join(self._changed(unit)) or f"at least one image of unit {unit.number}"
            raise LockError(f"other bytes than when the lock was written: {named}")

    def _changed(self, unit: UnitWork) -> list[str]:
        """Files of the images that differ, as far as the tables beside the lock tell."""
        tables = Folder(str(self._spec.lock_url).rpartition("/")[0] or ".")
        data = tables.read_or_none("images.parquet")
        if data is None:
            return []
        rows = pyarrow.parquet.read_table(io.BytesIO(data), columns=["image_id", "sha256"]).to_pylist()
        before = {row["image_id"]: row["sha256"] for row in rows}
        return [image.record.file for image in unit.images if before.get(image.record.image_id) != image.sha256]


def _hash_mask_files(record: ImageRecord) -> str:
    """Of the files that the record's masks lie in (panoptic PNGs); empty if they lie in the record itself."""
    files = mask_files(record)
    return digest([_hash_or_nothing(file) for file in files]) if files else ""


def _hash_or_nothing(file: str) -> str:
    """Empty for a file that is not there: it costs its own masks alone, which the proposals' step tells."""
    try:
        return sha256_hex(read_file(file))
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError):
        return ""
