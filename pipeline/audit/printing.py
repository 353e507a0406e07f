"""The report in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.audit.labels import LEVELS, Level
from pipeline.audit.verdicts import LOOSE_IOU, PairOutcome

_LEVEL_WORDS = {
    Level.EXACT: "noun is the class's name",
    Level.SYNONYM: "  or a synonym",
    Level.HYPERNYM: "  or a broader word (animal for a dog)",
    Level.HYPONYM: "  or a narrower word (puppy for a dog)",
}
_OUTCOME_WORDS = {
    PairOutcome.RIGHT: "right: label and mask",
    PairOutcome.OTHER_CLASS: "wrong: the mask is a region of another class",
    PairOutcome.LOOSE_MASK: f"wrong: the mask is off its region (IoU {LOOSE_IOU:g} to 0.5)",
    PairOutcome.NO_REGION: "wrong: the mask is neither",
    PairOutcome.CROWD: "not judged: on a crowd",
    PairOutcome.ABSENT: "not judged: the noun's class is not in this image",
    PairOutcome.UNKNOWN: "not judged: the noun is no class of the truth",
}
_SHOWN_COVERAGES = (0.1, 0.25, 0.5, 0.75, 1.0)
_SHOWN_NOUNS = 8


def print_report(report: dict[str, Any], name: str, console: Console) -> None:
    """Prints what `audit` found.

    Args:
        report: of `audit`.
        name: of the build.
        console: where to.
    """
    build, truth = report["build"], report["truth"]
    quarantined = build["images_audited_quarantined"]
    console.print(
        f"{name}: {report['pairs']:,} pairs. The truth ({truth['classes']:,} classes) has "
        f"{build['images_audited']:,} of the build's {build['images']:,} images"
        + (f", {quarantined:,} of them quarantined." if quarantined else "."),
        soft_wrap=False,
    )
    for note in truth["notes"]:
        console.print(note, soft_wrap=False)
    for table in (_precision(report), _outcomes(report), _coverage(report), _score(report["score"])):
        console.print()
        console.print(table, soft_wrap=False)
    console.print()
    nouns = report["nouns"]
    for what, listed in (("Most often wrong", nouns["most_wrong"]), ("No class", nouns["most_unknown"])):
        if listed:
            words = ", ".join(f"{_plain(entry['noun'])} {entry['pairs']:,}" for entry in listed[:_SHOWN_NOUNS])
            console.print(f"{what}: {words}.", soft_wrap=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left", header_style="dim")
    table.add_column(Text(title, style="bold not dim"), overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _precision(report: dict[str, Any]) -> Table:
    by_threshold = report["precision"]
    table = _table("Precision of the judged pairs", *(f"IoU >= {threshold}" for threshold in by_threshold))

    def row(words: str, key: str) -> None:
        table.add_row(words, *(percent(figures[key]) for figures in by_threshold.values()))

    for level in LEVELS:
        row(_LEVEL_WORDS[level], level.name.lower())
    row("if a class that is not in the image is an error, too", "absent_is_wrong")
    row("of all pairs, judged or not", "lower_bound")
    return table


def _outcomes(report: dict[str, Any]) -> Table:
    counts = report["outcomes"]["0.5"]
    table = _table("Pairs, at IoU >= 0.5", "pairs", "share")
    for outcome, words in _OUTCOME_WORDS.items():
        count = counts[outcome.name.lower()]
        table.add_row(words, f"{count:,}", percent(count / report["pairs"] if report["pairs"] else None))
        if outcome == PairOutcome.RIGHT and report["right_by_union"]:
            table.add_row("  of them a plural on several regions", f"{report['right_by_union']:,}", "")
    table.add_row("mask is a region of some class", "", percent(report["mask_on_a_region"]["all"]))
    return table


def _coverage(report: dict[str, Any]) -> Table:
    grounded, recall, nouns, masks = (report[key] for key in ("grounded", "recall", "nouns", "masks"))
    at_half = recall["0.5"]
    found = at_half[LEVELS[-1].name.lower()]
    table = _table("Coverage and variety", "of", "share")

    def row(words: str, whole: int, part: float | None) -> None:
        table.add_row(words, f"{whole:,}", percent(part))

    row("nouns with a pair", grounded["nouns"], grounded["share"])
    row("true instances found", at_half["instances"], found["instances"])
    row("classes found, in each image", at_half["image_classes"], found["image_classes"])
    row("classes found, in any image", at_half["classes"], found["classes"])
    row("nouns (canonical) right at least once", nouns["unique_canonical"], _part(nouns, "right_canonical"))
    row("pairs of the commonest tenth of the nouns", report["pairs"], nouns["head"]["share"])
    row("pairs of the rarer half of the nouns", report["pairs"], nouns["tail"]["share"])
    row("precision in that tenth", nouns["head"]["pairs"], nouns["head"]["precision"])
    row("precision in that half", nouns["tail"]["pairs"], nouns["tail"]["precision"])
    row("masks with several nouns", masks["masks"], masks["duplicate_rate"])
    row("  contradictory ones among these", masks["several_nouns"], masks["contradictory_share"])
    return table


def _part(nouns: dict[str, Any], key: str) -> float | None:
    return nouns[key] / nouns["unique_canonical"] if nouns["unique_canonical"] else None


def _score(score: dict[str, Any]) -> Table:
    table = _table("The score: judged pairs with the best", "cosine from", "precision")
    for share in _SHOWN_COVERAGES:
        point = next((point for point in score["precision_coverage"] if point["coverage"] >= share - 1e-9), None)
        if point is not None:
            table.add_row(f"{point['coverage']:.0%}", f"{point['min_score']:.4f}", percent(point["precision"]))
    table.add_row("area under precision over coverage", "", percent(score["precision_coverage_area"]))
    calibrated = score["calibration"]
    tested = f"calibration error on {calibrated['pairs_tested']:,} pairs held out"
    table.add_row(tested, "", percent(calibrated["ece"]))
    return table


def percent(value: float | None) -> str:
    """A share with one decimal; a dash for none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def _plain(words: str) -> str:
    """Captions are untrusted: control characters could steer the terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in words)
