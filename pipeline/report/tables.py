"""The build's tables, read in pieces: what is kept does not grow with the number of pairs or images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.records import table_name
from pipeline.report.histogram import Histogram
from stages.common import Folder
from stages.shards import INDEX_FILE, IndexBatch, iterate_index

_BATCH_ROWS = 1 << 16
_SURE = 1 / 3
"""Share of the pairs whose mask score, and whose margin to the next noun, must not be higher than a best pair's."""
_LAST = 4.0
"""Puts a value behind all cosines."""


class Extremes:
    """For each noun, the pair with the lowest value: so no noun fills a list of extremes alone."""

    def __init__(self) -> None:
        self._lowest: dict[str, tuple[float, int]] = {}

    def add(self, nouns: pa.DictionaryArray, values: NDArray[np.float64], first_row: int) -> None:
        """Takes in some pairs.

        Args:
            nouns: [N] canonical nouns, dictionary-encoded.
            values: [N], NaN where the pair has none.
            first_row: of the first pair in the index.
        """
        codes = nouns.indices.to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(~np.isnan(values))
        rows = rows[np.lexsort((rows, values[rows], codes[rows]))]
        is_first = np.ones(len(rows), bool)
        is_first[1:] = codes[rows][1:] != codes[rows][:-1]
        for row in rows[is_first].tolist():
            noun = nouns.dictionary[int(codes[row])].as_py()
            found = (float(values[row]), first_row + row)
            self._lowest[noun] = min(found, self._lowest.get(noun, found))

    def rows(self, most: int) -> list[int]:
        """Rows of the index, lowest value first; each noun once."""
        return [row for _, row in sorted(self._lowest.values())[:most]]


@dataclass
class Pairs:
    """What is told of all pairs."""

    count: int = 0
    nouns: Counter[str] = field(default_factory=Counter)
    score: Histogram = field(default_factory=lambda: Histogram(-1, 1, 0.0005))
    margin_noun: Histogram = field(default_factory=lambda: Histogram(-2, 2, 0.0005))
    margin_mask: Histogram = field(default_factory=lambda: Histogram(-2, 2, 0.0005))
    area_log10: Histogram = field(default_factory=lambda: Histogram(-8, 0.01, 0.01))
    mask_score: Histogram = field(default_factory=lambda: Histogram(0, 1.001, 0.0005))
    best: Extremes = field(default_factory=Extremes)
    worst: Extremes = field(default_factory=Extremes)
    doubtful: Extremes = field(default_factory=Extremes)

    def add(self, batch: IndexBatch) -> None:
        """Takes in the next rows of the index."""
        self.nouns.update(batch.noun_counts())
        self.score.add(batch.score_cosine)
        margins = batch.margin_noun, batch.margin_mask
        for histogram, margin in zip((self.margin_noun, self.margin_mask), margins, strict=True):
            histogram.add(margin[~np.isnan(margin)])
        self.area_log10.add(np.log10(batch.area_share))
        self.mask_score.add(batch.proposal_score)
        lowest = (self.worst, batch.score_cosine), (self.doubtful, np.fmin(*margins))
        for extremes, judged in lowest:
            extremes.add(batch.nouns, judged, self.count)
        self.count += len(batch)

    def rank(self, batch: IndexBatch, first_row: int) -> None:
        """Takes the best out of some rows, once all were taken in: high match scores, but for the doubtful third.

        A high score on a poor mask, or with another noun that fits as well, is no sign of a good pair.
        """
        told = (self.mask_score, batch.proposal_score), (self.margin_noun, batch.margin_noun)
        lowest = np.minimum.reduce([histogram.shares_up_to(values) for histogram, values in told])
        self.best.add(batch.nouns, np.where(lowest >= _SURE, 0.0, _LAST) - batch.score_cosine, first_row)


def read_pairs(store: Folder) -> Pairs:
    """Goes through the index twice: what is best shows when all is known.

    Raises:
        FileNotFoundError: there is no index.
        pyarrow.ArrowException: it cannot be read.
    """
    pairs = Pairs()
    with store.open(INDEX_FILE) as file:
        for batch in iterate_index(file):
            pairs.add(batch)
    first_row = 0
    with store.open(INDEX_FILE) as file:
        for batch in iterate_index(file):
            pairs.rank(batch, first_row)
            first_row += len(batch)
    return pairs


def draw_rows(seed: str, count: int, most: int) -> list[int]:
    """Different rows of [0, count), drawn by hash; all of them if there are no more than `most`."""
    if count <= most:
        return list(range(count))
    drawn: dict[int, None] = {}
    number = 0
    while len(drawn) < most:
        lot = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8])
        drawn[lot % count] = None
        number += 1
    return list(drawn)


@dataclass
class Images:
    """What is told of all images."""

    statuses: Counter[str] = field(default_factory=Counter)
    no_pairs: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    sha256: dict[str, str] = field(default_factory=dict)


def read_images(store: Folder, hashes_of: set[str]) -> Images:
    """Goes through the images table once; keeps the hashes of the named images."""
    images = Images()
    columns = ["image_id", "sha256", "status", "reason", "captions", "nouns", "proposals", "dropped"]
    named = pa.array(sorted(hashes_of), pa.string())
    for batch in _batches(store, "images", columns):
        images.statuses.update(_counted(batch["status"]))
        images.no_pairs.update(_counted(batch["reason"].filter(pc.equal(batch["status"], "no_pairs"))))
        images.found.update({name: pc.sum(batch[name]).as_py() or 0 for name in ("captions", "nouns", "proposals")})
        images.dropped.update(_summed(batch["dropped"]))
        these = batch.filter(pc.is_in(batch["image_id"], value_set=named))
        images.sha256.update(zip(these["image_id"].to_pylist(), these["sha256"].to_pylist(), strict=True))
    return images


@dataclass
class Quarantine:
    """What is told of bad inputs: counts by item, stage and reason, and the first few rows of each."""

    count: int = 0
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)


def read_quarantine(store: Folder, most: int) -> Quarantine:
    """Goes through the quarantine table once; keeps some rows of every reason, `most` in all if there are so many."""
    found = Quarantine()
    kept: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for batch in _batches(store, "quarantine", None):
        for row in batch.to_pylist():
            kind = (row["stage"], row["reason"], row["item"])
            found.reasons[kind] += 1
            rows = kept.setdefault(kind, [])
            if len(rows) < most:
                rows.append(row)
    found.count = found.reasons.total()
    # In turns, so that the commonest reason does not hide the others.
    turns = [row for turn in range(most) for kind in sorted(kept) for row in kept[kind][turn : turn + 1]]
    found.rows = sorted(turns[:most], key=lambda row: (row["stage"], row["reason"], row["unit"] or 0, row["image_id"]))
    return found


def _batches(store: Folder, table: str, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    with store.open(table_name(table)) as file:
        yield from pyarrow.parquet.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=columns)


def _counted(values: pa.Array) -> dict[str, int]:
    counts = values.value_counts()
    return dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))


def _summed(maps: pa.MapArray) -> dict[str, int]:
    """Sum of the values of each key."""
    # Keys and items are flat, and those of the whole array even where `maps` is a slice of it; offsets tell which.
    start, end = maps.offsets[0].as_py(), maps.offsets[-1].as_py()
    flat = pa.table({"reason": maps.keys.slice(start, end - start), "times": maps.items.slice(start, end - start)})
    sums = flat.group_by("reason").aggregate([("times", "sum")])
    return dict(zip(sums["reason"].to_pylist(), sums["times_sum"].to_pylist(), strict=True))
