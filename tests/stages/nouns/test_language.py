"""Captions in other languages: told where they are clearly so, and English ones never."""

from __future__ import annotations

import pytest

from benchmarks.nouns_pairs import PATTERNS, caption, name_pairs
from benchmarks.nouns_quality import load_captions
from stages.nouns import EnglishCheck

OTHERS = {
    "fr": [
        "Un chien sur l'herbe",
        "Une vache dans un champ de blé",
        "Manteau en laine pour femme, gris",
        "Des enfants au bord d'un lac",
    ],
    "es": [
        "Un caballo en la montaña con nieve",
        "Silla de madera para niños",
        "Una niña juega con su gato",
        "Pastel de chocolate con fresas",
    ],
    "de": [
        "Ein Junge mit einem blauen Rucksack",
        "Küchentisch aus Holz mit Schublade",
        "Zwei Schafe auf einer Wiese",
        "Altes Fahrrad an der Wand",
    ],
    "it": [
        "Una ragazza con gli occhiali da sole",
        "Due cavalli nel campo verde",
        "Lampada da tavolo in vetro",
        "Torta di mele con panna",
    ],
    "pt": [
        "Um menino com chapéu azul na escola",
        "Cavalos correndo no campo verde",
        "Mesa de madeira com gavetas",
    ],
    "nl": [
        "Een jongen met een blauwe jas",
        "Twee paarden lopen in het weiland",
        "Houten kast met vier laden",
    ],
    "sv": [
        "En pojke med blå jacka på en cykel",
        "Två hästar går på ängen",
    ],
    "pl": [
        "Chłopiec w niebieskiej kurtce",
        "Dwa konie na zielonej łące",
    ],
    "tr": [
        "Mavi ceketli bir çocuk bisiklete biniyor",
        "Çayırda iki at otluyor",
    ],
    "id": [
        "Seorang anak laki-laki dengan jaket biru",
        "Dua ekor kuda di padang rumput",
    ],
    "fi": [
        "Poika ajaa pyörällä sinisessä takissa",
        "Kaksi hevosta niityllä",
    ],
    "cs": [
        "Chlapec v modré bundě na kole",
        "Dva koně na zelené louce",
    ],
    "vi": [
        "Một cậu bé mặc áo khoác xanh",
        "Hai con ngựa trên đồng cỏ",
    ],
    "ru": [
        "Мальчик на велосипеде",
        "лошадь",
    ],
    "zh": [
        "骑自行车的男孩",
        "马",
    ],
    "ja": [
        "自転車に乗っている少年",
    ],
    "ko": [
        "자전거를 타는 소년",
    ],
    "ar": [
        "صبي يركب دراجة",
    ],
    "el": [
        "Αγόρι με ποδήλατο",
    ],
}
SHORT = ["gato negro", "Hund", "la mesa", "Rio", "crème brûlée", "", "XL-500/B", "🐶", "1234"]
FOREIGN_WORDS = [
    "Lionel Messi of Barcelona controls the ball",
    "Spaghetti carbonara with pancetta on a plate",
    "The Sagrada Familia in Barcelona, Spain",
    "Man in lederhosen with a dachshund",
    "Tacos al pastor and a margarita",
    "Porsche 911 Carrera Cabriolet",
    "Samsung Galaxy S10 Plus 128GB",
    "Feliz Navidad card with reindeer and the sleigh",
    "A sombrero, a poncho and a piñata",
    "Crème brûlée with raspberries",
    "Angela Merkel and Emmanuel Macron in Paris",
]


@pytest.fixture(scope="module")
def check() -> EnglishCheck:
    return EnglishCheck()


def test_other_languages_are_told(check: EnglishCheck) -> None:
    texts = [text for listed in OTHERS.values() for text in listed]
    missed = [text for text in texts if check.other_language(text) is None]
    assert len(missed) <= 0.05 * len(texts), missed


@pytest.mark.parametrize("text", [OTHERS["fr"][0], OTHERS["ru"][0], OTHERS["zh"][1]])
def test_says_why(check: EnglishCheck, text: str) -> None:
    message = check.other_language(text)
    assert message is not None
    assert "'fr'" in message or "are not Latin" in message


def test_english_stays(check: EnglishCheck) -> None:
    captions = [labelled.text for labelled in load_captions()]
    captions += [caption(pattern, *pair) for pattern in PATTERNS for pair in name_pairs(300, seed=2)]
    assert [text for text in captions if check.other_language(text) is not None] == []


@pytest.mark.parametrize("text", [*SHORT, *FOREIGN_WORDS])
def test_short_captions_and_foreign_names_stay(check: EnglishCheck, text: str) -> None:
    assert check.other_language(text) is None
    assert check.other_language(text.upper()) is None
