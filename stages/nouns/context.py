"""What stands around a noun, and what it makes of the noun."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from stages.nouns.repairs import ADJECTIVE_TAGS, NAME_TAGS, NOUN_TAGS
from stages.nouns.words import WordList

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

MODIFIES = frozenset({"compound", "nmod", "amod"})
SHAPED = frozenset(
    {"shaped", "shape", "colored", "coloured", "sized", "size", "themed", "inspired", "style", "legged", "finish"}
)
SAFE = frozenset({"safe", "proof", "resistant", "friendly", "free", "compatible"})
BY_HAND = frozenset({"hand", "wall"})
TAKEN = frozenset({"give", "gives", "giving", "given", "get", "gets", "getting"})
LIST_JOINTS = frozenset({",", "and", "or", "&", "/", "-"})
PLAYED = frozenset({"play", "playing", "plays", "played", "watch", "watching", "watches", "practice", "practicing"})
MATCHES = frozenset({"game", "games", "match", "matches", "round"})
DRESSED = frozenset({"dressed", "clad", "painted", "available", "decorated"})
SWUNG = frozenset({"take", "takes", "taking", "took", "make", "makes", "making", "complete"})
HELD = frozenset({"hold", "holds", "holding", "hang", "hangs", "hanging", "carry", "carries", "carrying"})
COVERED = frozenset({"covered", "decorated"})
CAMERAS = frozenset({"camera", "camera lens", "cameraman", "photographer"})
TOWARD = frozenset({"at", "for", "into", "to", "toward", "towards", "facing"})
SHOWN = ("pos", "smil", "grin", "laugh", "wav", "model", "perform", "stand", "sit", "lin")
"""How verbs begin whose "for the camera" is for the picture."""

TURNS = frozenset({("in", "line"), ("on", "foot"), ("by", "foot"), ("by", "hand"), ("at", "hand")})
SEGMENT_MARKS = frozenset({",", "-", "–", "—", "(", ":"})
DETERMINERS = frozenset({"DT", "CD", "PRP$"})


def is_hyphen(token: Token) -> bool:
    """Whether the token is a dash with no space before or after it."""
    return token.text == "-" and token.i > 0 and not token.whitespace_ and not token.nbor(-1).whitespace_


def is_half_of_adjective(token: Token) -> bool:
    """Whether the word after the token makes an adjective of it: "snow-covered", "heart shaped", "king size"."""
    after = token.doc[token.i + 1 : token.i + 3]
    if len(after) == 2 and is_hyphen(after[0]) and after[1].tag_ not in NOUN_TAGS:
        return True
    is_by_hand = token.lower_ in BY_HAND and len(after) > 0 and after[0].tag_ in ("VBN", "VBD", "JJ")  # "hand painted"
    return bool(token.whitespace_) and (is_by_hand or is_followed(token, SHAPED | SAFE))


def is_negated(span: Span) -> bool:
    """Whether the caption says that there is none: "no people", "without shoes"."""
    return span.root.left_edge.lower_ == "no" or span.root.head.lower_ == "without"


def is_followed(token: Token, words: Collection[str]) -> bool:
    """Whether one of the words comes next."""
    return token.i + 1 < len(token.doc) and token.nbor().lower_ in words


def is_in_capitalised_run(token: Token) -> bool:
    """Whether a word beside the token is tagged as a name too and has a capital as the token has: "John Smith"."""
    neighbours = [token.doc[place] for place in (token.i - 1, token.i + 1) if 0 <= place < len(token.doc)]
    return any(other.text[0].isupper() and other.tag_ in NAME_TAGS for other in neighbours)


def ends_name(span: Span) -> bool:
    """Whether the span goes on with a name that the words before it begin: "Banff | National Park"."""
    before = _nearby(span[0], -1)
    is_capital = span[0].text[0].isupper() and span[-1].text[0].isupper()
    return is_capital and before is not None and before.tag_ in NAME_TAGS and before.text[0].isupper()


def is_colour(span: Span, words: WordList, has_case: bool) -> bool:
    """Whether a word that can be a thing or a colour is the colour: "taupe, olive and ochre", "a player in orange".

    So is what a title ends with: "Sofa, Olive".
    """
    token = span[-1]
    if len(span) > 1 or not words.is_colour(token.lower_):
        return False
    if not has_case and _is_last_segment(token):
        return True
    before, before_that = _nearby(token, -1), _nearby(token, -2)
    is_worn = before_that is not None and (before_that.lower_ in DRESSED or words.is_person(before_that.lower_))
    if is_worn and before is not None and before.lower_ == "in":
        return True
    return any(_is_colour_alone(other, words) for other in _listed_with(token))


def is_game(span: Span) -> bool:
    """Whether the name of a ball game is the game: "boys play basketball", but "a boy with a basketball"."""
    token = span[-1]
    if token.tag_ == "NNS" or any(child.tag_ in DETERMINERS for child in token.lefts):
        return False
    return token.head.lower_ in PLAYED or (token.head.lower_ == "of" and token.head.head.lower_ in MATCHES)


def is_deed(span: Span) -> bool:
    """Whether a swing or a bath is what somebody does: "takes a swing", "his swing", but "on a swing"."""
    token = span[-1]
    if token.tag_ == "NNS":
        return False
    articles = [child for child in token.lefts if child.tag_ == "DT"]
    return not articles or token.head.lower_ in SWUNG | TAKEN | {"of", "during", "after", "for"}


def is_to_come(span: Span) -> bool:
    """Whether a meal is still to come: "a table set for dinner"."""
    before = _nearby(span[0], -1)
    return before is not None and before.lower_ in ("for", "before", "after")


def is_idiom(span: Span) -> bool:
    """Whether the word is said twice, as in "hand in hand", or is a turn of speech after its preposition: "in line"."""
    token = span[-1]
    before = _nearby(span[0], -1)
    if len(span) == 1 and before is not None and (before.lower_, token.lower_) in TURNS:
        return True
    for step in (-1, 1):
        joint, other = _nearby(token, step), _nearby(token, 2 * step)
        if joint is not None and other is not None and joint.tag_ == "IN" and other.lower_ == token.lower_:
            return True
    return False


def is_looked_into(span: Span) -> bool:
    """Whether a camera is the one that takes the picture: "poses for the camera"."""
    before = _nearby(span[0], -1)
    toward = _nearby(span[0], -2)
    is_one = span.text.lower() in CAMERAS and before is not None and before.lower_ == "the"
    if not is_one or toward is None or toward.lower_ not in TOWARD:
        return False
    return toward.lower_ != "for" or toward.head.lower_.startswith(SHOWN)  # "reaches for the camera"


def is_thing(span: Span) -> bool:
    """Whether a word for pictures means one that lies in the scene: "a fridge covered in photos", "holds a picture"."""
    token = span[-1]
    while token.dep_ == "conj" and any(other.dep_ == "cc" for other in token.doc[token.head.i : token.i]):
        token = token.head
    head = token.head
    return head.lower_ == "with" or head.lower_ in HELD or (head.lower_ == "in" and head.head.lower_ in COVERED)


def is_audience(span: Span, words: WordList) -> bool:
    """Whether the span says whom a thing is for: "shoes for women"."""
    token = span[-1]
    before = _nearby(token, -1)
    return (
        before is not None and before.lower_ == "for" and words.singular(token.lower_, True) in words.curated.audience
    )


def _is_last_segment(token: Token) -> bool:
    """Whether the token is all that comes after the text's last mark."""
    before, after = _nearby(token, -1), _nearby(token, 1)
    return before is not None and before.text in SEGMENT_MARKS and (after is None or after.i + 1 == len(token.doc))


def is_count(span: Span) -> bool:
    """Whether the span counts what a title sells: "Pillow, 2 Pack"."""
    before = _nearby(span[0], -1)
    return span.text.lower() in ("pack", "packs") and before is not None and before.tag_ == "CD"


def _nearby(token: Token, distance: int) -> Token | None:
    place = token.i + distance
    return token.doc[place] if 0 <= place < len(token.doc) else None


def _listed_with(token: Token) -> Iterator[Token]:
    """The single words of the list that the token stands in: "taupe, olive and ochre"."""
    for step in (-1, 1):
        place = token.i + step
        while 0 <= place < len(token.doc) and token.doc[place].lower_ in LIST_JOINTS:
            while 0 <= place < len(token.doc) and token.doc[place].lower_ in LIST_JOINTS:
                place += step
            if 0 <= place < len(token.doc):
                yield token.doc[place]
            place += step


def _is_colour_alone(token: Token, words: WordList) -> bool:
    """Whether the word can be nothing but a colour here."""
    if not words.is_colour(token.lower_) or words.is_visible(token.lower_):
        return False
    after = _nearby(token, 1)
    return token.tag_ in NOUN_TAGS or after is None or after.tag_ not in NOUN_TAGS | ADJECTIVE_TAGS
