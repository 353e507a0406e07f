"""Holds the rules to the precision and recall that docs/nouns.md quotes."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from benchmarks.nouns_quality import CAPTIONS_FILE, FRAGMENTS_FILE, OTHERS_FILE, load_captions, part_of, quality
from stages.nouns import NltkNouns, NounExtractor, build_extractor


def readable(text: str) -> str:
    return " ".join(html.unescape(text).lower().split())


SLACK = 0.01
SPACY_MEASURED = {
    (CAPTIONS_FILE, "dev", "coco"): (0.994, 1.000),
    (CAPTIONS_FILE, "dev", "alt"): (0.975, 0.975),
    (CAPTIONS_FILE, "test", "coco"): (1.000, 0.994),
    (CAPTIONS_FILE, "test", "alt"): (0.912, 0.961),
    (CAPTIONS_FILE, "late", "coco"): (1.000, 1.000),
    (CAPTIONS_FILE, "late", "alt"): (0.932, 0.944),
    (CAPTIONS_FILE, "fresh", "coco"): (1.000, 0.992),
    (CAPTIONS_FILE, "fresh", "alt"): (0.944, 0.975),
    (FRAGMENTS_FILE, "dev", "fragment"): (0.992, 0.992),
    (FRAGMENTS_FILE, "dev", "title"): (0.913, 1.000),
    (FRAGMENTS_FILE, "test", "fragment"): (1.000, 0.984),
    (FRAGMENTS_FILE, "test", "title"): (0.903, 0.966),
    (OTHERS_FILE, "others", "coco"): (0.988, 0.988),
    (OTHERS_FILE, "others", "alt"): (0.954, 1.000),
    (OTHERS_FILE, "others", "fragment"): (1.000, 0.983),
    (OTHERS_FILE, "others", "title"): (0.865, 1.000),
}


@pytest.mark.parametrize(("file", "half", "style"), SPACY_MEASURED, ids=lambda value: getattr(value, "stem", value))
def test_spacy_rule_keeps_its_quality(spacy_extractor: NounExtractor, file: Path, half: str, style: str) -> None:
    found = quality(spacy_extractor, part_of(load_captions(file), half, style))
    precision, recall = SPACY_MEASURED[file, half, style]
    assert found.precision >= precision - SLACK
    assert found.recall >= recall - SLACK


@pytest.mark.parametrize("half", ["test", "late", "fresh"])
def test_spacy_rule_beats_nltk_rule(spacy_extractor: NounExtractor, nltk_extractor: NounExtractor, half: str) -> None:
    captions = part_of(load_captions(), half, "all")
    ours, published = quality(spacy_extractor, captions), quality(nltk_extractor, captions)
    strict = quality(build_extractor(NltkNouns(tags=("NN",))), captions)
    assert ours.precision > published.precision + 0.25
    assert ours.f1 > published.f1 + 0.15
    assert published.f1 > strict.f1


def test_there_are_enough_labelled_captions_of_both_styles() -> None:
    captions = load_captions()
    assert len({caption.text for caption in captions}) == len(captions) >= 200
    assert sum(caption.style == "coco" for caption in captions) == len(captions) // 2
    for caption in captions:
        for wording in frozenset[str]().union(*caption.labels):
            assert wording in readable(caption.text)


def test_captions_by_another_hand_are_others_with_labels_of_their_own() -> None:
    captions = load_captions(OTHERS_FILE)
    texts = {caption.text for caption in captions}
    assert len(texts) == len(captions) == 150
    assert not texts & {caption.text for file in (CAPTIONS_FILE, FRAGMENTS_FILE) for caption in load_captions(file)}
    for caption in captions:
        for wording in frozenset[str]().union(*caption.labels):
            assert wording in readable(caption.text)


def test_there_are_enough_labelled_fragments_and_titles() -> None:
    captions = load_captions(FRAGMENTS_FILE)
    assert len({caption.text for caption in captions}) == len(captions) == 200
    assert sum(caption.style == "title" for caption in captions) == len(captions) // 2
    for caption in captions:
        for wording in frozenset[str]().union(*caption.labels):
            assert wording in readable(caption.text)
