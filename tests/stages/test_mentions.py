"""Nouns of several captions become the nouns of one image."""

from __future__ import annotations

from stages.common import Noun, merge_mentions


def noun(surface: str, canonical: str, caption: int, start: int) -> Noun:
    return Noun(surface, canonical, caption, start, start + len(surface), "rule")


def test_a_noun_is_kept_once_by_its_first_mention_with_all_places() -> None:
    first, again, third = noun("dog", "dog", 0, 2), noun("dog", "dog", 0, 20), noun("dog", "dog", 3, 7)
    assert merge_mentions([first, noun("cat", "cat", 0, 10), again, third]) == [
        (first, [(0, 2, 5), (0, 20, 23), (3, 7, 10)]),
        (noun("cat", "cat", 0, 10), [(0, 10, 13)]),
    ]


def test_order_is_that_of_first_mentions() -> None:
    given = [noun("b", "b", 0, 0), noun("a", "a", 0, 2), noun("b", "b", 1, 0)]
    assert [found.surface for found, _ in merge_mentions(given)] == ["b", "a"]


def test_surface_forms_of_one_word_stay_two_nouns() -> None:
    assert len(merge_mentions([noun("dog", "dog", 0, 0), noun("dogs", "dog", 1, 0)])) == 2


def test_no_nouns_give_none() -> None:
    assert merge_mentions([]) == []
