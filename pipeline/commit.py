"""The last step of a unit: canonical tar, checked, renamed; then its rows; then its receipt, the only commit point."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.unit import BuildSpec, ImageWork, UnitWork, images_root, status_of, timed
from stages.common import Folder, canonical_json, sha256_hex
from stages.images import decode_image
from stages.shards import DamagedTarError, IndexRow, Sample, build_sample, iterate_samples, write_shard

RECEIPTS = ".maskmine/receipts"
UNIT_ROWS = ".maskmine/rows"
SHARDS = "shards"


def shard_name(unit: int) -> str:
    return f"{SHARDS}/{unit:06d}.tar"


def receipt_name(unit: int) -> str:
    return f"{RECEIPTS}/{unit:06d}.json"


def rows_name(unit: int) -> str:
    return f"{UNIT_ROWS}/{unit:06d}.json.gz"


def read_unit_rows(store: Folder, unit: int) -> dict[str, list[dict[str, Any]]]:
    """The rows that a unit adds to index, images and quarantine tables."""
    return dict(json.loads(gzip.decompress(store.read(rows_name(unit)))))


class CommitStep:
    """Writes a unit's shard, rows and receipt."""

    def __init__(self, spec: BuildSpec) -> None:
        self._store = Folder(spec.out_url)
        self._rules = spec.manifest.shards
        self._fingerprint = spec.fingerprint

    def run(self, unit: UnitWork) -> None:
        with timed(unit, "shards"):
            shard, index = self._write_shard(unit)
            if unit.is_probe:
                return
            rows = {
                "pairs": [row.values() for row in index],
                "images": [_image_row(unit, image) for image in unit.images],
                "quarantine": [{"unit": unit.number, **asdict(row)} for row in unit.quarantine],
            }
            packed = gzip.compress(canonical_json(rows), mtime=0)
            self._store.write(rows_name(unit.number), packed)
        unit.receipt = {
            "unit": unit.number,
            "key": unit.key,
            "shard": shard,
            "rows": {"sha256": sha256_hex(packed), "bytes": len(packed)},
            "images_root": images_root(unit),
            "counts": _counts(unit),
            "fingerprint": self._fingerprint,
            "devices": unit.devices,
            "run": {"seconds": {k: round(v, 3) for k, v in sorted(unit.seconds.items())}, **unit.stats},
        }
        self._store.write(receipt_name(unit.number), canonical_json(unit.receipt))

    def _write_shard(self, unit: UnitWork) -> tuple[dict[str, Any], list[IndexRow]]:
        name = shard_name(unit.number)
        part = self._store.temporary(name)
        try:
            with open(part, "w+b") as file:
                index = write_shard(self._samples(unit), file, name)
                file.flush()
                os.fsync(file.fileno())
            shard = {"name": name, "sha256": check_shard(part, index), "bytes": part.stat().st_size}
            if not unit.is_probe:
                self._store.put(part, name)
        finally:
            part.unlink(missing_ok=True)
        return shard, index

    def _samples(self, unit: UnitWork) -> Iterator[Sample]:
        for image in unit.usable():
            if not image.matches:
                continue
            pixels = decode_image(image.data)
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
            found = [(sample.key, sample.offset, len(sample.members)) for sample in iterate_samples(opened)]
    except DamagedTarError as error:
        raise OSError(f"{file}: not readable after writing: {error}") from error
    if found != [(row.key, row.offset, 4) for row in index]:
        raise OSError(f"{file}: holds other members than were written")
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _image_row(unit: UnitWork, image: ImageWork) -> dict[str, Any]:
    status, reason = status_of(image)
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


def _counts(unit: UnitWork) -> dict[str, int]:
    counts = Counter(status_of(image)[0] for image in unit.images)
    return {
        "images": len(unit.images),
        "images_pairs": counts["pairs"],
        "images_no_pairs": counts["no_pairs"],
        "images_quarantined": counts["quarantined"],
        "captions_quarantined": sum(row.item == "caption" for row in unit.quarantine),
        "pairs": sum(len(image.matches) for image in unit.images),
    }
