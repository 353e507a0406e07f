"""The pairs that are shown: which ones, and what is told of each."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report import tables
from pipeline.report.pictures import PagePicture, pair_picture, sample_of
from pipeline.report.text import MINUS, MarkedText, clean, marked, percent, shorten
from stages.common import Folder, SampleError
from stages.shards import INDEX_FILE, IndexRow, read_index_rows

_PICTURE_BYTES = 3_600_000  # of all pictures together, as data URIs
_LARGEST_PICTURE_BYTES = 40_000


@dataclass(frozen=True, slots=True)
class Card:
    """One pair, ready to be shown; `no_picture` says why there is none."""

    noun: str
    caption: MarkedText
    score: str
    margin_noun: str
    margin_mask: str
    area_share: str
    file: str
    key: str
    source: str
    license: str
    picture: PagePicture | None
    no_picture: str


@dataclass(frozen=True, slots=True)
class Section:
    """Some pairs, and how they were chosen."""

    anchor: str
    title: str
    chosen: str
    cards: list[Card]


def sections_of(store: Folder, pairs: tables.Pairs, seed: str, most: int) -> list[Section]:
    """Chooses pairs and reads their samples; a small build's pairs are shown once, all of them.

    Args:
        store: the build's folder.
        pairs: what the index told.
        seed: of the random sample.
        most: pairs a section.
    """
    if pairs.count <= most:
        chosen = [("all", "All pairs", "In the order of the shards.", list(range(pairs.count)))]
    else:
        once = "Each noun once."
        lowest = f"Another noun fits the mask, or another mask the noun, nearly as well or better. {once}"
        drawn = tables.draw_rows(seed, pairs.count, most)
        chosen = [
            ("best", "Best: highest scores", once, pairs.best.rows(most)),
            ("worst", "Worst: lowest scores", once, pairs.worst.rows(most)),
            ("doubtful", "Doubtful: smallest margins", lowest, pairs.doubtful.rows(most)),
            ("sample", "Random sample", "Drawn by hash from all pairs: what the build is like as a whole.", drawn),
        ]
    with store.open(INDEX_FILE) as file:
        rows = read_index_rows(file, [row for _, _, _, numbers in chosen for row in numbers])
    shown = sum(len(numbers) for _, _, _, numbers in chosen)
    budget = min(_PICTURE_BYTES // max(shown, 1), _LARGEST_PICTURE_BYTES)
    cards = {number: _card(store, row, budget) for number, row in sorted(rows.items())}
    return [
        Section(anchor, title, how, [cards[number] for number in numbers])
        for anchor, title, how, numbers in chosen
        if numbers
    ]


def _card(store: Folder, row: IndexRow, budget_bytes: int) -> Card:
    picture, missing = None, ""
    try:
        picture = pair_picture(sample_of(store, row), budget_bytes)
    except SampleError as error:
        missing = f"no picture: {row.shard} cannot be read here ({error.reason})"
    except (OSError, ValueError, KeyError) as error:
        missing = f"no picture: {row.shard} cannot be read here ({type(error).__name__})"
    return Card(
        noun=clean(shorten(row.noun, 60)),
        caption=marked(row.caption, row.noun_start, row.noun_end),
        score=f"{row.score_cosine:.3f}".replace("-", MINUS),
        margin_noun=_signed(row.margin_noun),
        margin_mask=_signed(row.margin_mask),
        area_share=percent(row.area_share),
        file=clean(shorten(row.file, 80)),
        key=clean(shorten(row.key, 40)),
        source=clean(shorten(row.proposal_source, 40)),
        license=clean(shorten(row.license or "", 80)),
        picture=picture,
        no_picture=clean(missing),
    )


def _signed(margin: float | None) -> str:
    return "none" if margin is None else f"{margin:+.3f}".replace("-", MINUS)
