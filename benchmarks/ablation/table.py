"""The ablation's tables: rows, goals, and the published directions beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from benchmarks.ablation.rows import Plain, Trained

PARTS = ("seen", "unseen", "harmonic")
Scores = dict[str, list[dict[str, Any]]]
"""Scores of each seed, by key of the row."""


@dataclass(frozen=True)
class Comparison:
    """A published difference. `better` and `worse` are rows of ours; the published figures are mIoU on A-150."""

    better: str
    worse: str
    published: str


PUBLISHED = (
    Comparison("plain", "crops", "plain CLIP: masked crops 20.1, the same crops unmasked 13.8"),
    Comparison("mpt", "plain", "MPT only 26.5, plain CLIP 21.8"),
    Comparison("ft", "mpt", "FT only 28.8, MPT only 26.5"),
    Comparison("ft_mpt", "ft", "FT then MPT 29.6, FT only 28.8"),
    Comparison("ft_mpt", "joint", "FT then MPT 29.6, joint 29.0"),
    Comparison("joint", "ft", "joint 29.0, FT only 28.8"),
    Comparison("ft_first", "labels", "proposals + 1 caption 28.8, ground-truth masks + fixed labels 23.0"),
    Comparison("told", "labels", "ground-truth masks: 1 caption 24.2 (ours: 5 captions), fixed labels 23.0"),
    Comparison("ft", "told", "proposals + 1 caption 28.8, ground-truth masks + 1 caption 24.2 (ours: 5 captions)"),
    Comparison("ft_first", "ft", "1 caption 28.8, 5 captions 28.6"),
)

GAINS = (
    ("mpt", "MPT alone, the generator's masks", 10),
    ("ft", "FT, the generator's masks", 23),
    ("truth_mpt", "MPT alone, true masks", 10),
    ("truth_ft", "FT, true masks", 15),
    ("classical_mpt", "MPT alone, classical proposals", 10),
    ("classical_ft", "FT, classical proposals", 15),
)
"""Rows, and the points that they should gain over plain CLIP on unseen names."""


def rows_table(rows: tuple[Plain | Trained, ...], scores: Scores) -> str:
    """Top-1 accuracy of each row: mean over seeds, and the standard deviation where there are several."""
    lines = ["| top-1 % | seen | unseen | harmonic |", "|---|---|---|---|"]
    for row in rows:
        cells = (spread([seed[part] for seed in scores[row.key]]) for part in PARTS)
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def published_table(scores: Scores) -> str:
    """For each published comparison whose rows are there: ours, on unseen names and in the harmonic mean.

    Ours agrees, or does not, where all seeds have the same sign in the harmonic mean; else it is undecided.
    """
    lines = ["| published, A-150 mIoU | ours, unseen | ours, harmonic | |", "|---|---|---|---|"]
    for comparison in PUBLISHED:
        if not {comparison.better, comparison.worse} <= set(scores):
            continue
        found = {part: _differences(scores, comparison.better, comparison.worse, part) for part in PARTS}
        signs = {difference > 0 for difference in found["harmonic"]}
        verdict = "undecided" if len(signs) > 1 else "agrees" if signs == {True} else "does not agree"
        ours = " | ".join(spread(found[part], "+") for part in ("unseen", "harmonic"))
        lines.append(f"| {comparison.published} | {ours} | {verdict} |")
    return "\n".join(lines)


def goals_table(scores: Scores) -> str:
    """The four goals of the ablation, and what was measured; means over seeds."""
    means = {key: {part: mean(seed[part] for seed in seeds) for part in PARTS} for key, seeds in scores.items()}
    plain = means["plain"]
    lines = ["| goal | measured | |", "|---|---|---|"]
    for key, title, least in GAINS:
        if key not in means:
            continue
        gain = means[key]["unseen"] - plain["unseen"]
        lines.append(_goal(f"{title} gains {least} points over plain CLIP, masked crops, unseen", gain, least, ""))
    best = max((key for key in ("mpt", "ft", "ft_mpt", "joint") if key in means), key=lambda k: means[k]["harmonic"])
    closed = (means[best]["harmonic"] - plain["harmonic"]) / (means["ceiling"]["harmonic"] - plain["harmonic"])
    title = f"the best recipe ({best}) closes half of the distance to the ceiling, harmonic"
    lines.append(_goal(title, 100 * closed, 50, " %"))
    if "labels" in means:
        loss = means["ft"]["unseen"] - means["labels"]["unseen"]
        lines.append(_goal("fixed labels lose to mined nouns, unseen", loss, 0, ""))
    return "\n".join(lines)


def _goal(title: str, value: float, least: float, unit: str) -> str:
    return f"| {title} | {value:.1f}{unit} | {'met' if value >= least else 'missed'} |"


def _differences(scores: Scores, better: str, worse: str, part: str) -> list[float]:
    return [a[part] - b[part] for a, b in zip(scores[better], scores[worse], strict=True)]


def spread(values: list[float], sign: str = "") -> str:
    """Mean, and standard deviation if there are several values."""
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.1f}{deviation}"
