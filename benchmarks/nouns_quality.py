"""Precision, recall and speed of the noun rules on hand-labelled captions.

    python -m benchmarks.nouns_quality            # the table of docs/nouns.md
    python -m benchmarks.nouns_quality --errors spacy dev

tests/stages/nouns/captions.tsv holds captions in the style of COCO and of alt text from the web. A label is a common
noun, as the caption writes it, that names something one could draw a mask around in a photo that the caption
describes truly: things, living beings, stuff (water, grass), places seen as a whole (kitchen, beach), body parts,
landmarks by name. No labels are: names of people, towns and makes, events, times, abstract words, words for the
picture itself or for layout, things said to be absent, and modifiers ('garage' in 'garage door').

A match is equality of surface forms within the caption, lower case; of a label's wordings parted by '/', either is
right. Per caption, the distinct surface forms that a rule gives are compared with the labels: precision is the share
of forms given that are right, recall the share of labels found, over all captions of a part.

Rules and word lists were tuned on the dev half alone. The test half was written together with dev, before the rules;
the late part was written when the rules were done.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.nouns import NltkNouns, NounExtractor, SpacyNouns, build_extractor

CAPTIONS_FILE = Path(__file__).parents[1] / "tests" / "stages" / "nouns" / "captions.tsv"
RULES: dict[str, NltkNouns | SpacyNouns] = {
    "nltk NN only": NltkNouns(tags=("NN",)),
    "nltk": NltkNouns(),
    "spacy": SpacyNouns(),
}
PARTS = [(half, style) for half in ("dev", "test", "late") for style in ("coco", "alt", "all")]
SPEED_ROUNDS = 4


@dataclass(frozen=True)
class LabelledCaption:
    """A caption and its labels; each label is the set of wordings that are right for it."""

    half: str
    style: str
    text: str
    labels: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Quality:
    """Precision, recall and their harmonic mean, in [0, 1]."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def load_captions(path: Path = CAPTIONS_FILE) -> list[LabelledCaption]:
    """Reads the labelled captions: half, style, caption and labels, parted by tabs."""
    captions: list[LabelledCaption] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            half, style, text, nouns = line.split("\t")
            labels = tuple(frozenset(label.split("/")) for label in nouns.split(", ") if label)
            captions.append(LabelledCaption(half, style, text, labels))
    return captions


def part_of(captions: Iterable[LabelledCaption], half: str, style: str) -> list[LabelledCaption]:
    """The captions of a half ("dev", "test", "late") and style ("coco", "alt", "all")."""
    return [caption for caption in captions if caption.half == half and style in (caption.style, "all")]


def mistakes(extractor: NounExtractor, caption: LabelledCaption) -> tuple[set[str], set[str], list[str]]:
    """Surface forms given; those of them that are wrong; labels missed."""
    given = {noun.surface for noun in extractor.extract([caption.text])[0].nouns}
    wrong = given - frozenset().union(*caption.labels)
    missed = ["/".join(sorted(label)) for label in caption.labels if not label & given]
    return given, wrong, missed


def quality(extractor: NounExtractor, captions: Iterable[LabelledCaption]) -> Quality:
    """Precision and recall over the captions."""
    given = wrong = missed = labels = 0
    for caption in captions:
        caption_given, caption_wrong, caption_missed = mistakes(extractor, caption)
        given, wrong = given + len(caption_given), wrong + len(caption_wrong)
        labels, missed = labels + len(caption.labels), missed + len(caption_missed)
    return Quality((given - wrong) / given, (labels - missed) / labels)


def captions_per_second(extractor: NounExtractor, texts: list[str]) -> float:
    """Speed in one process, models loaded; the best of some rounds, as other work on the machine only slows it."""
    seconds = []
    for _ in range(SPEED_ROUNDS):
        start = time.perf_counter()
        extractor.extract(texts * 4)
        seconds.append(time.perf_counter() - start)
    return len(texts) * 4 / min(seconds)


def print_errors(rule: str, half: str, captions: list[LabelledCaption]) -> None:
    extractor = build_extractor(RULES[rule])
    for caption in part_of(captions, half, "all"):
        _, wrong, missed = mistakes(extractor, caption)
        if wrong or missed:
            print(f"{caption.text}\n    wrong {sorted(wrong)}  missed {missed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--errors", nargs=2, metavar=("RULE", "HALF"), help="list what a rule gets wrong on a half")
    arguments = parser.parse_args()
    captions = load_captions()
    if arguments.errors:
        rule, half = arguments.errors
        print_errors(rule, half, captions)
        sys.exit()
    print("rule | " + " | ".join(f"{half} {style} P / R / F1" for half, style in PARTS) + " | captions/s")
    for rule, config in RULES.items():
        extractor = build_extractor(config)
        cells = []
        for half, style in PARTS:
            found = quality(extractor, part_of(captions, half, style))
            cells.append(f"{found.precision:.3f} / {found.recall:.3f} / {found.f1:.3f}")
        speed = captions_per_second(extractor, [caption.text for caption in captions])
        print(f"{rule} | " + " | ".join(cells) + f" | {speed:.0f}")


if __name__ == "__main__":
    main()
