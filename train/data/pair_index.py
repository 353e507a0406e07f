"""All pairs of all shard sets, listed once: where each lies, and what its noun is."""

from __future__ import annotations

import hashlib
import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.common import UserError, open_location
from train.data.config import ShardSet
from train.data.files import sizes_of, tars_of
from train.data.members import MASK, canonical_of, end_of, key_and_extension, lacking, noun_of

OnBad = Literal["error", "skip"]
_LOG = logging.getLogger(__name__)
_INDEX = "index.parquet"
_INDEXED = ("key", "shard", "offset", "nbytes", "noun", "noun_canonical")
_SCHEMA = pa.schema(
    [
        ("key", pa.large_string()),
        ("shard", pa.large_string()),
        ("offset", pa.int64()),
        ("nbytes", pa.int64()),
        ("noun", pa.large_string()),
        ("noun_canonical", pa.large_string()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class PairIndex:
    """N pairs as columns: arrays that worker processes share, not objects.

    Attributes:
        shards: locations.
        nouns, canonicals: the surface and the canonical nouns that occur, sorted.
        key: text [N].
        set_number, shard, noun, canonical: int32 [N], numbers of the shard set and of entries of the lists above;
            pairs of a set stand together.
        offset, nbytes: int64 [N], the place of the sample's members in its shard.
        left_out: samples that are no pairs, by reason.
    """

    shards: tuple[str, ...]
    nouns: tuple[str, ...]
    canonicals: tuple[str, ...]
    key: pa.LargeStringArray
    set_number: NDArray[np.int32]
    shard: NDArray[np.int32]
    noun: NDArray[np.int32]
    canonical: NDArray[np.int32]
    offset: NDArray[np.int64]
    nbytes: NDArray[np.int64]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.offset)

    def digest(self) -> str:
        """SHA-256 of what is listed, wherever it lies: a resumed run must find the same."""
        names = [shard.rpartition("/")[2] for shard in self.shards]
        texts = [*names, *self.nouns, *self.canonicals, *self.key.to_pylist()]
        digest = hashlib.sha256("\0".join(texts).encode("utf-8", errors="replace"))
        for column in (self.set_number, self.shard, self.noun, self.canonical, self.offset, self.nbytes):
            digest.update(column.tobytes())
        return digest.hexdigest()


def index_pairs(sets: Sequence[ShardSet], on_bad: OnBad = "error") -> PairIndex:
    """Lists all pairs: by index.parquet where a location is a build's folder, else by a walk through tar headers.

    Args:
        sets: in the order of their numbers.
        on_bad: what to do about samples of scanned shards that lack a member or have an empty noun: "skip" leaves
            them out, counts them and warns.

    Raises:
        UserError: a location holds no shards, a file is no tar, a set has no pairs or no masks, an index does not
            fit its shards; with on_bad="error", a sample is no pair.
    """
    tables: list[pa.Table] = []
    counts: list[int] = []
    left_out: dict[str, int] = {}
    for number, shard_set in enumerate(sets):
        before = sum(left_out.values())
        found = [table for location in shard_set.shards for table in _tables(location, on_bad, left_out)]
        counts.append(sum(map(len, found)))
        if not counts[-1]:
            lost = sum(left_out.values()) - before
            raise UserError(
                f"data.sets.{number}.shards: {', '.join(shard_set.shards)} have no pair, and {lost} samples that are "
                f"none; expected KEY.jpg, KEY.{MASK} and KEY.txt side by side, see docs/shards-for-training.md"
            )
        tables += found
    set_number = np.repeat(np.arange(len(sets), dtype=np.int32), counts)
    return _index_of(pa.concat_tables(tables).combine_chunks(), set_number, left_out)


def _index_of(table: pa.Table, set_number: NDArray[np.int32], left_out: dict[str, int]) -> PairIndex:
    shards, shard = _numbered(table["shard"])
    nouns, noun = _numbered(table["noun"])
    canonicals, canonical = _numbered(table["noun_canonical"])
    return PairIndex(
        shards=shards,
        nouns=nouns,
        canonicals=canonicals,
        key=pa.concat_arrays(table["key"].chunks),
        set_number=set_number,
        shard=shard,
        noun=noun,
        canonical=canonical,
        offset=table["offset"].to_numpy(),
        nbytes=table["nbytes"].to_numpy(),
        left_out=left_out,
    )


def _numbered(column: pa.ChunkedArray) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The column's different texts, sorted, and for each row the number of its text."""
    different = pc.unique(column).sort()
    return tuple(different.to_pylist()), pc.index_in(column, different).to_numpy().astype(np.int32)


def _tables(location: str, on_bad: OnBad, left_out: dict[str, int]) -> Iterator[pa.Table]:
    folder = location.rstrip("/")
    fs, path = open_location(f"{folder}/{_INDEX}")
    if fs.exists(path):
        yield _indexed(folder, fs, path)
        return
    for shard in tars_of(location):
        yield _scanned(shard, on_bad, left_out)


def _indexed(folder: str, fs: Any, path: str) -> pa.Table:  # noqa: ANN401 - fsspec
    """A build's index, checked against the shards that are there."""
    name = f"{folder}/{_INDEX}"
    try:
        with fs.open(path, "rb") as file:
            table = pq.read_table(file, columns=list(_INDEXED)).select(list(_INDEXED)).cast(_SCHEMA)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{name}: expected a table with the columns {', '.join(_INDEXED)}: {error}") from error
    if any(column.null_count for column in table.columns):
        raise UserError(f"{name}: a column has empty cells; expected a value in each row of {', '.join(_INDEXED)}")
    located = pc.binary_join_element_wise(
        pa.scalar(folder, pa.large_string()), table["shard"], pa.scalar("/", pa.large_string())
    )
    table = table.set_column(1, "shard", located)
    ends = (
        table.append_column("end", pc.add(table["offset"], table["nbytes"]))
        .group_by("shard")
        .aggregate([("end", "max")])
    )
    sizes = sizes_of(ends["shard"].to_pylist())
    for shard, end in zip(ends["shard"].to_pylist(), ends["end_max"].to_pylist(), strict=True):
        if sizes.get(shard, -1) < end:
            found = f"has {sizes[shard]} bytes" if shard in sizes else "is missing"
            raise UserError(f"{shard} {found}; {name} expects at least {end}. Copy the shards again")
    return table


def _scanned(shard: str, on_bad: OnBad, left_out: dict[str, int]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in _INDEXED}
    fs, path = open_location(shard)
    try:
        with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for sample in _samples(tar):
                problem, reason = _problem(sample)
                if problem is None:
                    columns["shard"].append(shard)
                    for name, value in sample.row().items():
                        columns[name].append(value)
                elif on_bad == "error":
                    raise UserError(
                        f"{shard}: {sample.key} {problem}; see docs/shards-for-training.md. "
                        "Mend the shard, or set data.on_bad: skip to leave such samples out"
                    )
                else:
                    left_out[reason] = left_out.get(reason, 0) + 1
                    _LOG.warning("%s: %s %s; left out", shard, sample.key, problem)
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{shard}: cannot be read as an uncompressed tar: {error}") from error
    return pa.table(columns, schema=_SCHEMA)


@dataclass(slots=True)
class _Scanned:
    """Members of one key that follow each other in a tar."""

    key: str
    offset: int
    end: int
    extensions: set[str]
    text: bytes = b""
    description: bytes | None = None

    def row(self) -> dict[str, Any]:
        noun = noun_of(self.text)
        return {
            "key": self.key,
            "offset": self.offset,
            "nbytes": self.end - self.offset,
            "noun": noun,
            "noun_canonical": canonical_of(self.description, noun),
        }


def _problem(sample: _Scanned) -> tuple[str | None, str]:
    """What is wrong with a sample, if anything, and the reason's code."""
    if missing := lacking(sample.extensions):
        return f"has no {missing}", "missing_member"
    return (None, "") if noun_of(sample.text) else ("has an empty KEY.txt", "empty_noun")


def _samples(tar: tarfile.TarFile) -> Iterator[_Scanned]:
    sample: _Scanned | None = None
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header of a shard of any size
        name = key_and_extension(member.name)
        if name is None or not member.isfile():
            continue
        key, extension = name
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = _Scanned(key, member.offset, 0, set())
        sample.end = end_of(member)
        sample.extensions.add(extension)
        if extension in ("txt", "json"):
            file = tar.extractfile(member)
            data = file.read() if file else b""
            if extension == "txt":
                sample.text = data
            else:
                sample.description = data
    _check_end(tar)
    if sample is not None:
        yield sample


def _check_end(tar: tarfile.TarFile) -> None:
    """tarfile takes a cut or a damaged header behind the first member for the end, and would lose samples silently."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"cut off or damaged at byte {tar.offset}")
