"""Words that are things in one context and none in another."""

from __future__ import annotations

import pytest

from stages.nouns import NounExtractor
from stages.nouns.lexicon import Curated
from tests.stages.nouns.test_spacy_heads import kept, reasons


def test_lvis_names_are_visible(spacy_extractor: NounExtractor) -> None:
    names = sorted(Curated.load().lvis)
    results = spacy_extractor.extract([f"There is one {name} beside a wall." for name in names])
    lost = {
        name
        for name, result in zip(names, results, strict=True)
        if not {name, name.split()[-1]} & {noun.surface for noun in result.nouns}
    }
    assert len(lost) <= 0.01 * len(names), lost


@pytest.mark.parametrize("word", ["date", "file", "control", "flash", "cast"])
def test_lvis_names_that_are_seldom_things_go_by_wordnet(spacy_extractor: NounExtractor, word: str) -> None:
    assert word not in kept(spacy_extractor, f"The {word} is near a dog.")


@pytest.mark.parametrize(
    "word",
    [
        *("postcard", "passport", "buoy", "comic book", "receipt", "milkshake", "individual", "laundromat", "biker"),
        *("booklet", "diary", "windsock", "football", "basketball", "swing", "badge", "pearl", "frisbee", "lego"),
    ],
)
def test_visible_words_are_kept(spacy_extractor: NounExtractor, word: str) -> None:
    assert kept(spacy_extractor, f"There is a {word} in the grass.") == [word, "grass"]
    assert kept(spacy_extractor, f"There are two {word}s in the grass.") == [f"{word}s", "grass"]


@pytest.mark.parametrize("ball", ["basketball", "football", "volleyball", "baseball", "softball"])
def test_a_ball_game_is_none_and_a_ball_is_one(spacy_extractor: NounExtractor, ball: str) -> None:
    for caption in (f"Boys play {ball} in a gym.", f"A game of {ball} in a gym."):
        assert ball not in kept(spacy_extractor, caption)
    for caption in (f"A boy throws a {ball}.", f"Boy with {ball} and cup", f"The {ball} lies in a net."):
        assert ball in kept(spacy_extractor, caption)


def test_a_swing_is_a_seat_or_a_deed(spacy_extractor: NounExtractor) -> None:
    for caption in ("A girl sits on a swing.", "The porch has a swing.", "Two swings in a park."):
        assert any(noun.startswith("swing") for noun in kept(spacy_extractor, caption))
    for caption in ("A batter takes a swing.", "He finishes his swing.", "A dog gets a bath."):
        assert not {"swing", "bath"} & {*kept(spacy_extractor, caption)}


@pytest.mark.parametrize(
    "colours",
    ["taupe, olive and ochre", "beige and peach", "mauve, coral, ivory", "navy, orange and teal", "apricot or beige"],
)
def test_colours_in_a_row_are_no_things(spacy_extractor: NounExtractor, colours: str) -> None:
    assert kept(spacy_extractor, f"A sweater in {colours}") == ["sweater"]


@pytest.mark.parametrize("colour", ["orange", "olive", "black", "red", "gold", "green"])
def test_what_somebody_is_dressed_in_is_a_colour(spacy_extractor: NounExtractor, colour: str) -> None:
    for who in ("player in", "man dressed in"):
        assert kept(spacy_extractor, f"A {who} {colour} holds a ball.")[1:] == ["ball"]


@pytest.mark.parametrize("fruit", ["orange", "olive", "peach", "lemon", "salmon"])
def test_things_that_give_colours_their_names_stay(spacy_extractor: NounExtractor, fruit: str) -> None:
    assert kept(spacy_extractor, f"An apple, a {fruit} and a bowl.") == ["apple", fruit, "bowl"]


@pytest.mark.parametrize(
    "group",
    [
        "knot",
        "gaggle",
        "bevy",
        "throng",
        "posse",
        "pride",
        "brood",
        "covey",
        "cluster",
        "flock",
        "herd",
        "swarm",
        "sea",
    ],
)
def test_words_for_many_are_none_of_them(spacy_extractor: NounExtractor, group: str) -> None:
    for many in ("tourists", "ducks", "lions"):
        caption = f"A {group} of {many} on a road."
        assert kept(spacy_extractor, caption) == [many, "road"]
        assert reasons(spacy_extractor, caption)[group] == "junk"


def test_named_buildings_stay_and_named_parks_go(spacy_extractor: NounExtractor) -> None:
    assert "bridge" in kept(spacy_extractor, "A bus on the Westminster Bridge in the fog.")
    assert "colosseum" in kept(spacy_extractor, "Tourists in front of the Colosseum.")
    assert "national park" not in kept(spacy_extractor, "Bears in Banff National Park are brown.")
