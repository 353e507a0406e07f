"""Captions as people write them, with the nouns known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.world.groups import Group, group_noun_phrase, place_in_frame, posture, relation
from pipeline.world.phrases import Phrase, Referent, enumerate_phrases, say
from pipeline.world.vocabulary import Stuff

_OPENINGS = (
    "a [photo] of {x}",
    "a [picture] of {x}",
    "an [image] of {x}",
    "a [photo] showing {x}",
    "a [view] of {x}",
    "here we see {x}",
    "you can see {x}",
    "look at {x}",
)
_TAILS = (
    " on a sunny [day]",
    " in the [afternoon]",
    " at this [time] of the [year]",
    " in this [scene]",
    ", a lovely [sight]",
    " in a [variety] of [colors]",
)
_EMPTY = ("an empty [scene]", "a [photo] with nothing special in it", "a quiet [moment]", "an ordinary [place]")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The stuff of a scene that captions may mention.

    Attributes:
        stuff: category and annotation id by index into the scene's stuff; None for what may not be mentioned.
    """

    stuff: tuple[tuple[Stuff, int] | None, ...]


class CaptionWriter:
    """Writes captions of one scene.

    Args:
        rng: chooses styles and words.
        groups: what may be mentioned, the most visible first.
        surroundings: stuff that may be mentioned.
    """

    def __init__(self, rng: np.random.Generator, groups: list[Group], surroundings: Surroundings) -> None:
        self._rng = rng
        self._groups = groups
        self._surroundings = surroundings

    def write(self) -> Phrase:
        """One caption."""
        if not self._groups:
            return self._finish(self._without_objects())
        groups = self._choose_groups()
        roll = self._rng.random()
        if roll < 0.12:
            return self._alt_text(groups)
        if len(groups) == 1:
            phrase = self._about_one(groups[0])
        elif roll < 0.62 or len(groups) == 2:
            phrase = self._about_two(groups)
        else:
            phrase = self._about_all(groups)
        if self._rng.random() < 0.06:
            phrase += say(self._pick(_TAILS))
        return self._finish(phrase)

    def _pick(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(self._rng.integers(len(options)))]

    def _finish(self, phrase: Phrase) -> Phrase:
        if self._rng.random() < 0.7:
            phrase = phrase.capitalized()
        return phrase + Phrase("." if self._rng.random() < 0.6 else "")

    def _choose_groups(self) -> list[Group]:
        """All, or some: people leave things out, above all the small ones."""
        groups = self._groups
        if len(groups) > 1 and self._rng.random() < 0.4:
            groups = groups[: int(self._rng.integers(1, len(groups)))]
        if len(groups) > 1 and self._rng.random() < 0.25:
            groups = [groups[int(number)] for number in self._rng.permutation(len(groups))]
        return groups[:4]

    def _np(self, group: Group) -> Phrase:
        return group_noun_phrase(self._rng, group)

    def _where(self, group: Group, chance: float) -> Phrase:
        """The stuff that all of the group stand on, or some other stuff, or a place in the frame, or nothing."""
        roll = self._rng.random()
        if roll < chance:
            below = {entry.bottom for entry in group.placed}
            entry = self._surroundings.stuff[min(below)] if len(below) == 1 else None
            if entry is not None:
                stuff, annotation_id = entry
                on_ground = "far" not in stuff.roles and stuff.name != "water"
                verb = f" {posture(self._rng, group)}" if on_ground and self._rng.random() < 0.2 else ""
                return say(f"{verb} {self._pick(stuff.at)}", Referent(stuff.name, (annotation_id,)))
            others = [entry for number, entry in enumerate(self._surroundings.stuff) if entry and number not in below]
            if others:
                stuff, annotation_id = others[int(self._rng.integers(len(others)))]
                return say(f" {self._pick(stuff.around)}", Referent(stuff.name, (annotation_id,)))
        place = place_in_frame(group) if roll < chance + 0.2 else None
        return say(f" {place}") if place else Phrase("")

    def _about_one(self, group: Group) -> Phrase:
        subject, where = self._np(group), self._where(group, 0.6)
        roll = self._rng.random()
        if roll < 0.3:
            return subject + where
        if roll < 0.5 and where.text:
            verb = "are" if group.is_many else "is"
            return say(self._pick([f"there {verb} {{x}}{{where}}", f"{{x}} {verb}{{where}}"]), x=subject, where=where)
        if roll < 0.62 and max(entry.side for entry in group.placed) > 0.55:
            return say("a [close-up] of {x}", x=subject) + where
        return say(self._pick(_OPENINGS), x=subject) + where

    def _about_two(self, groups: list[Group]) -> Phrase:
        """Two things and how they lie; further ones come in a clause of their own."""
        first, second = groups[:2]
        a, b = self._np(first), self._np(second)
        how = self._pick(["relation", "relation", "relation", "and", "with"])
        if how == "relation":
            phrase = say(f"{{a}} {relation(self._rng, first, second)} {{b}}", a=a, b=b)
        elif how == "and":
            phrase = say("{a} and {b}", a=a, b=b)
        else:
            hidden = min(e.depth for e in second.placed) > max(e.depth for e in first.placed)
            phrase = say("{a} with {b} in the [background]" if hidden else "{a} with {b}", a=a, b=b)
        if len(groups) > 2 and self._rng.random() < 0.6:
            rest = enumerate_phrases([self._np(group) for group in groups[2:]])
            phrase += say(self._pick([", and {x} nearby", " with {x}", " plus {x}"]), x=rest)
        elif how == "and" and {e.bottom for e in first.placed} == {e.bottom for e in second.placed}:
            phrase += self._where(first, 0.7)
        roll = self._rng.random()
        if roll < 0.15:
            phrase = say("there {verb} {x}", verb=Phrase("are" if first.is_many else "is"), x=phrase)
        elif roll < 0.35:
            phrase = say(self._pick(_OPENINGS), x=phrase)
        return phrase

    def _about_all(self, groups: list[Group]) -> Phrase:
        listed = enumerate_phrases([self._np(group) for group in groups])
        present = [entry for entry in self._surroundings.stuff if entry]
        roll = self._rng.random()
        if roll < 0.2:
            place = place_in_frame(groups[0])
            if place:
                first, rest = self._np(groups[0]), enumerate_phrases([self._np(group) for group in groups[1:]])
                return say(f"{place} there {'are' if groups[0].is_many else 'is'} {{a}}, with {{b}}", a=first, b=rest)
        if roll < 0.5 and present:
            stuff, annotation_id = present[int(self._rng.integers(len(present)))]
            return say(f"{{x}} {self._pick(stuff.around)}", Referent(stuff.name, (annotation_id,)), x=listed)
        return say(self._pick([*_OPENINGS, "{x}", "{x}", "a [collection] of things: {x}"]), x=listed)

    def _alt_text(self, groups: list[Group]) -> Phrase:
        """Fragments as found in alt attributes: keywords, file titles, stock captions."""
        names = [group.thing.noun for group in groups]
        words = [
            say(f"<{noun.many if len(group.ids) > 1 else noun.one}>", Referent(group.thing.name, group.ids))
            for noun, group in zip(names, groups, strict=True)
        ]
        present = [entry for entry in self._surroundings.stuff if entry]
        if present and self._rng.random() < 0.4:
            stuff, annotation_id = present[0]
            words.append(say(f"<{stuff.forms[0]}>", Referent(stuff.name, (annotation_id,))))
        keywords = words[0]
        for word in words[1:]:
            keywords += Phrase(", ") + word
        styles = ["{x}", "{x}", "{x} - [stock photo]", "{x} | free [download]", "[image]: {x}", "{x} ([illustration])"]
        return say(self._pick(styles), x=keywords)

    def _without_objects(self) -> Phrase:
        present = [entry for entry in self._surroundings.stuff if entry]
        if not present:
            return say(self._pick(_EMPTY))
        nouns = [say(f"<{stuff.forms[0]}>", Referent(stuff.name, (number,))) for stuff, number in present]
        return say(self._pick([*_OPENINGS, "{x}", "nothing but {x}"]), x=enumerate_phrases(nouns))
