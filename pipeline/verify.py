"""Checks every promise of a finished build from its files alone."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow.parquet
from PIL import Image

from pipeline.finalise import TABLES
from pipeline.records import (
    CARD,
    LOCK_FILE,
    Lock,
    LockedUnit,
    Receipt,
    parse_lock,
    read_unit_rows,
    receipt_name,
    rows_name,
    shard_name,
    table_name,
    unit_key,
)
from stages.common import Folder, Rle, digest
from stages.nouns import is_spoken
from stages.shards import IndexRow, index_rows, iterate_samples, read_description, shown

_MISSING, _CHANGED = "missing or not readable", "changed since it was written (sha256)"
_EXTENSIONS = ["jpg", "json", "mask.png", "txt"]


def verify(url: str, tell: Callable[[str], None] = lambda line: None) -> tuple[Lock | None, list[str]]:
    """Reads a finished build and says what is broken.

    Args:
        url: the build's folder, local or remote.
        tell: called with a line for what breaks no promise.

    Returns:
        The lock, None if it is damaged; and one line per broken promise, each naming the file, none if all is well.

    Raises:
        UserError: there is no finished build, or it is of another release.
    """
    store = Folder(url)
    try:
        lock = parse_lock(store)
    except ValueError as error:
        return None, [f"{LOCK_FILE}: {error}"]
    return lock, list(_problems(store, lock, tell))


def _problems(store: Folder, lock: Lock, tell: Callable[[str], None]) -> Iterator[str]:
    yield from _guarded(LOCK_FILE, _lock_problems(lock))
    if not store.exists(CARD):
        yield f"{CARD}: missing"
    yield from _strange_files(store, lock, tell)
    seen = Counter[str]()
    for entry in lock.units:
        unit = entry.unit
        yield from _guarded(receipt_name(unit), _receipt_problems(store, entry))
        yield from _guarded(rows_name(unit), _unit_problems(store, entry, seen))
    complete = seen["units"] == len(lock.units)  # else the counts differ, which is no news
    if complete:
        yield from _guarded(LOCK_FILE, _count_problems(lock, seen))
    for table in TABLES:
        rows = seen[table] + (sum(lock.plan.set_aside.values()) if table == "quarantine" else 0)
        yield from _guarded(table_name(table), _table_problems(store, lock, table, rows if complete else None))


def _guarded(name: str, problems: Iterator[str]) -> Iterator[str]:
    """The problems; files may hold anything, and what cannot even be checked is a problem, too."""
    try:
        yield from problems
    except Exception as error:
        yield f"{name}: cannot be checked: {type(error).__name__}: {error}"


def _content(store: Folder, name: str) -> bytes | None:
    try:
        return store.read_or_none(name)
    except OSError:
        return None


def _lock_problems(lock: Lock) -> Iterator[str]:
    if lock.plan.digest != lock.plan_digest:
        yield f"{LOCK_FILE}: plan_digest is not the hash of plan"
    if digest([entry.images_root for entry in lock.units]) != lock.images_root:
        yield f"{LOCK_FILE}: images_root is not the hash of the units' roots"
    if [entry.unit for entry in lock.units] != list(range(len(lock.units))):
        yield f"{LOCK_FILE}: units are not numbered from 0 without a gap"
    for entry in lock.units:
        if entry.key != unit_key(lock.plan_digest, entry.unit):
            yield f"{LOCK_FILE}: unit {entry.unit} has a key of another plan"


def _strange_files(store: Folder, lock: Lock, tell: Callable[[str], None]) -> Iterator[str]:
    """Tars that a pattern of shards would take for some; other files (.DS_Store) are left by other programs."""
    expected = {shard_name(entry.unit).rsplit("/", 1)[-1] for entry in lock.units}
    for name in sorted(set(store.sizes("shards")) - expected):
        line = f"shards/{shown(name)}: no part of this build"
        if name.endswith(".tar") and not name.startswith("."):
            yield line
        else:
            tell(f"{line}, and no shard: it does no harm")


def _receipt_problems(store: Folder, entry: LockedUnit) -> Iterator[str]:
    name = receipt_name(entry.unit)
    found = store.read_or_none(name)
    if found is None:
        yield f"{name}: missing"
        return
    try:
        receipt = Receipt.parse(found)
    except ValueError as error:
        yield f"{name}: {error}"
        return
    if (receipt.key, receipt.shard.sha256) != (entry.key, entry.shard_sha256):
        yield f"{name}: speaks of another shard than {LOCK_FILE}"


def _unit_problems(store: Folder, entry: LockedUnit, seen: Counter[str]) -> Iterator[str]:
    shard, rows = shard_name(entry.unit), rows_name(entry.unit)
    data, packed = _content(store, shard), _content(store, rows)
    shard_is_whole = data is not None and hashlib.sha256(data).hexdigest() == entry.shard_sha256
    if not shard_is_whole:
        yield f"{shard}: {_CHANGED if data is not None else _MISSING}"
    if packed is None or hashlib.sha256(packed).hexdigest() != entry.rows_sha256:
        yield f"{rows}: {_CHANGED if packed is not None else _MISSING}"
        return
    unit_rows = read_unit_rows(store, entry.unit)
    seen.update({"units": 1, **{name: len(found_rows) for name, found_rows in unit_rows.items()}})
    seen["pairs"] = seen["index"]
    seen.update(f"images_{row['status']}" for row in unit_rows["images"])
    seen.update(f"{row['item']}s_set_aside" for row in unit_rows["quarantine"])
    root = digest([[row["image_id"], row["sha256"], row["masks_sha256"]] for row in unit_rows["images"]])
    if root != entry.images_root:
        yield f"{rows}: image hashes do not give the images_root of {LOCK_FILE}"
    if data is not None and shard_is_whole:
        yield from _guarded(shard, _shard_problems(shard, data, index_rows(unit_rows["index"])))


def _shard_problems(name: str, data: bytes, pairs: list[IndexRow]) -> Iterator[str]:
    """Canonical headers, samples as the index says, and each sample consistent in itself."""
    samples = list(iterate_samples(io.BytesIO(data), contents=None))
    for sample in samples:
        for extension, member in sample.members.items():
            if not member.is_canonical:
                yield f"{name}: {sample.key}.{extension}: header is not canonical"
    ends = [0, *(sample.end for sample in samples)]
    if [sample.offset for sample in samples] != ends[:-1] or data[ends[-1] :].strip(b"\0"):
        yield f"{name}: holds what is no part of a sample"
    if [sample.key for sample in samples] != [row.key for row in pairs]:
        yield f"{name}: samples are not those of the index, or in another order"
        return
    for sample, row in zip(samples, pairs, strict=True):
        if (sample.offset, sample.end - sample.offset) != (row.offset, row.nbytes):
            yield f"{name}: {row.key}: offset is not that of the index"
        for problem in _sample_problems(sample.data(), row):
            yield f"{name}: {row.key}: {problem}"


def _sample_problems(sample: dict[str, bytes], row: IndexRow) -> Iterator[str]:
    if sorted(sample) != _EXTENSIONS:
        yield f"members {sorted(sample)}, expected {_EXTENSIONS}"
        return
    description = read_description(sample["json"])
    told = description.row
    if description.to_json() != sample["json"]:
        yield "json is not canonical"
    if sample["txt"].decode() != told.noun or told.noun != row.noun:
        yield "txt, json and index name different nouns"
    spoken = told.caption[told.noun_start : told.noun_end]
    if not is_spoken(told.noun, spoken):
        yield f"the noun's span in the caption reads {spoken!r}, not {told.noun!r}"
    left, top, right, bottom = told.crop_xyxy_px
    rle = Rle.from_coco(description.mask_rle, *description.mask_rle["size"])
    with Image.open(io.BytesIO(sample["jpg"])) as crop, Image.open(io.BytesIO(sample["mask.png"])) as mask:
        if crop.size != mask.size or crop.size != (right - left, bottom - top):
            yield "crop, mask and box have different sizes"
        elif not np.array_equal(np.asarray(mask, dtype=bool), rle.decode()[top:bottom, left:right]):
            yield "mask.png is not the full mask's part"
    if rle.area_px != told.area_px or list(rle.box_xyxy_px) != told.box_xyxy_px:
        yield "area or box is not that of the mask"


def _count_problems(lock: Lock, seen: Counter[str]) -> Iterator[str]:
    if seen["images"] != lock.plan.images:
        yield f"{LOCK_FILE}: the plan has {lock.plan.images} images, the units have {seen['images']}"
    for name, count in lock.counts.values().items():
        found = seen["captions_set_aside" if name == "captions_quarantined" else name]
        if count != found:
            yield f"{LOCK_FILE}: counts {count} {name}, the units have {found}"


def _table_problems(store: Folder, lock: Lock, table: str, rows: int | None) -> Iterator[str]:
    name = table_name(table)
    data = _content(store, name)
    if data is None:
        yield f"{name}: {_MISSING}"
    elif name not in lock.tables:
        yield f"{LOCK_FILE}: tables: no hash of {name}"
    elif hashlib.sha256(data).hexdigest() != lock.tables[name]:
        yield f"{name}: {_CHANGED}"
    else:
        found = pyarrow.parquet.read_table(io.BytesIO(data))
        if found.schema.names != TABLES[table].names or (rows is not None and len(found) != rows):
            yield f"{name}: {len(found)} rows, the units have {rows}"
