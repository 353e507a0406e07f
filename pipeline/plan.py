"""Planning: which images there are, in which order and unit of work, and the hashes that identify all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import stages.nouns
from pipeline.manifest import BuildManifest
from pipeline.records import FORMAT, PLAN_FILE, PLAN_ROWS, PlanDocument
from pipeline.sources.config import attach_known_masks, to_record
from pipeline.sources.scan import add_scan, canonical_order, read_rows, source_files
from pipeline.sources.set_aside import SetAside
from stages.clip_config import clip_files
from stages.common import Folder, ImageRecord, UserError, canonical_json, hash_files, identity, local_copy, open_file
from stages.nouns import NltkNouns
from stages.proposals import GroundTruthProposals, PrecomputedProposals, model_files


@dataclass(frozen=True, slots=True)
class Plan:
    """A frozen build.

    Attributes:
        document: all that identifies the build: configuration, inputs, models, and the digest of the rows.
        rows: the images in their order (schema sources.config.ROWS), unit after unit.
        images_per_unit: unit k holds rows [k * images_per_unit, (k + 1) * images_per_unit).
        aside: what of the source cannot be used.
    """

    document: PlanDocument
    rows: pa.Table
    images_per_unit: int
    aside: SetAside

    @property
    def digest(self) -> str:
        """Identity of the build, 64 hexadecimal digits."""
        return self.document.digest

    @property
    def units(self) -> int:
        return -(-len(self.rows) // self.images_per_unit)

    def records(self, rows: Sequence[int]) -> list[ImageRecord]:
        """The images of some rows, in the order given."""
        return [to_record(row) for row in self.rows.take(pa.array(rows, pa.int64())).to_pylist()]

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
    aside = SetAside()
    rows = read_rows(manifest.source, aside)
    _check_masks(manifest, rows)
    if isinstance(manifest.proposals.proposer, PrecomputedProposals):
        from stages.proposals import read_precomputed

        given = read_precomputed(manifest.proposals.proposer.path, aside)
        rows = attach_known_masks(rows, given, "proposals.proposer.path", aside.note)
    rows = canonical_order(rows)
    if not len(rows):
        counts, first = aside.reasons(), aside.examples()
        told = [f"\n  set aside, {counts[item, reason]:,} x {reason}: {first[item, reason]}" for item, reason in counts]
        raise UserError(f"source: no image in the input; check source's paths{''.join(told)}")
    _check_excluded(manifest, rows)
    rows = _drawn(rows, manifest)
    rows = add_scan(rows, manifest.source, aside)
    document = PlanDocument(
        format=FORMAT,
        config=identity(manifest),
        inputs=inputs,
        models=models,
        images=len(rows),
        rows=_digest_rows(rows, aside),
        set_aside=aside.counts(),
    )
    return Plan(document, rows, manifest.shards.images_per_shard, aside)


def write_plan(plan: Plan, store: Folder) -> None:
    """Puts a plan into a build's folder: as Arrow IPC the rows, a record batch per unit, and what is set
    aside; then the document.
    """
    part = store.temporary(PLAN_ROWS)
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, plan.rows.schema) as writer:
        for unit in range(plan.units):
            start = unit * plan.images_per_unit
            for batch in plan.rows.slice(start, plan.images_per_unit).combine_chunks().to_batches():
                writer.write_batch(batch)
    store.put(part, PLAN_ROWS)
    plan.aside.write(store)
    store.write(PLAN_FILE, canonical_json(plan.document.values()))


def read_unit(store: Folder, unit: int) -> list[ImageRecord]:
    """The records of one unit of a written plan; reads little else."""
    source = pa.memory_map(store.path(PLAN_ROWS)) if store.is_local else store.open(PLAN_ROWS)
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


def _digest_rows(rows: pa.Table, aside: SetAside) -> str:
    hashed = hashlib.sha256()
    for batch in rows.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            for mask in row["masks"] or ():
                mask["segmentation"] = _without_folder(mask["segmentation"])
            hashed.update(canonical_json(row))
            hashed.update(b"\n")
    for row in aside.table().to_pylist():
        hashed.update(canonical_json(row))
        hashed.update(b"\n")
    return hashed.hexdigest()


def hash_location(location: str, key: str) -> str:
    """SHA-256 of a file's content, read in pieces.

    Raises:
        UserError: there is no such file.
    """
    hashed = hashlib.sha256()
    try:
        with open_file(location) as file:
            while piece := file.read(1 << 22):
                hashed.update(piece)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{key}: there is no file {location}") from error
    except OSError as error:
        raise UserError(f"{key}: {location} cannot be read: {error}") from error
    return hashed.hexdigest()


def input_hashes(manifest: BuildManifest) -> dict[str, str]:
    """Annotation files by their role."""
    files = source_files(manifest.source)
    keys = {role: "source.path" if role.startswith("table") else f"source.{role}" for role in files}
    hashed = {role: hash_location(file, keys[role]) for role, file in files.items()}
    if isinstance(manifest.proposals.proposer, PrecomputedProposals):
        hashed["precomputed"] = hash_location(manifest.proposals.proposer.path, "proposals.proposer.path")
    return hashed


def model_hashes(manifest: BuildManifest) -> dict[str, dict[str, str]]:
    """Every file of every model, by stage and file name.

    Raises:
        UserError: a model cannot be found.
    """
    return {
        "proposals": hash_files(model_files(manifest.proposals.proposer)),
        "nouns": hash_files(_noun_files(manifest)),
        "matching": hash_files(clip_files(manifest.matching.clip)),
    }


def differences(before: Any, now: Any, key: str = "") -> list[str]:  # noqa: ANN401 - any JSON value
    """Lines such as ``matching.rules.min_score_cosine: 0.2 -> 0.3``, for two JSON values."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(before.keys() | now.keys())
        parts = [differences(before.get(name), now.get(name), f"{key}.{name}" if key else name) for name in names]
        return [line for lines in parts for line in lines]
    return [] if before == now else [f"{key}: {_short(before)} -> {_short(now)}"]


def _noun_files(manifest: BuildManifest) -> list[Path]:
    """The lexicon and tagger weights that ship with the package, and the user's own tagger."""
    extractor = manifest.nouns.extractor
    shipped = Path(stages.nouns.__file__).parent / "data"
    files = [file for file in shipped.iterdir() if file.is_file()]
    own = local_copy(extractor.tagger) if isinstance(extractor, NltkNouns) and extractor.tagger else None
    return files + ([file for file in own.iterdir() if file.is_file()] if own and own.is_dir() else [])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
