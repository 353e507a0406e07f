"""Precision, recall and speed of the noun rules on hand-labelled captions.

    python -m benchmarks.nouns_quality            # the tables of docs/nouns.md
    python -m benchmarks.nouns_quality --errors spacy dev

tests/stages/nouns/captions.tsv holds captions in the style of COCO and of alt text from the web, fragments.tsv beside
it verbless fragments and titles of products, others.tsv all four by another hand. A label is a common noun, as the
caption writes it, that names something one could draw a mask around in a photo that the caption describes truly:
things, living beings, stuff (water, grass), places seen as a whole (kitchen, beach), body parts, landmarks by name. No
labels are: names of people, towns and makes, events, times, colours, abstract words, words for the picture itself or
for layout, things said to be absent, modifiers ('garage' in 'garage door'), and in titles whom a thing is for and what
it is made of where that stands by itself.

A match is equality of surface forms within the caption, lower case; of a label's wordings parted by '/', either is
right. Per caption, the distinct surface forms that a rule gives are compared with the labels: precision is the share
of forms given that are right, recall the share of labels found, over all captions of a part.

docs/nouns.md says which parts the rules were tuned on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.nouns import NltkNouns, NounExtractor, SpacyNouns, build_extractor
from stages.nouns.reading import BATCH_SIZE, MODEL

LABELLED = Path(__file__).parents[1] / "tests" / "stages" / "nouns"
CAPTIONS_FILE, FRAGMENTS_FILE = LABELLED / "captions.tsv", LABELLED / "fragments.tsv"
OTHERS_FILE = LABELLED / "others.tsv"
RULES: dict[str, NltkNouns | SpacyNouns] = {
    "nltk NN only": NltkNouns(tags=("NN",)),
    "nltk": NltkNouns(),
    "spacy": SpacyNouns(),
}
PARTS = {
    CAPTIONS_FILE: [(half, style) for half in ("dev", "test", "late", "fresh") for style in ("coco", "alt", "all")],
    FRAGMENTS_FILE: [(half, style) for half in ("dev", "test") for style in ("fragment", "title", "all")],
    OTHERS_FILE: [("others", style) for style in ("coco", "alt", "fragment", "title", "all")],
}
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
    """The captions of a half ("dev", "test", "late") and style ("coco", "alt", "fragment", "title", "all")."""
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


def captions_per_second(work: Callable[[list[str]], object], texts: list[str]) -> float:
    """Speed in one process, models loaded, by the clock of the process."""
    start = time.process_time()
    work(texts)
    return len(texts) / (time.process_time() - start)


def speeds(extractors: dict[str, NounExtractor], texts: list[str]) -> dict[str, float]:
    """Captions per second of the rules and of spaCy's model as it comes; each the best of rounds that take turns."""
    import spacy

    plain = spacy.load(MODEL)
    works: dict[str, Callable[[list[str]], object]] = {name: rule.extract for name, rule in extractors.items()}
    works["plain spaCy"] = lambda some: list(plain.pipe(some, batch_size=BATCH_SIZE))
    rounds = [{name: captions_per_second(work, texts) for name, work in works.items()} for _ in range(SPEED_ROUNDS)]
    return {name: max(speed[name] for speed in rounds) for name in works}


def print_errors(rule: str, half: str) -> None:
    extractor = build_extractor(RULES[rule])
    for file in PARTS:
        for caption in part_of(load_captions(file), half, "all"):
            _, wrong, missed = mistakes(extractor, caption)
            if wrong or missed:
                print(f"{caption.text}\n    wrong {sorted(wrong)}  missed {missed}")


def print_table(extractors: dict[str, NounExtractor], file: Path) -> None:
    captions = load_captions(file)
    print(f"{file.name} | " + " | ".join(f"{half} {style}" for half, style in PARTS[file]))
    for rule, extractor in extractors.items():
        found = [quality(extractor, part_of(captions, half, style)) for half, style in PARTS[file]]
        print(f"{rule} | " + " | ".join(f"{part.precision:.3f} / {part.recall:.3f} / {part.f1:.3f}" for part in found))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--errors", nargs=2, metavar=("RULE", "HALF"), help="list what a rule gets wrong on a half")
    arguments = parser.parse_args()
    if arguments.errors:
        print_errors(*arguments.errors)
        sys.exit()
    extractors = {rule: build_extractor(config) for rule, config in RULES.items()}
    for file in PARTS:
        print_table(extractors, file)
    found = speeds(extractors, [caption.text for caption in load_captions()] * 4)
    plain = found["plain spaCy"]
    print("captions/s | " + " | ".join(f"{name} {speed:.0f} ({speed / plain:.2f})" for name, speed in found.items()))


if __name__ == "__main__":
    main()
