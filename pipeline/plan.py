"""Planning: which images there are, in which order, and which of them make up which unit of work."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.manifest import BuildManifest
from pipeline.provenance import input_hashes, model_hashes
from pipeline.records import FORMAT, PLAN_FILE, PLAN_ROWS, PlanDocument
from pipeline.sources.config import to_record
from pipeline.sources.scan import add_scan, canonical_order, read_rows
from stages.common import Folder, UserError, canonical_json, identity
from stages.proposals.configs import GroundTruthProposals, PrecomputedProposals
from stages.records import ImageRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """A frozen build.

    Attributes:
        document: all that identifies the build: configuration, inputs, models, and the digest of the rows.
        rows: the images in their order (schema sources.ROWS), unit after unit.
        images_per_unit: unit k holds rows [k * images_per_unit, (k + 1) * images_per_unit).
    """

    document: PlanDocument
    rows: pa.Table
    images_per_unit: int

    @property
    def digest(self) -> str:
        """Identity of the build, 64 hexadecimal digits."""
        return self.document.digest

    @property
    def units(self) -> int:
        return -(-len(self.rows) // self.images_per_unit)

    @property
    def missing(self) -> int:
        """Images that the folder's listing does not have; they will be quarantined."""
        return pc.sum(pc.equal(self.rows["listed"], -1)).as_py() or 0


def make_plan(manifest: BuildManifest) -> Plan:
    """Reads the inputs and freezes a build; reads no image.

    Raises:
        UserError: an input cannot be found or read, or gives no image.
    """
    inputs, models = input_hashes(manifest), model_hashes(manifest)
    rows = read_rows(manifest.source)
    _check_masks(manifest, rows)
    if isinstance(manifest.proposals.proposer, PrecomputedProposals):
        from pipeline.sources.coco import attach_masks
        from stages.proposals.annotations import read_precomputed

        rows = attach_masks(rows, read_precomputed(manifest.proposals.proposer.path))
    rows = canonical_order(rows)
    if not len(rows):
        raise UserError("source: no image in the input; check source's paths")
    _check_excluded(manifest, rows)
    rows = _drawn(rows, manifest)
    rows = add_scan(rows, manifest.source)
    document = PlanDocument(
        format=FORMAT,
        config=identity(manifest),
        inputs=inputs,
        models=models,
        images=len(rows),
        rows=_digest_rows(rows),
    )
    return Plan(document, rows, manifest.shards.images_per_shard)


def write_plan(plan: Plan, store: Folder) -> None:
    """Puts a plan into a build's folder: the rows as Arrow IPC, one record batch a unit, then the document."""
    part = store.temporary(PLAN_ROWS)
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, plan.rows.schema) as writer:
        for unit in range(plan.units):
            start = unit * plan.images_per_unit
            for batch in plan.rows.slice(start, plan.images_per_unit).combine_chunks().to_batches():
                writer.write_batch(batch)
    store.put(part, PLAN_ROWS)
    store.write(PLAN_FILE, canonical_json(plan.document.values()))


def read_unit(store: Folder, unit: int) -> list[ImageRecord]:
    """The records of one unit of a written plan; reads little else."""
    path = store.path(PLAN_ROWS)
    source = pa.memory_map(path) if store.is_local else store.fs.open(path, "rb")
    with source as file, pa.ipc.open_file(file) as reader:
        return [to_record(row) for row in reader.get_batch(unit).to_pylist()]


def _check_masks(manifest: BuildManifest, rows: pa.Table) -> None:
    if isinstance(manifest.proposals.proposer, GroundTruthProposals) and rows["masks"].null_count == len(rows):
        raise UserError(
            "proposals.proposer.kind: ground_truth needs masks that came with the input; "
            "set source.masks to an instances, stuff or panoptic JSON (source.kind: coco)"
        )


def _check_excluded(manifest: BuildManifest, rows: pa.Table) -> None:
    excluded = pa.array(manifest.source.exclude, pa.string())
    unknown = excluded.filter(pc.invert(pc.is_in(excluded, value_set=rows["image_id"].combine_chunks())))
    if len(unknown):
        raise UserError(
            f"source.exclude: no image has the id {unknown[0].as_py()!r}; ids look like {rows['image_id'][0]}"
        )


def _drawn(rows: pa.Table, manifest: BuildManifest) -> pa.Table:
    """The subset, and the order, that the seed draws: by hash, so that one image's lot does not depend on others."""
    limit, shuffle = manifest.source.limit, manifest.shards.shuffle
    if not shuffle and (limit is None or limit >= len(rows)):
        return rows
    ids = rows["image_id"].to_pylist()
    lots = [hashlib.sha256(f"{manifest.seed}/{image_id}".encode("utf-8", "replace")).digest() for image_id in ids]
    order = sorted(range(len(ids)), key=lots.__getitem__)[:limit]
    return rows.take(pa.array(order if shuffle else sorted(order), pa.int64())).combine_chunks()


def _without_folder(segmentation: str) -> str:
    """A reference into a panoptic PNG without the folder, which is no part of a build's identity."""
    if not segmentation.startswith('{"png"'):
        return segmentation
    reference = json.loads(segmentation)
    return json.dumps({**reference, "png": reference["png"].rsplit("/", 1)[-1]})


def _digest_rows(rows: pa.Table) -> str:
    hashed = hashlib.sha256()
    for batch in rows.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            for mask in row["masks"] or ():
                mask["segmentation"] = _without_folder(mask["segmentation"])
            hashed.update(canonical_json(row))
            hashed.update(b"\n")
    return hashed.hexdigest()
