"""Choice of pairs, counting, pictures and texts, each by itself."""

from __future__ import annotations

import io
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.finalise import TABLES
from pipeline.report import tables
from pipeline.report.histogram import Histogram, draw
from pipeline.report.nouns import noun_summary
from pipeline.report.page import _PICTURE_BYTES
from pipeline.report.pictures import outline_path, pair_picture, sample_of
from pipeline.report.text import clean, marked, percent, shorten
from stages.common import Folder
from stages.shards import read_index_rows
from tests.index_rows import index_row


def write_index(folder: Path, count: int, seed: int = 0) -> dict[str, Any]:
    """An index of random pairs, in row groups of 30,000; gives its columns."""
    generator = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: [None] * count for name in TABLES["index"].names}
    columns["noun_canonical"] = [f"noun {number}" for number in generator.zipf(1.5, count).clip(0, 500)]
    columns["score_cosine"] = generator.normal(0.2, 0.05, count).round(6).tolist()
    columns["margin_noun"] = [None if number % 3 == 0 else float(number % 89) / 100 for number in range(count)]
    columns["margin_mask"] = [None if number % 2 else 0.5 for number in range(count)]
    columns["proposal_score"] = generator.random(count).round(6).tolist()
    columns["area_px"] = generator.integers(1, 10_000, count).tolist()
    columns["image_height_px"] = columns["image_width_px"] = [100] * count
    columns["key"] = [f"{number:09d}-000" for number in range(count)]
    table = pa.table(columns, schema=TABLES["index"])
    pyarrow.parquet.write_table(table, folder / "index.parquet", row_group_size=30_000)
    return columns


def rank(values: list[float | None]) -> NDArray[np.float64]:
    """Share of the values in the same or a lower cell of a report's histogram; 1 where there is none."""
    cells = np.array([np.inf if value is None else np.floor(value / 0.0005 + 1e-6) for value in values])
    there = np.sort(cells[np.isfinite(cells)])
    return np.where(np.isfinite(cells), np.searchsorted(there, cells, "right") / len(there), 1.0)


def test_best_pairs_have_good_masks_and_no_near_rival(tmp_path: Path) -> None:
    """A pair with the highest score on a poor mask, or with a rival noun, is none of the best."""
    columns = write_index(tmp_path, 100)
    columns["noun_canonical"] = [f"noun {number}" for number in range(100)]
    columns["score_cosine"] = [number / 1000 for number in range(100)]
    columns["proposal_score"] = [0.1 if number == 99 else 0.9 for number in range(100)]
    columns["margin_noun"] = [0.0 if number == 98 else None if number == 97 else 0.3 for number in range(100)]
    pyarrow.parquet.write_table(pa.table(columns, schema=TABLES["index"]), tmp_path / "index.parquet")
    assert tables.read_pairs(Folder(str(tmp_path))).best.rows(3) == [97, 96, 95]


def test_choice_and_counts_are_those_of_a_plain_computation(tmp_path: Path) -> None:
    columns = write_index(tmp_path, 80_000)
    pairs = tables.read_pairs(Folder(str(tmp_path)))
    nouns, scores = columns["noun_canonical"], columns["score_cosine"]
    assert pairs.count == 80_000
    assert pairs.nouns == Counter(nouns)
    sure = np.minimum(rank(columns["proposal_score"]), rank(columns["margin_noun"])) >= 1 / 3
    seen: dict[str, int] = {}
    for row in sorted(range(80_000), key=lambda row: (not sure[row], -scores[row], row)):
        seen.setdefault(nouns[row], row)
    assert pairs.best.rows(20) == list(seen.values())[:20]
    worst: dict[str, int] = {}
    for row in sorted(range(80_000), key=lambda row: (scores[row], row)):
        worst.setdefault(nouns[row], row)
    assert pairs.worst.rows(20) == list(worst.values())[:20]
    margins = zip(columns["margin_noun"], columns["margin_mask"], strict=True)
    least = [min((margin for margin in two if margin is not None), default=None) for two in margins]
    doubtful = [least[row] for row in pairs.doubtful.rows(20)]
    assert doubtful == sorted(m for m in least if m is not None)[: len(doubtful)]
    assert pairs.score.total == 80_000
    assert pairs.margin_noun.total == sum(margin is not None for margin in columns["margin_noun"])
    assert pairs.score.quantile(0.5) == pytest.approx(np.median(scores), abs=0.001)
    wanted = [79_999, 3, 30_000, 3]
    with open(tmp_path / "index.parquet", "rb") as file:
        found = read_index_rows(file, wanted)
    assert {number: row.key for number, row in found.items()} == {row: columns["key"][row] for row in wanted}


def test_images_are_counted_once_however_the_table_is_cut(tmp_path: Path) -> None:
    """70,000 rows in one row group are read in two batches, which are slices of the same arrays."""
    count = 70_000
    columns: dict[str, Any] = {name: [None] * count for name in TABLES["images"].names}
    columns["image_id"] = [str(number) for number in range(count)]
    columns["sha256"] = [f"hash {number}" for number in range(count)]
    columns["status"] = ["no_pairs" if number % 7 == 0 else "pairs" for number in range(count)]
    columns["reason"] = ["no_nouns" if number % 7 == 0 else "" for number in range(count)]
    columns["captions"] = [5] * count
    kinds = [[("match.x", 1), ("noun.y", 3)], [("noun.junk", 2)]]
    columns["dropped"] = [kinds[number % 2] for number in range(count)]
    table = pa.table(columns, schema=TABLES["images"])
    pyarrow.parquet.write_table(table, tmp_path / "images.parquet", row_group_size=count)
    images = tables.read_images(Folder(str(tmp_path)), {"3", "69999", "nobody"})
    assert images.dropped == {"noun.junk": count, "match.x": count // 2, "noun.y": 3 * count // 2}
    assert images.statuses == {"no_pairs": 10_000, "pairs": 60_000}
    assert images.no_pairs == {"no_nouns": 10_000}
    assert images.found["captions"] == 5 * count
    assert images.sha256 == {"3": "hash 3", "69999": "hash 69999"}


def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path: Path) -> None:
    write_index(tmp_path, 200_000)
    tracemalloc.start()
    tables.read_pairs(Folder(str(tmp_path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # a list of the nouns alone would take 12 MB, one of the scores 5 MB


def test_rows_are_drawn_by_hash_and_differ() -> None:
    drawn = tables.draw_rows("seed", 1000, 50)
    assert len(set(drawn)) == 50
    assert all(0 <= row < 1000 for row in drawn)
    assert drawn == tables.draw_rows("seed", 1000, 50)
    assert drawn != tables.draw_rows("other", 1000, 50)
    assert tables.draw_rows("seed", 3, 50) == [0, 1, 2]
    assert sorted(tables.draw_rows("seed", 51, 50)) != list(range(50))


def test_histogram_has_round_bars_that_hold_all_values() -> None:
    histogram = Histogram(-1, 1, 0.0005)
    histogram.add(np.array([0.2, 0.2004, 0.2999, 0.3, -0.1, -5.0, 5.0]))
    bars = histogram.bars()
    assert sum(count for _, _, count in bars) == 7
    assert bars[0][0] == pytest.approx(-1)
    assert bars[-1][1] == pytest.approx(1)
    narrow = Histogram(-1, 1, 0.0005)
    narrow.add(np.array([0.3]))
    assert [(round(start, 4), round(end, 4), count) for start, end, count in narrow.bars()] == [(0.3, 0.3005, 1)]
    assert draw("t", "u", narrow, str) is not None
    assert draw("t", "u", Histogram(-1, 1, 0.5), str) is None


def test_ticks_are_inside_and_round() -> None:
    histogram = Histogram(-1, 1, 0.0005)
    histogram.add(np.linspace(0.11, 0.37, 1000))
    chart = draw("score", "cosine", histogram, lambda value: f"{value:.4g}")
    assert chart is not None
    assert [label for _, label in chart.x_ticks] == ["0.15", "0.2", "0.25", "0.3", "0.35"] or len(chart.x_ticks) > 2
    assert all(44 <= x <= 346 for x, _ in chart.x_ticks)
    assert all(22 <= y <= 150 for y, _ in chart.y_ticks)


def test_head_and_tail_of_nouns() -> None:
    summary = noun_summary(Counter({"dog": 60, "cat": 30, **{f"rare {number}": 1 for number in range(30)}}))
    assert summary is not None
    assert (summary.count, summary.half) == (32, 1)
    assert summary.top[0] == ("dog", 60, 1.0)
    assert [(words, count) for words, count, _ in summary.bands] == [("1", 30), ("10 to 99", 2)]
    assert len(summary.rare) == 32 - 25
    assert noun_summary(Counter()) is None


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(700, 500), (40, 30), (1, 1), (3000, 2)])
def test_picture_keeps_to_its_budget_even_of_noise_in_the_largest_report(size: tuple[int, int]) -> None:
    budget = _PICTURE_BYTES // (4 * 100)
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    ragged = Image.fromarray(generator.integers(0, 2, (size[1], size[0])).astype(bool))
    picture = pair_picture({"jpg": encoded(noise, "JPEG"), "mask.png": encoded(ragged, "PNG")}, budget)
    assert len(picture.uri) <= budget
    assert len(picture.outline) < 20_000


def test_outline_runs_around_the_mask() -> None:
    mask = np.zeros((20, 30))
    mask[5:15, 10:30] = 255
    numbers = [float(number) for number in re.findall(r"[\d.]+", outline_path(mask))]
    x, y = np.array(numbers[0::2]), np.array(numbers[1::2])
    assert (x.min(), x.max(), y.min(), y.max()) == (10, 30, 5, 15)
    mask[8:12, 15:20] = 0
    assert outline_path(mask).count("M") == 2
    assert outline_path(np.zeros((4, 4))) == ""


@pytest.mark.parametrize("shard", ["../shards/000000.tar", "/etc/passwd", "shards/../../x.tar"])
def test_index_does_not_lead_out_of_the_folder(tmp_path: Path, shard: str) -> None:
    with pytest.raises(ValueError, match="no shard of a build"):
        sample_of(Folder(str(tmp_path)), index_row(shard=shard, nbytes=10, key="k"))


def test_texts() -> None:
    assert clean("a\tb\u202ec\u0000") == "a b⟨U+202E⟩c⟨U+0000⟩"
    assert shorten("abcdefghij", 5) == "ab…ij"
    parts = marked("x" * 500 + " dog " + "y" * 500, 501, 504, around=10)
    assert (parts.before, parts.marked, parts.after) == ("…xxxxxxxxx ", "dog", " yyyyyyyyy…")
    assert marked("dog", -5, 99).marked == "dog"
    assert [percent(share) for share in (1.0, 0.5, 0.1, 0.01, 0.0012)] == [
        "100\u00a0%", "50\u00a0%", "10\u00a0%", "1\u00a0%", "0.12\u00a0%",
    ]  # fmt: skip
