"""Stage `shards`: a unit's pairs as a canonical tar, checked and renamed, and then its rows of the tables."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.records import Written, rows_name, shard_name
from pipeline.unit import BuildSpec, ImageWork, PlainStep, UnitWork
from stages.common import Folder, canonical_json, sha256_hex
from stages.shards import DamagedTarError, IndexRow, Sample, build_sample, iterate_samples, write_shard


class WriteShards(PlainStep):
    """Writes a unit's shard and rows; the unit is done once the adapter has written its receipt."""

    stage = "shards"

    def __init__(self, spec: BuildSpec) -> None:
        self._store = Folder(spec.out_url)
        self._rules = spec.manifest.shards

    def run(self, unit: UnitWork) -> None:
        """Sets `written`, unless the unit is a probe: then all is tried, and nothing kept."""
        shard, index = self._write_shard(unit)
        if unit.is_probe:
            return
        rows = {
            "index": [row.values() for row in index],
            "images": [_image_row(unit, image) for image in unit.images],
            "quarantine": [{"unit": unit.number, **asdict(row)} for row in unit.quarantine],
        }
        packed = gzip.compress(canonical_json(rows), mtime=0)
        self._store.write(rows_name(unit.number), packed)
        unit.written = shard, Written(sha256=sha256_hex(packed), bytes=len(packed))

    def _write_shard(self, unit: UnitWork) -> tuple[Written, list[IndexRow]]:
        name = shard_name(unit.number)
        part = self._store.temporary(name)
        try:
            with open(part, "w+b") as file:
                index = write_shard(self._samples(unit), file, name)
                file.flush()
                os.fsync(file.fileno())
            shard = Written(sha256=check_shard(part, index), bytes=part.stat().st_size)
            if not unit.is_probe:
                self._store.put(part, name)
        finally:
            part.unlink(missing_ok=True)
        return shard, index

    def _samples(self, unit: UnitWork) -> Iterator[Sample]:
        for image in unit.usable():
            if not image.matches:
                continue
            pixels = image.pixels()
            for number, pair in enumerate(image.matches):
                noun, mentions = image.nouns[pair.noun]
                key = f"{image.row:09d}-{number:04d}"
                proposal = image.proposals[pair.proposal]
                yield build_sample(key, image.record, pixels, proposal, noun, mentions, pair, self._rules)


def check_shard(file: Path, index: list[IndexRow]) -> str:
    """Reopens a shard that was just written, and compares its members with the index.

    Returns:
        SHA-256 of the file.

    Raises:
        OSError: the disk does not give back what was written.
    """
    try:
        with open(file, "rb") as opened:
            found = [(one.key, one.offset, one.end - one.offset, len(one.members)) for one in iterate_samples(opened)]
    except DamagedTarError as error:
        raise OSError(f"{file}: not readable after writing: {error}") from error
    if found != [(row.key, row.offset, row.nbytes, 4) for row in index]:
        raise OSError(f"{file}: holds other members than were written")
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _image_row(unit: UnitWork, image: ImageWork) -> dict[str, Any]:
    status, reason = image.status()
    return {
        "image_id": image.record.image_id,
        "file": image.record.file,
        "unit": unit.number,
        "sha256": image.sha256,
        "masks_sha256": image.masks_sha256,
        "status": status,
        "reason": reason,
        "captions": len(image.record.captions),
        "nouns": len(image.nouns),
        "proposals": len(image.proposals),
        "pairs": len(image.matches),
        "dropped": dict(sorted(image.dropped.items())),
    }
