"""From receipts to a finished build: index, images and quarantine tables, lock, dataset card."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipeline.card import dataset_card
from pipeline.records import (
    CARD,
    FORMAT,
    LOCK_FILE,
    Counts,
    Lock,
    LockedUnit,
    PlanDocument,
    Receipt,
    devices_of,
    read_unit_rows,
    table_name,
)
from pipeline.sources.set_aside import STAGE, read_set_aside
from stages.common import Folder, digest
from stages.shards import INDEX_SCHEMA

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
"""One row per pair, one per image, one per bad input; docs/formats.md says what each column holds."""


def finalise(
    store: Folder,
    plan: PlanDocument,
    manifest: dict[str, Any],
    libraries: dict[str, str],
    receipts: Sequence[Receipt],
    poison_images: Iterable[str],
) -> Lock:
    """Writes what stands beside the shards; the lock comes last, so that its presence means a finished build.

    Args:
        store: the build's folder.
        plan: the plan's document.
        manifest: the resolved manifest, as JSON values.
        libraries: versions that the bytes depend on.
        receipts: one per unit, in the units' order.
        poison_images: ids of images that killed their process.
    """
    aside = {"quarantine": quarantined_by_plan(read_set_aside(store))}
    written = {
        table_name(table): _write_table(store, table, schema, receipts, aside.get(table, []))
        for table, schema in TABLES.items()
    }
    lock = Lock(
        format=FORMAT,
        plan=plan,
        plan_digest=plan.digest,
        manifest=manifest,
        libraries=libraries,
        devices=devices_of(receipts),
        fingerprints=sorted({receipt.fingerprint for receipt in receipts}),
        poison_images=sorted(poison_images),
        counts=Counts.total(receipt.counts for receipt in receipts),
        units=[LockedUnit.of(receipt) for receipt in receipts],
        images_root=digest([receipt.images_root for receipt in receipts]),
        tables=written,
    )
    store.write(CARD, dataset_card(lock).encode())
    store.write(LOCK_FILE, json.dumps(lock.values(), sort_keys=True, indent=1, ensure_ascii=False).encode())
    return lock


def quarantined_by_plan(aside: pa.Table) -> list[dict[str, Any]]:
    """The quarantine table's rows of what the plan set aside: they come first, and have no unit."""
    nothing = {"unit": None, "caption_number": None, "stage": STAGE, "input_sha256": ""}
    return [{**nothing, **row} for row in aside.to_pylist()]


def _write_table(
    store: Folder, table: str, schema: pa.Schema, receipts: Sequence[Receipt], first: list[dict[str, Any]]
) -> str:
    """Writes one table unit by unit, so that memory does not grow with the build; gives its SHA-256."""
    part = store.temporary(table_name(table))
    pending = list(first)
    try:
        with pyarrow.parquet.ParquetWriter(str(part), schema, compression="zstd") as writer:
            for receipt in receipts:
                if table != "quarantine" or _has_quarantine(receipt):
                    pending += read_unit_rows(store, receipt.unit)[table]
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


def _has_quarantine(receipt: Receipt) -> bool:
    return bool(receipt.counts.images_quarantined or receipt.counts.captions_quarantined)


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    maps = [field.name for field in schema if pa.types.is_map(field.type)]
    for row in rows:
        row.update({name: sorted(row[name].items()) for name in maps})
    return pa.Table.from_pylist(rows, schema=schema)
