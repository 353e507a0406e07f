"""Holds the rules to the precision and recall that docs/nouns.md quotes."""

from __future__ import annotations

import pytest

from benchmarks.nouns_quality import load_captions, part_of, quality
from stages.nouns import NltkNouns, NounExtractor, build_extractor

SLACK = 0.01
SPACY_MEASURED = {
    ("dev", "coco"): (0.982, 0.971),
    ("dev", "alt"): (0.966, 0.949),
    ("test", "coco"): (0.971, 0.971),
    ("test", "alt"): (0.879, 0.899),
    ("late", "coco"): (0.970, 0.980),
    ("late", "alt"): (0.853, 0.889),
}


@pytest.mark.parametrize(("half", "style"), SPACY_MEASURED)
def test_spacy_rule_keeps_its_quality(spacy_extractor: NounExtractor, half: str, style: str) -> None:
    found = quality(spacy_extractor, part_of(load_captions(), half, style))
    precision, recall = SPACY_MEASURED[half, style]
    assert found.precision >= precision - SLACK
    assert found.recall >= recall - SLACK


@pytest.mark.parametrize("half", ["test", "late"])
def test_spacy_rule_beats_nltk_rule(spacy_extractor: NounExtractor, nltk_extractor: NounExtractor, half: str) -> None:
    captions = part_of(load_captions(), half, "all")
    ours, published = quality(spacy_extractor, captions), quality(nltk_extractor, captions)
    strict = quality(build_extractor(NltkNouns(tags=("NN",))), captions)
    assert ours.precision > published.precision + 0.3
    assert ours.f1 > published.f1 + 0.2
    assert published.f1 > strict.f1


def test_there_are_enough_labelled_captions_of_both_styles() -> None:
    captions = load_captions()
    assert len({caption.text for caption in captions}) == len(captions) >= 200
    assert sum(caption.style == "coco" for caption in captions) == len(captions) // 2
    for caption in captions:
        for wording in frozenset[str]().union(*caption.labels):
            assert wording in " ".join(caption.text.lower().split())
