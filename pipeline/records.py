"""What lies in a build's folder: the names of its files, and the typed records that some of them hold.

Each record has one reader here. A record is checked as it is read: another format, an unknown key, a missing one or a
value of another type is one clean error that names the key.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.common import Folder, OtherFormatError, UserError, digest

FORMAT = 3
"""Of a build's files; raised when the same manifest would give other bytes, or a record other keys."""

SHARDS = "shards"
LOCK_FILE = "build.lock.json"
CARD = "README.md"
REPORT = "report.html"
"""Written after the lock by pipeline.report, and not hashed: times are part of it."""
RECEIPTS = ".maskmine/receipts"
UNIT_ROWS = ".maskmine/rows"
PLAN_ROWS = ".maskmine/plan.arrow"
PLAN_FILE = ".maskmine/plan.json"
POISON_IMAGES = ".maskmine/poison_images.json"
LIBRARIES = ".maskmine/libraries.json"


def shard_name(unit: int) -> str:
    return f"{SHARDS}/{unit:06d}.tar"


def receipt_name(unit: int) -> str:
    return f"{RECEIPTS}/{unit:06d}.json"


def rows_name(unit: int) -> str:
    return f"{UNIT_ROWS}/{unit:06d}.json.gz"


def table_name(table: str) -> str:
    return f"{table}.parquet"


class Record(BaseModel):
    """A JSON object that never changes once it is made or read; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a record.

        Raises:
            ValueError: the bytes are no such record, which names the first wrong key, or of another release.
        """
        try:
            _check_format(cls, data)
            return cls.model_validate_json(data)
        except json.JSONDecodeError as error:
            raise ValueError(f"no JSON, or cut short: {error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "as a whole"
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            raise ValueError(f"no {cls.__name__.lower()} of a build: {where}: {first['msg']}{more}") from None

    def values(self) -> dict[str, Any]:
        """The record as JSON values."""
        return self.model_dump(mode="json")


def _check_format(kind: type[Record], data: bytes) -> None:
    """Tells of another format first, as each of its other keys would be a riddle."""
    found = json.loads(data) if "format" in kind.model_fields else {"format": FORMAT}
    if not isinstance(found, dict) or "format" not in found:
        raise ValueError("expected a JSON object with the key format")
    if found["format"] != FORMAT:
        formats = f"format {str(found['format'])[:20]}; this one has {FORMAT}"
        raise OtherFormatError(f"of another release of maskmine ({formats}): use that, or another folder")


class Counts(Record):
    """What came out of a unit, or of a whole build."""

    images: int
    images_pairs: int
    images_no_pairs: int
    images_quarantined: int
    captions_quarantined: int
    pairs: int

    @classmethod
    def total(cls, counts: Iterable[Counts]) -> Counts:
        """The sum of all."""
        listed = list(counts)
        return cls(**{name: sum(getattr(each, name) for each in listed) for name in cls.model_fields})


class Written(Record):
    """A file that was written: hash and size of its content."""

    sha256: str
    bytes: int


class Effort(Record):
    """What a unit took; it identifies nothing, and no promise is about it.

    Attributes:
        seconds: wall time by stage.
        done: what was computed and what was found in the cache, e.g. ``images_segmented``, ``images_from_cache``.
    """

    seconds: dict[str, float]
    done: dict[str, int]


class Receipt(Record):
    """A finished unit: the only commit point.

    Attributes:
        unit: its number.
        key: its identity, see `unit_key`.
        shard: the tar.
        rows: the file of the unit's table rows.
        images_root: one hash over the hashes of the unit's images.
        counts: what came out.
        fingerprint: of the libraries and code that made it.
        devices: stage -> what its model ran on and in which precision, e.g. ``cpu AVX2 fp32``.
        run: what it took.
    """

    format: int
    unit: int = Field(ge=0)
    key: str
    shard: Written
    rows: Written
    images_root: str
    counts: Counts
    fingerprint: str
    devices: dict[str, str]
    run: Effort


class PlanDocument(Record):
    """All that identifies a build.

    Attributes:
        config: the manifest without what cannot change a byte.
        inputs: role of an annotation file -> SHA-256.
        models: stage -> file name -> SHA-256.
        images: how many.
        rows: hash of the planned images, and of what was set aside.
        set_aside: item -> how much of the input could not be used.
    """

    format: int
    config: dict[str, Any]
    inputs: dict[str, str]
    models: dict[str, dict[str, str]]
    images: int
    rows: str
    set_aside: dict[str, int]

    @property
    def digest(self) -> str:
        """Identity of the build, 64 hexadecimal digits."""
        return digest(self.values())


class LockedUnit(Record):
    """What a lock says of a unit."""

    unit: int = Field(ge=0)
    key: str
    images_root: str
    rows_sha256: str
    shard_sha256: str
    shard_bytes: int

    @classmethod
    def of(cls, receipt: Receipt) -> LockedUnit:
        return cls(
            unit=receipt.unit,
            key=receipt.key,
            images_root=receipt.images_root,
            rows_sha256=receipt.rows.sha256,
            shard_sha256=receipt.shard.sha256,
            shard_bytes=receipt.shard.bytes,
        )


class Lock(Record):
    """A finished build: all that is needed to make it again, and to prove it.

    Attributes:
        plan: the identity.
        plan_digest: its hash.
        manifest: with all defaults, without `run`.
        libraries: versions that the bytes may depend on.
        devices: what units were computed on.
        fingerprints: hashes of `libraries` that the units were made with.
        poison_images: ids of images that killed their process.
        counts: of all units.
        units: in their order.
        images_root: hash of the units' roots.
        tables: file name -> SHA-256.
    """

    format: int
    plan: PlanDocument
    plan_digest: str
    manifest: dict[str, Any]
    libraries: dict[str, str]
    devices: list[str]
    fingerprints: list[str]
    poison_images: list[str]
    counts: Counts
    units: list[LockedUnit]
    images_root: str
    tables: dict[str, str]


def unit_key(plan_digest: str, unit: int) -> str:
    """Identity of a unit's result."""
    return digest([plan_digest, unit])


def devices_of(receipts: Iterable[Receipt]) -> list[str]:
    """What units were computed on, and in which precision."""
    return sorted({device for receipt in receipts for device in receipt.devices.values()})


def parse_lock(store: Folder) -> Lock:
    """The lock of a finished build, for callers that tell what is wrong with it themselves.

    Raises:
        UserError: there is none, or it is of another release.
        ValueError: it is damaged.
    """
    if (data := store.read_or_none(LOCK_FILE)) is None:
        raise UserError(
            f"{store.url}: no {LOCK_FILE}, so no finished build; run the build's command again to finish it"
        )
    try:
        return Lock.parse(data)
    except OtherFormatError as error:
        raise UserError(f"{store.url}: the build is {error}") from error


def read_lock(store: Folder) -> Lock:
    """The lock of a finished build.

    Raises:
        UserError: there is none, or it is of another release or damaged.
    """
    try:
        return parse_lock(store)
    except ValueError as error:
        raise UserError(f"{store.url}: the build is damaged: {LOCK_FILE}: {error}") from error


def read_receipts(store: Folder, units: Iterable[int]) -> dict[int, Receipt]:
    """Receipts of those of the units that have one; what is damaged, or another unit's, counts as none."""
    names = {receipt_name(unit): unit for unit in units}
    receipts = {}
    for name, data in store.read_many(list(names)).items():
        try:
            receipt = Receipt.parse(data)
        except ValueError:
            continue
        if receipt.unit == names[name]:
            receipts[receipt.unit] = receipt
    return receipts


def read_plan(store: Folder) -> PlanDocument | None:
    """The document of the plan in a folder; None if there is none.

    Raises:
        UserError: it is damaged, or of another format.
    """
    data = store.read_or_none(PLAN_FILE)
    try:
        return None if data is None else PlanDocument.parse(data)
    except ValueError as error:
        raise UserError(f"{store.url}: {PLAN_FILE}: {error}") from error


def read_unit_rows(store: Folder, unit: int) -> dict[str, list[dict[str, Any]]]:
    """The rows that a unit adds to each table; OSError or ValueError if the file is not there, or damaged."""
    return dict(json.loads(gzip.decompress(store.read(rows_name(unit)))))
