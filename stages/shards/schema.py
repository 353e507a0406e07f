"""One row of index.parquet, and KEY.json of a sample: their columns and keys, written and read here alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import IO, Annotated, Any, NamedTuple, Self, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.common import Folder, canonical_json, clean_name
from stages.shards.tar import shown

INDEX_FILE = "index.parquet"

_Text = Annotated[str, pa.string()]
_MaybeText = Annotated[str | None, pa.string()]
_Int32 = Annotated[int, pa.int32()]
_Int64 = Annotated[int, pa.int64()]
_Float = Annotated[float, pa.float64()]
_MaybeFloat = Annotated[float | None, pa.float64()]
_Box = Annotated[Sequence[int], pa.list_(pa.int32(), 4)]
_BATCH_ROWS = 1 << 16
_PLACE = ("key", "shard", "offset", "nbytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One mask-noun pair; docs/formats.md says what each column holds."""

    key: _Text = ""
    shard: _Text = ""
    offset: _Int64 = 0
    nbytes: _Int64 = 0
    image_id: _Text
    file: _Text
    caption: _Text
    caption_number: _Int32
    noun: _Text
    noun_canonical: _Text
    noun_start: _Int32
    noun_end: _Int32
    noun_rule: _Text
    noun_mentions: _Int32
    box_xyxy_px: _Box
    crop_xyxy_px: _Box
    image_height_px: _Int32
    image_width_px: _Int32
    area_px: _Int64
    score_cosine: _Float
    margin_noun: _MaybeFloat
    margin_mask: _MaybeFloat
    proposal_source: _Text
    proposal_score: _Float
    proposal_label: _MaybeText
    mask_id: _Text
    license: _MaybeText

    @property
    def area_share(self) -> float:
        """Area of the mask as a share of the photo's, in [0, 1]."""
        return self.area_px / (self.image_height_px * self.image_width_px)

    def values(self) -> dict[str, Any]:
        """The columns by name."""
        return asdict(self)


def _schema() -> pa.Schema:
    hints = get_type_hints(IndexRow, include_extras=True)
    return pa.schema([(column.name, hints[column.name].__metadata__[0]) for column in fields(IndexRow)])


INDEX_SCHEMA: pa.Schema = _schema()
"""The columns of index.parquet, in their order."""


@dataclass(frozen=True, slots=True)
class Description:
    """KEY.json of a sample.

    Attributes:
        row: its row of the index, without the sample's place.
        mentions: all places in the photo's captions that mention the noun: caption's number, start, end.
        mask_rle: the full mask as COCO's compressed RLE.
    """

    row: IndexRow
    mentions: Sequence[Sequence[int]]
    mask_rle: dict[str, Any]

    def to_json(self) -> bytes:
        """Canonical JSON."""
        values = {name: value for name, value in self.row.values().items() if name not in _PLACE}
        return canonical_json({**values, "noun_mentions": self.mentions, "mask_rle": self.mask_rle})


def read_description(data: bytes) -> Description:
    """Reads KEY.json of a sample that `write_shard` wrote.

    Raises:
        ValueError: it is no JSON, or has other keys.
    """
    values = json.loads(data)
    try:
        mentions, mask_rle = values.pop("noun_mentions"), values.pop("mask_rle")
        return Description(IndexRow(**values, noun_mentions=len(mentions)), mentions, mask_rle)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"expected the keys of KEY.json: {type(error).__name__}: {error}") from error


def canonical_noun(description: bytes | None, noun: str) -> str:
    """The canonical noun of anybody's KEY.json, or else the noun in lower case; a damaged JSON says nothing."""
    try:
        values = json.loads(description or b"{}")
    except (ValueError, RecursionError):
        values = {}
    found = values.get("noun_canonical") if isinstance(values, dict) else None
    return (clean_name(shown(found)) if isinstance(found, str) else "") or noun.lower()


def index_rows(values: Sequence[Mapping[str, Any]]) -> list[IndexRow]:
    """Rows from their columns by name.

    Raises:
        TypeError: a row has other columns.
    """
    return [IndexRow(**each) for each in values]


@dataclass(frozen=True, slots=True, eq=False)
class IndexBatch:
    """N rows of the index, as columns.

    Attributes:
        nouns: canonical, dictionary-encoded [N].
        score_cosine, margin_noun, margin_mask: float64 [N]; NaN for a margin that a pair has not.
        area_share: float64 [N], area of the mask as a share of the photo's.
        proposal_score: float64 [N], the mask's own score, in [0, 1].
    """

    nouns: pa.DictionaryArray
    score_cosine: NDArray[np.float64]
    margin_noun: NDArray[np.float64]
    margin_mask: NDArray[np.float64]
    area_share: NDArray[np.float64]
    proposal_score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.nouns)

    def noun_counts(self) -> Counter[str]:
        """Pairs of each canonical noun."""
        counted = self.nouns.value_counts()
        return Counter(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))


def iterate_index(file: IO[bytes]) -> Iterator[IndexBatch]:
    """Goes through an index.parquet once, in pieces, so that memory does not grow with it.

    Raises:
        pyarrow.ArrowException, KeyError: it cannot be read, or lacks a column.
    """
    scores = ["score_cosine", "margin_noun", "margin_mask", "proposal_score"]
    numbers = [*scores, "area_px", "image_height_px", "image_width_px"]
    for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=["noun_canonical", *numbers]):
        found = [batch[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in numbers]
        score, margin_noun, margin_mask, proposal, area, height, width = found
        nouns = batch["noun_canonical"].dictionary_encode()
        yield IndexBatch(nouns, score, margin_noun, margin_mask, area / (height * width), proposal)


def read_keys(file: IO[bytes]) -> list[str]:
    """The keys of an index.parquet, in its order.

    Raises:
        pyarrow.ArrowException, KeyError: it cannot be read, or lacks the column.
    """
    return list(pq.read_table(file, columns=["key"])["key"].to_pylist())


def read_index_rows(file: IO[bytes], numbers: Sequence[int]) -> dict[int, IndexRow]:
    """The wanted rows of an index.parquet by their numbers; reads only the row groups that hold them.

    Raises:
        pyarrow.ArrowException, TypeError: it cannot be read, or lacks a column.
    """
    found: dict[int, IndexRow] = {}
    wanted = np.array(sorted(set(numbers)), np.int64)
    table = pq.ParquetFile(file)
    start = 0
    for group in range(table.num_row_groups):
        end = start + table.metadata.row_group(group).num_rows
        inside = wanted[(wanted >= start) & (wanted < end)]
        if len(inside):
            taken = table.read_row_group(group, columns=INDEX_SCHEMA.names).take(pa.array(inside - start))
            found.update(zip(inside.tolist(), index_rows(taken.to_pylist()), strict=True))
        start = end
    return found


class PlacedPair(NamedTuple):
    """Where a pair's sample lies, and its noun."""

    key: str
    shard: str
    offset: int
    nbytes: int
    noun: str
    noun_canonical: str


@dataclass(frozen=True, slots=True, eq=False)
class PlacedPairs:
    """N pairs as columns, as in PlacedPair: texts are large_string, numbers int64."""

    key: pa.ChunkedArray
    shard: pa.ChunkedArray
    offset: pa.ChunkedArray
    nbytes: pa.ChunkedArray
    noun: pa.ChunkedArray
    noun_canonical: pa.ChunkedArray

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def of(cls, pairs: Sequence[PlacedPair]) -> Self:
        columns = list(zip(*pairs, strict=True)) or [()] * len(_PLACED)
        return cls(*(pa.chunked_array([column], kind) for column, kind in zip(columns, _PLACED.types, strict=True)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All parts' pairs, one part after the other."""
        return cls(
            *(
                pa.chunked_array([chunk for part in parts for chunk in getattr(part, name).chunks], kind)
                for name, kind in zip(_PLACED.names, _PLACED.types, strict=True)
            )
        )

    def ends(self) -> dict[str, int]:
        """Shard -> the byte behind its last sample."""
        ends = pa.table({"shard": self.shard, "end": pc.add(self.offset, self.nbytes)})
        found = ends.group_by("shard").aggregate([("end", "max")])
        return dict(zip(found["shard"].to_pylist(), found["end_max"].to_pylist(), strict=True))


_PLACED = pa.schema(
    [(name, pa.large_string() if kind is str else pa.int64()) for name, kind in get_type_hints(PlacedPair).items()]
)


def read_placed_pairs(folder: Folder) -> PlacedPairs:
    """The pairs of a build by its index.parquet; shards are locations, below the folder.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no table with these columns, filled in all rows.
    """
    names = ", ".join(_PLACED.names)
    try:
        with folder.open(INDEX_FILE) as file:
            table = pq.read_table(file, columns=_PLACED.names).select(_PLACED.names).cast(_PLACED)
    except (KeyError, pa.ArrowException) as error:
        raise ValueError(f"expected a table with the columns {names}: {error}") from error
    if any(column.null_count for column in table.columns):
        raise ValueError(f"a column has empty cells; expected a value in each row of {names}")
    pairs = PlacedPairs(*table.columns)
    below = pa.scalar(folder.url.rstrip("/"), pa.large_string())
    shard = pc.binary_join_element_wise(below, pairs.shard, pa.scalar("/", pa.large_string()))
    return replace(pairs, shard=shard)
