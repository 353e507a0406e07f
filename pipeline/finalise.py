"""From receipts to a finished build: index, images and quarantine tables, lock, dataset card."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipeline.card import dataset_card
from pipeline.commit import read_unit_rows
from pipeline.provenance import library_fingerprint
from stages.common import Folder, UserError, digest
from stages.shards import INDEX_SCHEMA

LOCK_FILE = "build.lock.json"
CARD = "README.md"
REPORT = "report.html"
"""Written after the lock by pipeline.report, and not hashed: times are part of it."""

TABLES: dict[str, pa.Schema] = {
    "index": INDEX_SCHEMA,
    "images": pa.schema(
        [
            ("image_id", pa.string()),
            ("file", pa.string()),
            ("unit", pa.int32()),
            ("sha256", pa.string()),
            ("masks_sha256", pa.string()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("captions", pa.int32()),
            ("nouns", pa.int32()),
            ("proposals", pa.int32()),
            ("pairs", pa.int32()),
            ("dropped", pa.map_(pa.string(), pa.int32())),
        ]
    ),
    "quarantine": pa.schema(
        [
            ("unit", pa.int32()),
            ("image_id", pa.string()),
            ("file", pa.string()),
            ("item", pa.string()),
            ("caption_number", pa.int32()),
            ("stage", pa.string()),
            ("reason", pa.string()),
            ("message", pa.string()),
            ("input_sha256", pa.string()),
        ]
    ),
}
"""One row a pair, one an image, one a bad input; docs/formats.md says what each column holds."""
_FROM = {"index": "pairs", "images": "images", "quarantine": "quarantine"}


def table_name(table: str) -> str:
    return f"{table}.parquet"


def finalise(
    store: Folder,
    document: dict[str, Any],
    manifest: dict[str, Any],
    receipts: Sequence[dict[str, Any]],
    poison_images: Sequence[str],
) -> dict[str, Any]:
    """Writes what stands beside the shards; the lock comes last, so that its presence means a finished build.

    Args:
        store: the build's folder.
        document: the plan's document.
        manifest: the resolved manifest, as JSON values.
        receipts: one a unit, in the units' order.
        poison_images: ids of images that killed their process.

    Returns:
        The lock.
    """
    written = {table_name(table): _write_table(store, table, schema, receipts) for table, schema in TABLES.items()}
    lock = {
        "format": document["format"],
        "plan": document,
        "plan_digest": digest(document),
        "manifest": manifest,
        "libraries": library_fingerprint(),
        "devices": devices_of(receipts),
        "fingerprints": sorted({receipt["fingerprint"] for receipt in receipts}),
        "poison_images": sorted(poison_images),
        "counts": total_counts(receipts),
        "units": [
            {
                "unit": receipt["unit"],
                "key": receipt["key"],
                "images_root": receipt["images_root"],
                "rows_sha256": receipt["rows"]["sha256"],
                **{f"shard_{name}": value for name, value in receipt["shard"].items() if name != "name"},
            }
            for receipt in receipts
        ],
        "images_root": digest([receipt["images_root"] for receipt in receipts]),
        "tables": written,
    }
    store.write(CARD, dataset_card(lock).encode())
    store.write(LOCK_FILE, json.dumps(lock, sort_keys=True, indent=1, ensure_ascii=False).encode())
    return lock


_LOCK_KEYS: dict[str, type] = {
    "plan": dict,
    "plan_digest": str,
    "units": list,
    "poison_images": list,
    "counts": dict,
    "tables": dict,
    "images_root": str,
}
_UNIT_KEYS = {"unit", "key", "images_root", "rows_sha256", "shard_sha256"}


def lock_bytes(store: Folder) -> bytes:
    """The lock of a finished build.

    Raises:
        UserError: there is none.
    """
    data = store.read_or_none(LOCK_FILE)
    if data is None:
        raise UserError(
            f"{store.url}: no {LOCK_FILE}, so no finished build; run the build's command again to finish it"
        )
    return data


def devices_of(receipts: Iterable[dict[str, Any]]) -> list[str]:
    """What units were computed on, and in which precision."""
    return sorted({device for receipt in receipts for device in receipt["devices"].values()})


def read_lock(data: bytes) -> dict[str, Any]:
    """Raises ValueError if it is no lock of a build."""
    lock = json.loads(data)
    if not isinstance(lock, dict) or not lock.keys() >= _LOCK_KEYS.keys():
        raise ValueError("expected the build.lock.json of a finished build")
    for key, kind in _LOCK_KEYS.items():
        if not isinstance(lock[key], kind):
            raise ValueError(f"{key}: expected {kind.__name__}, found {type(lock[key]).__name__}")
    for entry in lock["units"]:
        if not isinstance(entry, dict) or not entry.keys() >= _UNIT_KEYS or not isinstance(entry["unit"], int):
            raise ValueError(f"units: expected objects with {', '.join(sorted(_UNIT_KEYS))}")
    return lock


def total_counts(receipts: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Sum of the receipts' counts."""
    total: Counter[str] = Counter()
    for receipt in receipts:
        total.update(receipt["counts"])
    return dict(sorted(total.items()))


def _write_table(store: Folder, table: str, schema: pa.Schema, receipts: Sequence[dict[str, Any]]) -> str:
    """Writes one table unit by unit, so that memory does not grow with the build; gives its SHA-256."""
    part = store.temporary(table_name(table))
    pending: list[dict[str, Any]] = []
    try:
        with pyarrow.parquet.ParquetWriter(str(part), schema, compression="zstd") as writer:
            for receipt in receipts:
                if table != "quarantine" or _has_quarantine(receipt):
                    pending += read_unit_rows(store, receipt["unit"])[_FROM[table]]
                if len(pending) >= 50_000:
                    writer.write_table(_table(pending, schema))
                    pending = []
            writer.write_table(_table(pending, schema))
        with open(part, "rb") as file:
            hashed = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        store.put(part, table_name(table))
    finally:
        part.unlink(missing_ok=True)
    return hashed


def _has_quarantine(receipt: dict[str, Any]) -> bool:
    return bool(receipt["counts"]["images_quarantined"] or receipt["counts"]["captions_quarantined"])


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    maps = [field.name for field in schema if pa.types.is_map(field.type)]
    for row in rows:
        row.update({name: sorted(row[name].items()) for name in maps})
    return pa.Table.from_pylist(rows, schema=schema)
