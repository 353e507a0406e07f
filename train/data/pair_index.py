"""All pairs of all shard sets, listed once: where each lies, and what its noun is."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common import Folder, UserError, clean_name, open_file, sha256_hex, wide_encoding
from stages.shards import (
    INDEX_FILE,
    MASK,
    KeyEndsAt,
    PlacedPair,
    PlacedPairs,
    TarSample,
    Trouble,
    canonical_noun,
    find_tars,
    iterate_samples,
    read_placed_pairs,
    tell_merged,
)
from train.data.samples import DataConfig, ShardSet, lacking

OnBad = Literal["error", "skip"]
_LOCK = "build.lock.json"
_BUILDS = "a finished build's folder (maskmine build writes one; make demo, those of the world's recipes), "
_LOG = logging.getLogger(__name__)


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
        left_out: samples that are no pairs, and parts of tars that cannot be read, by reason.
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


class LeftOut:
    """Counts what of a tar is left out, by reason, and warns of the first of each reason.

    Args:
        shard: the tar, for the warnings.
    """

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._counts: Counter[str] = Counter()

    def tell(self, trouble: Trouble) -> None:
        """Takes note of one thing, if something is lost by it."""
        if trouble.item is None:
            return
        self._counts[trouble.reason] += 1
        if self._counts[trouble.reason] == 1:
            _LOG.warning("%s: %s; left out", self._shard, trouble.message)

    def add_to(self, counts: dict[str, int]) -> None:
        """Adds its counts to those of other tars, and says how many there are of a reason that has more than one."""
        for reason, count in self._counts.items():
            counts[reason] = counts.get(reason, 0) + count
            if count > 1:
                _LOG.warning("%s: %d times %s; all left out", self._shard, count, reason)


def index_pairs(sets: Sequence[ShardSet], on_bad: OnBad = "error") -> PairIndex:
    """Lists all pairs: by index.parquet where a location is a build's folder, else by a walk through tar headers.

    Args:
        sets: in the order of their numbers.
        on_bad: what to do about what of scanned shards is no pair, and about damage: "skip" leaves it out, counts it
            and warns, once for a shard and reason.

    Raises:
        UserError: a location holds no shards, a file is no tar, a set has no pairs or no masks, an index does not
            fit its shards; with on_bad="error", a sample is no pair.
    """
    parts: list[PlacedPairs] = []
    counts: list[int] = []
    left_out: dict[str, int] = {}
    for number, shard_set in enumerate(sets):
        before = sum(left_out.values())
        found = [
            part for location in shard_set.shards for part in _listed(location, shard_set.key_ends_at, on_bad, left_out)
        ]
        counts.append(sum(map(len, found)))
        if not counts[-1]:
            lost = sum(left_out.values()) - before
            raise UserError(
                f"data.sets.{number}.shards: {', '.join(shard_set.shards)} have no pair, and {lost} samples that are "
                f"none; expected KEY.jpg, KEY.{MASK} and KEY.txt side by side, see docs/shards-for-training.md"
            )
        parts += found
    set_number = np.repeat(np.arange(len(sets), dtype=np.int32), counts)
    pairs = PlacedPairs.joined(parts)
    shards, shard = _numbered(pairs.shard)
    nouns, noun = _numbered(pairs.noun)
    canonicals, canonical = _numbered(pairs.noun_canonical)
    return PairIndex(
        shards=shards,
        nouns=nouns,
        canonicals=canonicals,
        key=pa.concat_arrays(pairs.key.chunks),
        set_number=set_number,
        shard=shard,
        noun=noun,
        canonical=canonical,
        offset=pairs.offset.to_numpy(),
        nbytes=pairs.nbytes.to_numpy(),
        left_out=left_out,
    )


def tars_of(pattern: str, key: str, expected: str) -> list[str]:
    """The tars that a folder holds, or that a pattern names, in the order of the pattern.

    Args:
        pattern: a folder, or tars by path or URL.
        key: of the manifest, for messages.
        expected: what may stand there beside tars, for messages.

    Raises:
        UserError: there are none, or one of a range is missing.
    """
    found, _ = find_tars(pattern)
    if missing := [name for name, files in found.items() if not files]:
        raise UserError(
            f"{key}: no shard at {missing[0]} ({len(missing)} of {len(found)} names have none); expected {expected}"
            "a folder of tars, or tars such as DIR/{00000..00009}.tar"
        )
    return [file for files in found.values() for file in files]


def _numbered(column: pa.ChunkedArray) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The column's different texts, sorted, and for each row the number of its text."""
    different = pc.unique(column).sort()
    return tuple(different.to_pylist()), pc.index_in(column, different).to_numpy().astype(np.int32)


def _listed(location: str, key_ends_at: KeyEndsAt, on_bad: OnBad, left_out: dict[str, int]) -> Iterator[PlacedPairs]:
    folder = Folder(location.rstrip("/"))
    if folder.exists(INDEX_FILE):
        yield _indexed(folder)
        return
    for shard in tars_of(location, "data.sets.shards", _BUILDS):
        left = LeftOut(shard)
        yield _scanned(shard, key_ends_at, on_bad, left)
        left.add_to(left_out)


def _indexed(folder: Folder) -> PlacedPairs:
    """A build's index, checked against the shards that are there."""
    name = folder.location(INDEX_FILE)
    try:
        pairs = read_placed_pairs(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be used: {error}") from error
    ends = pairs.ends()
    sizes = _sizes_of(list(ends))
    for shard, end in ends.items():
        if sizes.get(shard, -1) < end:
            found = f"has {sizes[shard]} bytes" if shard in sizes else "is missing"
            raise UserError(f"{shard} {found}; {name} expects at least {end}. Copy the shards again")
    return pairs


def _sizes_of(locations: Sequence[str]) -> dict[str, int]:
    """Bytes of each file that exists; folders are listed, so that a thousand shards are a few requests."""
    sizes: dict[str, int] = {}
    for folder in dict.fromkeys(location.rpartition("/")[0] for location in locations):
        sizes.update({f"{folder}/{name}": size for name, size in Folder(folder).sizes().items()})
    return {location: sizes[location] for location in locations if location in sizes}


def _scanned(shard: str, key_ends_at: KeyEndsAt, on_bad: OnBad, left: LeftOut) -> PlacedPairs:
    pairs: list[PlacedPair] = []
    keys: set[str] = set()

    def tell(trouble: Trouble) -> None:
        if trouble.item is not None and on_bad == "error":
            raise UserError(
                f"{shard}: {trouble.message}; see docs/shards-for-training.md. Mend the shard, or set data.on_bad: "
                "skip to leave out such samples and parts"
            )
        left.tell(trouble)

    try:
        with open_file(shard) as file:
            for sample in iterate_samples(file, ("txt", "json"), key_ends_at, tell):
                tell_merged(sample, tell)
                problem = _problem(sample, keys)
                keys.add(sample.key)
                if problem is None:
                    pairs.append(_placed(sample, shard))
                elif not sample.is_only_merged():
                    tell(problem)
    except OSError as error:
        raise UserError(f"{shard}: cannot be read as an uncompressed tar: {error}") from error
    return PlacedPairs.of(pairs)


def _placed(sample: TarSample, shard: str) -> PlacedPair:
    noun, description = _noun_of(sample), sample.members.get("json")
    canonical = canonical_noun(description.data if description else None, noun)
    return PlacedPair(sample.key, shard, sample.offset, sample.end - sample.offset, noun, canonical)


def _problem(sample: TarSample, keys: set[str]) -> Trouble | None:
    """What is wrong with a sample, if anything.

    Args:
        sample: with the contents of its texts.
        keys: of the samples before it.
    """
    if sample.twice or sample.key in keys:
        message = f"{sample.key} comes more than once, again in bytes {sample.offset} to {sample.end}"
        return Trouble("image", "duplicate_key", message, sample.key)
    if missing := lacking(sample.members.keys()):
        return Trouble("image", "missing_member", f"{sample.key} has no {missing}", sample.key)
    try:
        noun = _noun_of(sample)
    except UnicodeError:
        return Trouble("image", "not_utf8", f"{sample.key} has a KEY.txt that is no UTF-8 text", sample.key)
    return None if noun else Trouble("image", "empty_noun", f"{sample.key} has an empty KEY.txt", sample.key)


def _noun_of(sample: TarSample) -> str:
    """The noun as KEY.txt has it, made plain: two spellings that look alike are one class.

    Raises:
        UnicodeError: it is no UTF-8 text.
    """
    data = sample.members["txt"].data
    if looks := wide_encoding(data):
        raise UnicodeError(f"it looks like {looks}")
    return clean_name(data.decode("utf-8"))


def describe_data(data: DataConfig, pair_index: PairIndex) -> dict[str, Any]:
    """The data's digests: of the pairs, and of the lock of each build among the shard sets."""
    locks = {}
    for location in (location for each in data.sets for location in each.shards):
        folder = Folder(location.rstrip("/"))
        if folder.exists(_LOCK):
            locks[folder.url.rpartition("/")[2]] = sha256_hex(folder.read(_LOCK))
    counts = {"pairs": len(pair_index), "nouns": len(pair_index.canonicals), "left_out": dict(pair_index.left_out)}
    return {**counts, "pairs_sha256": pair_index.digest(), "build_locks_sha256": locks}
