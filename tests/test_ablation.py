"""The ablation's split, its shards of ground truth, and its tables; the training itself is tested in tests/train."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from benchmarks.ablation.rows import ALL, SHORT, Plain, Trained
from benchmarks.ablation.table import PUBLISHED, Comparison, goals_table, published_table, rows_table
from benchmarks.ablation.worlds import Size, Split, Worlds, regions_in
from pipeline.terminal import terminal
from train.data.pair_index import index_pairs
from train.data.samples import ShardSet
from train.evaluate.classify.run import GroundTruth


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    size, console = Size(scenes=6, objects=4, steps=1), terminal(file=io.StringIO())
    return Worlds(tmp_path_factory.mktemp("ablation"), 3, size, console)


def scored(**rows: list[tuple[float, float]]) -> dict[str, list[dict[str, Any]]]:
    """Scores of each seed from (seen, unseen)."""
    return {
        key: [
            {"seen": seen, "unseen": unseen, "harmonic": 2 * seen * unseen / (seen + unseen)} for seen, unseen in seeds
        ]
        for key, seeds in rows.items()
    }


def test_seen_and_unseen_names_are_halves_and_labels_are_seen() -> None:
    split = Split.of(0)
    assert len(split.names) == len({*split.seen, *split.unseen}) == 409
    assert abs(len(split.seen) - len(split.unseen)) == 1
    assert set(split.labels) < set(split.seen)
    assert split == Split.of(0)
    assert split != Split.of(1)


def test_pairs_of_the_truth_are_masks_of_mentioned_names_alone(worlds: Worlds) -> None:
    pairs = index_pairs((ShardSet(shards=(str(worlds.told()),)),), "error")
    assert len(pairs) > 6
    words = set(worlds.split.unseen)
    assert not words & {noun.lower() for noun in pairs.nouns}


def test_captions_mention_no_unseen_name_though_pictures_show_some(worlds: Worlds) -> None:
    worlds.told()
    training = worlds.folder / "training"
    captions = json.loads((training / "truth.json").read_bytes())["captions"]
    mentioned = {noun["name"] for caption in captions for noun in caption["nouns"]}
    shown = {name for picture in GroundTruth(regions_in(training)).pictures() for name, _ in picture.regions}
    assert not mentioned & set(worlds.split.unseen)
    assert shown & set(worlds.split.unseen)


def test_rows_that_begin_with_another_come_after_it() -> None:
    for rows in (ALL, SHORT):
        keys = [row.key for row in rows]
        assert len(set(keys)) == len(keys)
        for row in rows:
            if isinstance(row, Trained) and row.begins_with:
                assert keys.index(row.begins_with) < keys.index(row.key)


def test_every_published_comparison_names_rows_of_the_ablation() -> None:
    keys = {row.key for row in ALL}
    assert all({one.better, one.worse} <= keys for one in PUBLISHED)


def test_rows_have_mean_and_spread_over_seeds() -> None:
    table = rows_table((Plain("plain", "plain CLIP", "cluttered", "masked"),), scored(plain=[(10, 20), (14, 20)]))
    assert f"| plain CLIP | 12.0 ± {np.std([10, 14], ddof=1):.1f} | 20.0 ± 0.0 |" in table


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ([(20, 20), (30, 30)], "agrees"),
        ([(20, 20), (5, 5)], "undecided"),
        ([(5, 5), (6, 6)], "does not agree"),
    ],
)
def test_a_published_direction_holds_only_if_all_seeds_have_it(
    ours: list[tuple[float, float]], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.ablation.table.PUBLISHED", (Comparison("ft", "plain", "FT 2, plain 1"),))
    table = published_table(scored(ft=ours, plain=[(10, 10), (10, 10)]))
    assert table.splitlines()[-1].endswith(f"| {verdict} |")


def test_goals_are_reckoned_from_means() -> None:
    scores = scored(
        plain=[(40, 40)], ceiling=[(80, 80)], mpt=[(50, 49)], ft=[(60, 64)], ft_mpt=[(65, 62)], labels=[(50, 65)]
    )
    lines = goals_table(scores).splitlines()[2:]
    assert [line.split("|")[2].strip() for line in lines] == ["9.0", "24.0", "58.7 %", "-1.0"]
    assert [line.split("|")[3].strip() for line in lines] == ["missed", "met", "met", "missed"]
