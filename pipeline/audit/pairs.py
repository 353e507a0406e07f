"""The pairs of a finished build, image by image, without its pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow.parquet

from pipeline.records import read_lock, shard_name, table_name
from stages.common import Folder, UserError
from stages.shards import iterate_samples, read_description


@dataclass(frozen=True, slots=True)
class Pair:
    """What an audit needs of a pair: see docs/formats.md for the fields."""

    image_id: str
    noun: str
    canonical: str
    score_cosine: float
    mask_id: str
    mask_rle: Any
    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A row of images.parquet."""

    image_id: str
    file: str
    status: str
    nouns: int
    pairs: int


class Build:
    """A finished build, for reading.

    Attributes:
        images: rows of images.parquet, in order.
        plan_digest: the build's identity.

    Raises:
        UserError: there is no finished build, or its tables are damaged.
    """

    def __init__(self, url: str) -> None:
        self._store, self._url = Folder(url), url
        self._lock = read_lock(self._store)
        self.plan_digest = self._lock.plan_digest
        try:
            table = pyarrow.parquet.read_table(
                io.BytesIO(self._store.read(table_name("images"))),
                columns=["image_id", "file", "status", "nouns", "pairs"],
            )
        except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise self._damaged(f"{table_name('images')}: {error}") from error
        self.images = [ImageRow(**row) for row in table.to_pylist()]

    def images_with_pairs(self, progress: Callable[[int], None] | None = None) -> Iterator[tuple[str, list[Pair]]]:
        """Image id and pairs of every image that has any, shard by shard.

        Args:
            progress: called with the number of shards done so far.

        Raises:
            UserError: a shard is damaged or missing, or has other pairs than the build's table of images says.
        """
        expected = {row.image_id: row.pairs for row in self.images if row.pairs}
        for done, entry in enumerate(self._lock.units, start=1):
            name = shard_name(entry.unit)
            for image_id, pairs in groupby(self._pairs_of(name), key=lambda pair: pair.image_id):
                listed = list(pairs)
                if expected.pop(image_id, None) != len(listed):
                    raise self._damaged(f"{name}: image {image_id} has other pairs than {table_name('images')} says")
                yield image_id, listed
            if progress is not None:
                progress(done)
        if expected:
            raise self._damaged(f"{len(expected)} image(s) lack their pairs, e.g. {next(iter(expected))}")

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._lock.units)

    def _pairs_of(self, name: str) -> Iterator[Pair]:
        try:
            with self._store.open(name) as file:
                for sample in iterate_samples(file, ("json",)):
                    description = read_description(sample.members["json"].data)
                    row = description.row
                    size = row.image_height_px, row.image_width_px
                    names = row.image_id, row.noun, row.noun_canonical
                    yield Pair(*names, row.score_cosine, row.mask_id, description.mask_rle, *size)
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(f"{name}: {type(error).__name__}: {error}") from error

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._url}: the build is damaged: {what}; `maskmine verify` says more")
