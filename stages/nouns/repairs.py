"""Puts a parse's tags right, by the lexicon, by grammar, and in fragments by a second tagger's vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.nouns.words import BASIC_COLOURS, WordList

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
NAME_TAGS = frozenset({"NNP", "NNPS"})
PLURAL_TAGS = frozenset({"NNS", "NNPS"})
ADJECTIVE_TAGS = frozenset({"JJ", "JJR", "JJS"})
UNSURE_TAGS = ADJECTIVE_TAGS | {"RB", "FW", "UH", "XX", "LS", "AFX", "ADD"}
"""Tags that the model gives to nouns that it does not know: "A fedora/FW", "An usher/JJ", "a tattoo/RB"."""

REGULAR_VERB_TAGS = frozenset({"VB", "VBP", "VBZ", "VBN", "VBG"})
VERB_TAGS = frozenset({"VB", "VBP", "VBZ", "VBD"})
INFINITIVE_TAGS = frozenset({"TO", "MD", "RB", "PRP"})
ONE = frozenset({"a", "an", "another", "this", "that", "each", "every", "one"})
"""What stands before one thing: in "a dog splashes" the plural is none."""

OBJECT_STARTS = frozenset({"a", "an", "the", "his", "her", "its", "their", "him", "them", "it", "himself", "herself"})
PHRASE_END_TAGS = frozenset({"CC", "IN", ".", ",", ":"})
PLACES = frozenset({"on", "in", "with", "under", "of", "near", "the", "a", "behind", "through", "against"})
INSIDE_PHRASE = NOUN_TAGS | ADJECTIVE_TAGS | {"CD", "VBN", "VBG", "HYPH", "FW"}
BEHIND_VERB_TAGS = frozenset({"IN", "RP", "RB", "TO"})
MIN_VERB_SHARE = 0.5
MIN_PERSON_VERB_SHARE = 0.3
"""After somebody: "the driver waves to a passenger"."""

MIN_SURE_VERB_SHARE, MIN_PLAIN_VERB_SHARE = 0.9, 0.08
MIN_AGREED_VERB_SHARE = 0.03
"""Of words after one thing: "a carpenter planes", but "a brown cows"."""

MIN_OBJECT_VERB_SHARE = 0.1
"""Of words before an article: "kicks the ball", but "some chairs a table"."""


class TagRepair:
    """Changes the tags of a parsed caption in place."""

    def __init__(self, words: WordList) -> None:
        self._words = words

    def __call__(self, caption: Span, votes: Sequence[str], is_fragment: bool, has_case: bool) -> None:
        """Changes the tags of the caption's tokens.

        Args:
            caption: the caption's own tokens.
            votes: a second tagger's tag for each.
            is_fragment: whether the second tagger finds no finite verb; then its vote counts.
            has_case: whether a capital letter says anything.
        """
        for token, vote in zip(caption, votes, strict=True):
            if token.tag_ in NOUN_TAGS:
                self._mend_noun(token)
            elif self._is_noun(token) or (vote in NOUN_TAGS | {"MD", "VBG"} and self._wins_vote(token, is_fragment)):
                token.tag_ = self._noun_tag(token)
        is_verbless = not any(token.tag_ in VERB_TAGS or token.tag_ == "MD" for token in caption)
        for token in caption[1:]:
            if token.tag_ in NOUN_TAGS and self._is_verb(token, caption, is_verbless and has_case):
                token.tag_ = "VBZ"

    def _noun_tag(self, token: Token) -> str:
        return "NN" if self._words.singular(token.lower_, is_plural=True) == token.lower_ else "NNS"

    def _mend_noun(self, token: Token) -> None:
        """Takes the noun's tag from what WordNet lists as other parts of speech alone, and from "shirtless"."""
        word = token.lower_
        if self._words.knows(self._words.singular(word, is_plural=True)) or (token.is_title and token.tag_ == "NNP"):
            return
        lexicon = self._words.lexicon
        uses = lexicon.other_uses(word)
        if uses is None and lexicon.verb_of(word):
            token.tag_ = "VBZ"
        elif uses is not None:
            token.tag_ = "RB" if uses.adverb is not None else "JJ" if uses.adjective is not None else "VB"
        elif word.endswith("less"):
            token.tag_ = "JJ"

    def _is_noun(self, token: Token) -> bool:
        """Whether WordNet lists the word as a visible noun, and not as what the model takes it for."""
        if token.tag_ in REGULAR_VERB_TAGS:  # "one oven/VBN", "two sheepdogs/VBZ"
            is_other = self._words.lexicon.may_be_verb(token.lower_)
        elif token.tag_ not in UNSURE_TAGS or (token.tag_ == "RB" and not _is_opened(token)):
            return False
        else:
            uses = self._words.lexicon.other_uses(token.lower_)
            is_other = uses is not None and (uses.adjective is not None or uses.adverb is not None)
        return not is_other and self._words.is_visible(token.lower_)

    def _wins_vote(self, token: Token, is_fragment: bool) -> bool:
        """Whether a word that the second tagger takes for a noun is one.

        Outside fragments it is believed only where the model's own tag makes no sense: a bare infinitive with nothing
        before it that asks for one, as in "a sink and stove/VB".
        """
        before = token.nbor(-1) if token.i else None
        after = token.nbor() if token.i + 1 < len(token.doc) else None
        is_compound = before is not None and self._words.is_compound(before.lower_, token.lower_)
        if token.tag_ in ("CD", "DT") or (token.tag_ == "VBN" and not is_compound):
            return False
        if not self._words.is_visible(token.lower_):
            return False
        following = after.tag_ if after is not None else "."
        if token.tag_ == "VBG":  # "workers on scaffolding"
            is_inside = before is not None and (before.lower_ in PLACES or before.tag_ in ADJECTIVE_TAGS)
            return is_inside and is_last_of_phrase(following)
        if after is not None and (after.tag_ in NOUN_TAGS or after.lower_ in OBJECT_STARTS):
            return False
        if token.tag_ == "MD":
            is_verb = before is not None and before.tag_ in ("PRP", "WP", "WDT")  # "as fast as they can"
            return not is_verb and is_last_of_phrase(following)
        if token.tag_ in VERB_TAGS | {"VBN"} and before is not None and before.tag_ in NOUN_TAGS | INFINITIVE_TAGS:
            is_end = is_compound or before.tag_ in ("TO", "NNP")  # "from cookies to cake", "Persian rug"
            return (is_compound and token.tag_ in ("VB", "VBN")) or (is_fragment and is_end)
        return is_fragment or token.tag_ == "VB"

    def _is_verb(self, token: Token, caption: Span, needs_verb: bool) -> bool:
        """Whether a word with a noun's tag is the caption's verb: "a dog splashes", "in red kicks the ball"."""
        words, subject = self._words, token.nbor(-1)
        verb = words.lexicon.verb_of(token.lower_)
        if verb is None or words.is_compound(subject.lower_, token.lower_) or not _can_be_subject(subject):
            return False
        following = token.nbor() if token.i + 1 < len(token.doc) else token
        if verb == token.lower_:
            return needs_verb and words.is_living(subject.lower_) and self._is_bare_verb(verb, subject, following)
        if token.lower_ in words.curated.plural_only or words.verb_share(verb) < MIN_AGREED_VERB_SHARE:
            return False
        has_object = following.lower_ in OBJECT_STARTS
        if subject.tag_ not in NOUN_TAGS:
            return has_object or (needs_verb and self._is_likely(verb) and following.tag_ in BEHIND_VERB_TAGS)
        if has_object and words.verb_share(verb) >= MIN_OBJECT_VERB_SHARE:
            return True
        opening = _opening(subject, caption.start)
        if opening in ONE:
            return True
        if not needs_verb or opening != "the" or not words.is_living(subject.lower_):
            return False
        is_person_s = words.verb_share(verb) >= MIN_PERSON_VERB_SHARE and words.is_person(subject.lower_)
        return self._is_likely(verb) or (is_person_s and following.tag_ in BEHIND_VERB_TAGS)

    def _is_bare_verb(self, verb: str, subject: Token, following: Token) -> bool:
        """Of a verb without ending after somebody: "volunteers plant trees", "and a giraffe stand in a field"."""
        if subject.tag_ != "NNS":
            return self._words.verb_share(verb) >= MIN_SURE_VERB_SHARE and following.tag_ == "IN"
        is_before_object = following.tag_ == "NNS" or following.lower_ in OBJECT_STARTS
        uses = self._words.lexicon.other_uses(verb)
        is_plain = uses is not None and bool(uses.verb) and self._words.verb_share(verb) >= MIN_PLAIN_VERB_SHARE
        return self._is_likely(verb) or (is_before_object and is_plain)

    def _is_likely(self, verb: str) -> bool:
        return self._words.verb_share(verb) >= MIN_VERB_SHARE


def _is_opened(token: Token) -> bool:
    """Whether the word before the token is one that nouns follow."""
    return token.i > 0 and token.nbor(-1).tag_ in ("DT", "IN", "CD", "PRP$")


def is_last_of_phrase(following_tag: str) -> bool:
    """Whether a phrase ends before a word with this tag, so that "can" is no modal verb: "a beer can on a table"."""
    return following_tag in PHRASE_END_TAGS


def _can_be_subject(token: Token) -> bool:
    """Whether the token ends a phrase that a verb may follow: a noun, or a colour in "a player in red"."""
    if token.tag_ in ADJECTIVE_TAGS:
        return token.lower_ in BASIC_COLOURS and token.i > 0 and token.nbor(-1).lower_ == "in"
    return token.tag_ in NOUN_TAGS


def _opening(noun: Token, start: int) -> str:
    """The word before the noun phrase that ends with the noun, not before token `start`."""
    place = noun.i
    while place > start and noun.doc[place].tag_ in INSIDE_PHRASE:
        place -= 1
    return noun.doc[place].lower_
