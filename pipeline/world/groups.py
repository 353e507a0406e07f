"""What captions speak of: the objects of one name in a scene, as a noun phrase, and where they are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.world.phrases import Phrase, Referent, say, with_article
from pipeline.world.scene import Placed
from pipeline.world.vocabulary import Thing

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OPINIONS = {
    "animal": ("cute", "wild", "lovely"),
    "food": ("fresh", "delicious", "tasty"),
    "vehicle": ("shiny", "fast", "parked"),
    "building": ("tall", "old", "grand"),
    "person": ("happy", "smiling", "cheerful"),
    "plant": ("beautiful", "pretty"),
}
_ANY_OPINION = ("nice", "old", "new", "beautiful")
_POSTURES = {
    "animal": ("standing", "sitting", "resting"),
    "person": ("standing", "waiting"),
    "vehicle": ("parked", "left"),
    "building": ("standing",),
    "plant": ("growing",),
}
_ANY_POSTURE = ("lying", "placed", "left")


@dataclass(frozen=True, slots=True)
class Group:
    """All objects of one category in a scene.

    Attributes:
        thing: the category.
        ids: their annotation ids, ascending.
        placed: the objects, nearest first.
    """

    thing: Thing
    ids: tuple[int, ...]
    placed: tuple[Placed, ...]

    @property
    def is_many(self) -> bool:
        """The verb after it is "are"."""
        number = self.thing.number
        return number in ("plural", "pair") or (len(self.ids) > 1 and number == "count")

    @property
    def area_px(self) -> int:
        return sum(int(entry.mask.sum()) for entry in self.placed)


def group_noun_phrase(rng: np.random.Generator, group: Group) -> Phrase:
    """ "a small red car", "three dogs", "some bread", "a bunch of grapes", "a pair of scissors".

    Args:
        rng: chooses among ways to say it.
        group: what is spoken of.
    """
    thing, count = group.thing, len(group.ids)
    form = thing.noun
    if thing.synonyms and rng.random() < 0.2:
        form = thing.synonyms[int(rng.integers(len(thing.synonyms)))]
    referent = Referent(thing.name, group.ids)
    adjectives = _adjectives(rng, group)
    if thing.number == "count" and count == 1:
        start = adjectives + form.one
        lead = with_article(start)[: -len(form.one)]
        if rng.random() < 0.12:
            lead = str(rng.choice(["the ", "one ", "a single "])) + adjectives
        return say(f"{lead}<{form.one}>", referent)
    # One picture of grapes, scissors or socks is a plural already.
    word = form.many if count > 1 or thing.number in ("plural", "pair") else form.one
    options = _determiners(thing, count)
    return say(f"{options[int(rng.integers(len(options)))]}{adjectives}<{word}>", referent)


def _determiners(thing: Thing, count: int) -> list[str]:
    """Ways to begin a noun phrase, other than with an article; junk nouns in brackets."""
    exact = _NUMBERS[min(count, 10)]
    if thing.number == "mass":
        return ["some ", "", "[pieces] of " if count > 1 else "a [piece] of "]
    if thing.number == "plural":
        return ["some ", "", "a [bunch] of "]
    if thing.number == "pair":
        return [f"{exact} [pairs] of ", ""] if count > 1 else ["a [pair] of ", "a [pair] of ", ""]
    if count == 2:
        return ["two ", "two ", "a [couple] of ", "the two "]
    return [f"{exact} ", f"{exact} ", "a [group] of ", "several ", "a [bunch] of ", "some "]


def _adjectives(rng: np.random.Generator, group: Group) -> str:
    words = []
    thing = group.thing
    if rng.random() < 0.1:
        choices = _OPINIONS.get(thing.supercategory, _ANY_OPINION)
        words.append(choices[int(rng.integers(len(choices)))])
    sides = [entry.side for entry in group.placed]
    if max(sides) < 0.24 and rng.random() < 0.45:
        words.append(str(rng.choice(["small", "little", "tiny"])))
    elif min(sides) > 0.5 and rng.random() < 0.45:
        words.append(str(rng.choice(["big", "large", "huge"])))
    colors = {entry.color for entry in group.placed}
    color = group.placed[0].color
    names_color = color is None or any(part in thing.name for part in color.split())
    if len(colors) == 1 and not names_color and thing.supercategory != "person" and rng.random() < 0.4:
        words.append(color or "")
    return "".join(f"{word} " for word in words)


def posture(rng: np.random.Generator, group: Group) -> str:
    """A participle for what stands or lies on the ground, e.g. "sitting"."""
    choices = _POSTURES.get(group.thing.supercategory, _ANY_POSTURE)
    return choices[int(rng.integers(len(choices)))]


def relation(rng: np.random.Generator, first: Group, second: Group) -> str:
    """Where the first is, seen from the second, as a template; true of all their objects or vague."""
    nearest_first = min(entry.depth for entry in first.placed)
    nearest_second = min(entry.depth for entry in second.placed)
    if _touch(first, second) and rng.random() < 0.75:
        return "in [front] of" if nearest_first < nearest_second else "behind"
    x1, y1 = (np.array([entry.center_xy[axis] for entry in first.placed]) for axis in (0, 1))
    x2, y2 = (np.array([entry.center_xy[axis] for entry in second.placed]) for axis in (0, 1))
    options = ["next to", "near"] if abs(x1.mean() - x2.mean()) + abs(y1.mean() - y2.mean()) < 0.6 else ["and also"]
    if x1.max() < x2.min() - 0.15:
        options += ["to the [left] of", "left of"]
    elif x1.min() > x2.max() + 0.15:
        options += ["to the [right] of", "right of"]
    if y1.max() < y2.min() - 0.25:
        options += ["above"]
    elif y1.min() > y2.max() + 0.25:
        options += ["below"]
    return options[int(rng.integers(len(options)))]


def place_in_frame(group: Group) -> str | None:
    """ "on the [left]" and so on, if true of all its objects."""
    x = np.array([entry.center_xy[0] for entry in group.placed])
    y = np.array([entry.center_xy[1] for entry in group.placed])
    if x.max() < 0.38:
        return "on the left [side]"
    if x.min() > 0.62:
        return "on the right [side]"
    if np.abs(x - 0.5).max() < 0.1 and np.abs(y - 0.5).max() < 0.15:
        return "in the [middle]"
    if y.max() < 0.3:
        return "at the [top]"
    return None


def _touch(first: Group, second: Group) -> bool:
    """Some visible pixel of one is next to one of the other."""
    mask = np.logical_or.reduce([entry.mask for entry in first.placed])
    other = np.logical_or.reduce([entry.mask for entry in second.placed])
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return bool((grown.astype(bool) & other).any())
