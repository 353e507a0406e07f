"""Texts made plain: what nobody sees goes, letters have one form, and every character knows where it was."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common import clean_name, clean_text, plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A dog on the grass.", "A dog on the grass."),
        ("\ufeffA dog", "A dog"),
        ("A d\u00adog", "A dog"),
        ("A d\u200bog\u200d and\u2060 a cat\ufe0f", "A dog and a cat"),
        ("\u202aA dog\u202c", "A dog"),
        ("A cafe\u0301", "A caf\u00e9"),
        ("A cafe\u200b\u0301", "A caf\u00e9"),
        ("A\0dog\x07", "A dog "),
        ("two\nlines\tand\u00a0a space", "two\nlines\tand\u00a0a space"),
        ("an o\ufb03ce", "an office"),
        ("\uff44\uff4f\uff47", "dog"),
        ("\U0001d41d\U0001d428\U0001d420", "dog"),
        ("Coke\u2122, 1\u00bd, 20\u00ba", "Coke\u2122, 1\u00bd, 20\u00ba"),
        (
            "\u72ac \ud55c\uad6d \u0441\u043e\u0431\u0430\u043a\u0430",
            "\u72ac \ud55c\uad6d \u0441\u043e\u0431\u0430\u043a\u0430",
        ),
        ("half \ud83d a character", "half \ud83d a character"),
        ("\ufeff", ""),
        ("", ""),
        ("\u0301", "\u0301"),
    ],
)
def test_a_text_is_made_plain(text: str, plain: str) -> None:
    assert clean_text(text) == plain
    assert clean_text(plain) == plain


def test_a_span_is_found_in_the_original() -> None:
    text = "\ufeffA cafe\u0301 with d\u00adogs"
    plain = plain_text(text)
    for word, original in (("A", "A"), ("caf\u00e9", "cafe\u0301"), ("with", "with"), ("dogs", "d\u00adogs")):
        start = plain.text.index(word)
        left, right = plain.span_of_original(start, start + len(word))
        assert text[left:right] == original


def test_names_that_look_alike_are_one() -> None:
    assert {clean_name(text) for text in ("hot dog", "\ufeffhot  dog", " hot\u00a0dog\u200b", "h\u00adot\ndog")} == {
        "hot dog"
    }


@given(st.text())
def test_any_text_keeps_its_order_and_no_span_is_lost(text: str) -> None:
    plain = plain_text(text)
    assert clean_text(plain.text) == plain.text
    for at in range(len(plain.text)):
        start, end = plain.span_of_original(at, at + 1)
        assert 0 <= start < end <= len(text)
        assert (
            unicodedata.normalize("NFKC", plain.text[at])
            in unicodedata.normalize("NFKC", clean_text(text[start:end])) + " "
        )
    if plain.starts is not None and plain.ends is not None:
        assert list(plain.starts) == sorted(plain.starts)
        assert list(plain.ends) == sorted(plain.ends)
