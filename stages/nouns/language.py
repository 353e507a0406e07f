"""Tells captions that are clearly in another language than English."""

from __future__ import annotations

import re
import unicodedata

from stages.common import clean_text
from stages.nouns.lexicon import Lexicon
from stages.nouns.normalize import parsable
from stages.nouns.tagger import load_tagger

ENGLISH = "en"
WORD = re.compile(r"[^\W\d_]{2,}")
MIN_WORDS = 3
"""A shorter caption in Latin letters stays: "gato negro" could be a name."""

MIN_PROBABILITY, MORE_IF_ENGLISH = 0.2, 0.5
"""What another language's probability must be: the second is added in full where all words are known in English."""

TELLING = frozenset({"the", "and", "with", "from", "this", "that", "his", "their"})
"""English words that are hardly any other language's."""

ENDINGS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"))


class EnglishCheck:
    """py3langid's model, which comes with the package, and the words that WordNet and the tagger know."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._lexicon = Lexicon()
        self._function_words = {word for word, tag in load_tagger().tagdict.items() if word.islower()}

    def other_language(self, caption: str) -> str | None:
        """What a caption that is clearly not English is written in, in a few words; None for all others.

        A caption is clearly not English if most of its letters are not Latin; or if it has three words or more and the
        model is sure of another language, the surer the more of the words are known in English.
        """
        text = parsable(clean_text(caption)).text
        letters = [letter for letter in text if letter.isalpha()]
        foreign = [letter for letter in letters if not unicodedata.name(letter, "").startswith("LATIN")]
        if 2 * len(foreign) > len(letters):
            return f"{len(foreign)} of {len(letters)} letters are not Latin"
        words = [word.lower() for word in WORD.findall(text)]
        if len(words) < MIN_WORDS or not TELLING.isdisjoint(words):
            return None
        language, probability = self._identifier.classify(text)
        english_share = sum(map(self._is_english, words)) / len(words)
        if language == ENGLISH or probability < MIN_PROBABILITY + MORE_IF_ENGLISH * english_share:
            return None
        return f"probably language {language!r} ({probability:.2f})"

    def _is_english(self, word: str) -> bool:
        forms = (word.removesuffix(end) + new for end, new in ENDINGS if word.endswith(end))
        return any(self._knows(form) for form in forms)

    def _knows(self, word: str) -> bool:
        if word in self._function_words or self._lexicon.other_uses(word) is not None:
            return True
        return word in self._lexicon and not self._lexicon.is_name(word)
