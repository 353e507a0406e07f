from __future__ import annotations

import numpy as np
import pytest

from train.evaluate.metrics.similarity import Taxonomy, wordnet_entries, wordnet_similarity

VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog"),
    *("horse", "motorbike", "person", "pot plant", "sheep", "sofa", "train", "tv monitor"),
)
PUBLISHED = """
1 7 15 6 10 8 9 19 11 17 11 14 20 10 12 13 21 11 8 11
7 1 12 6 5 6 5 16 8 14 8 11 17 6 9 10 18 8 6 8
15 12 1 14 12 12 14 7 13 5 13 6 8 15 6 7 9 13 12 13
6 6 14 1 9 7 8 18 10 16 10 13 19 9 11 12 20 10 7 10
10 5 12 9 1 7 7 16 8 14 8 11 17 8 9 10 18 8 7 8
8 6 12 7 7 1 8 16 8 14 8 11 17 9 9 10 18 8 3 8
9 5 14 8 7 8 1 18 10 16 10 13 19 4 11 12 20 10 8 10
19 16 7 18 16 16 18 1 17 5 17 5 8 19 10 11 9 17 16 17
11 8 13 10 8 8 10 17 1 15 5 12 18 11 10 11 19 3 8 9
17 14 5 16 14 14 16 5 15 1 15 5 6 17 8 9 7 15 14 15
11 8 13 10 8 8 10 17 5 15 1 12 18 11 10 11 19 5 8 9
14 11 6 13 11 11 13 5 12 5 12 1 8 14 5 6 9 12 11 12
20 17 8 19 17 17 19 8 18 6 18 8 1 20 11 12 8 18 17 18
10 6 15 9 8 9 4 19 11 17 11 14 20 1 12 13 21 11 9 11
12 9 6 11 9 9 11 10 10 8 10 5 11 12 1 4 12 10 9 10
13 10 7 12 10 10 12 11 11 9 11 6 12 13 4 1 13 11 10 11
21 18 9 20 18 18 20 9 19 7 19 9 8 21 12 13 1 19 18 19
11 8 13 10 8 8 10 17 3 15 5 12 18 11 10 11 19 1 8 9
8 6 12 7 7 3 8 16 8 14 8 11 17 9 9 10 18 8 1 8
11 8 13 10 8 8 10 17 9 15 9 12 18 11 10 11 19 9 8 1
"""
"""1 / similarity of each two of Pascal VOC's classes in the matrix published with Open-mIoU (qqlu/Entity,
Open-Metrics/similarity_matrix/simi_matrix_VOC20.csv)."""


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return Taxonomy()


def test_equals_the_published_matrix_of_pascal_voc_but_for_the_sense_of_cow(taxonomy: Taxonomy) -> None:
    """The published one has the cow that may be of any kind of mammal (WordNet's second sense), not the farm animal."""
    published = np.array([[int(steps) for steps in row.split()] for row in PUBLISHED.strip().split("\n")])
    found = wordnet_similarity([[name] for name in VOC], taxonomy)
    others = np.ix_(*[[number for number, name in enumerate(VOC) if name != "cow"]] * 2)
    assert np.array_equal(found[others], 1 / published[others])
    assert found[VOC.index("cow"), VOC.index("sheep")] == 1 / 5  # cow, cattle, bovine, bovid, sheep


def test_is_a_similarity(taxonomy: Taxonomy) -> None:
    found = wordnet_similarity([["dog", "puppy"], ["sky"], ["blorp"], ["tree"], ["traffic light"]], taxonomy)
    assert found.dtype == np.float64
    assert np.array_equal(found, found.T)
    assert np.array_equal(np.diagonal(found), np.ones(5))
    assert ((found >= 0) & (found <= 1)).all()


def test_a_class_that_wordnet_lacks_is_similar_to_itself_alone(taxonomy: Taxonomy) -> None:
    classes = [["blorp"], ["dog"], ["zzyx thing of blorps", "blorps"]]
    assert [entry.by for entry in wordnet_entries(classes, taxonomy)] == ["nothing", "name", "head"]
    found = wordnet_similarity(classes, taxonomy)
    assert found[0].tolist() == [1, 0, 0]
    assert found[1, 2] > 0


@pytest.mark.parametrize(
    ("names", "sense", "by"),
    [
        (["table"], "table", "name"),
        (["Traffic_Lights"], "traffic light", "name"),
        (["stairs"], "stairs", "name"),
        (["teddy  bears"], "teddy bear", "name"),
        (["lava lamp"], "lamp", "head"),
        (["swivel-chair"], "swivel chair", "name"),
        (["bag of chips"], "bag", "head"),
        (["glass coffee table"], "coffee table", "head"),
        (["blorp", "sofa"], "sofa", "name"),
    ],
)
def test_finds_a_name_or_its_head_word(names: list[str], sense: str, by: str, taxonomy: Taxonomy) -> None:
    (entry,) = wordnet_entries([names], taxonomy)
    assert sense in entry.sense
    assert entry.by == by


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["table"], "furniture"),
        (["book"], "artifact"),
        (["crane"], "lifting device"),
        (["plant", "flora"], "organism"),
        (["plant"], "building complex"),
        (["pot", "toilet", "stool", "throne"], "plumbing fixture"),
        (["earth", "ground"], "material"),
    ],
)
def test_takes_the_sense_that_names_share_and_one_that_can_be_seen(
    names: list[str], kind: str, taxonomy: Taxonomy
) -> None:
    (entry,) = wordnet_entries([names], taxonomy)
    assert entry.synset is not None
    assert taxonomy.is_a(entry.synset, kind)


def test_classes_of_one_sense_are_fully_similar(taxonomy: Taxonomy) -> None:
    found = wordnet_similarity([["sofa"], ["couch"], ["car"]], taxonomy)
    assert found[0].tolist() == found[1].tolist() == [1, 1, found[2, 0]]
    assert found[2, 0] < 1 / 5


def test_no_classes_give_an_empty_matrix(taxonomy: Taxonomy) -> None:
    assert wordnet_similarity([], taxonomy).shape == (0, 0)


def test_refuses_a_name_in_place_of_names(taxonomy: Taxonomy) -> None:
    with pytest.raises(ValueError, match="class 1: expected a list of names, got the text 'dog'"):
        wordnet_similarity([["cat"], "dog"], taxonomy)
