"""What a world may hold: objects with their art, and stuff, a curated list kept in data/; and its options."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.common import Config

NounNumber = Literal["count", "mass", "plural", "pair"]


@dataclass(frozen=True)
class NounForm:
    """One word, or compound, for a category.

    Attributes:
        one: the form for a single instance ("dog"; "scissors" for a pair noun).
        many: the form for several ("dogs"; equal to `one` for nouns that have no plural). Synonyms of plural and
            pair nouns have their singular in `one` ("mitten", "mittens"), which captions do not use.
    """

    one: str
    many: str


@dataclass(frozen=True)
class Thing:
    """An object category.

    Attributes:
        category_id: fixed by the line in the list, from 1 on; it does not depend on any option.
        noun: the form that captions use most; `noun.one` is the category's name.
        number: how English counts it: a dog; some bread; grapes (one picture shows many); a pair of scissors.
        lemma: dictionary form where it is not the name ("grape" for "grapes").
        synonyms: other nouns for it; none is a form of another category.
        supercategory: e.g. ``animal``.
        in_sky: placed in the sky where a scene has one.
        codepoints: OpenMoji file stems, one for every look of the category.
    """

    category_id: int
    noun: NounForm
    number: NounNumber
    lemma: str
    synonyms: tuple[NounForm, ...]
    supercategory: str
    in_sky: bool
    codepoints: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.noun.one

    @property
    def forms(self) -> tuple[str, ...]:
        """Every word that means this category, the name first."""
        words = [self.noun.one, self.noun.many, self.lemma]
        words += [word for synonym in self.synonyms for word in (synonym.one, synonym.many)]
        return tuple(dict.fromkeys(words))


@dataclass(frozen=True)
class Stuff:
    """A background category.

    Attributes:
        category_id: goes on after the last thing.
        name: the category's name, and the texture's.
        forms: every word that means this category, the name first.
        roles: where layouts may put it: ``far`` (sky), ``wall``, ``ground`` (outdoors), ``floor`` (indoors).
        at: phrases for an object that stands on it, its noun in angle brackets.
        around: phrases for an object elsewhere in the scene.
    """

    category_id: int
    name: str
    forms: tuple[str, ...]
    roles: tuple[str, ...]
    at: tuple[str, ...]
    around: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """All categories, in order of their ids."""

    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]

    @cached_property
    def thing_by_name(self) -> dict[str, Thing]:
        return {thing.name: thing for thing in self.things}

    @cached_property
    def stuff_by_name(self) -> dict[str, Stuff]:
        return {stuff.name: stuff for stuff in self.stuff}


def load_vocabulary() -> Vocabulary:
    """Reads the curated lists data/objects.csv and data/stuff.json."""
    data = files("pipeline.world") / "data"
    rows = csv.DictReader((data / "objects.csv").read_text(encoding="utf-8").splitlines())
    things = tuple(_thing(index, row) for index, row in enumerate(rows, start=1))
    entries = json.loads((data / "stuff.json").read_text(encoding="utf-8"))
    stuff = tuple(
        Stuff(index, entry["name"], *(tuple(entry[key]) for key in ("forms", "roles", "at", "around")))
        for index, entry in enumerate(entries, start=len(things) + 1)
    )
    return Vocabulary(things, stuff)


def _thing(category_id: int, row: dict[str, str]) -> Thing:
    synonyms = [pair.split("=") for pair in row["synonyms"].split("|") if pair]
    number: NounNumber = row["number"]  # type: ignore[assignment]  # the list is ours, and a test checks it
    return Thing(
        category_id=category_id,
        noun=NounForm(row["name"], row["plural"]),
        number=number,
        lemma=row["lemma"] or row["name"],
        synonyms=tuple(NounForm(one, many) for one, many in synonyms),
        supercategory=row["supercategory"],
        in_sky=row["place"] == "sky",
        codepoints=tuple(row["codepoints"].split("|")),
    )


Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[float, Field(gt=0.02, le=1.5)]


class WorldConfig(Config):
    """What scenes hold and how they look; ranges are (lowest, highest), both included."""

    kind: Literal["world"] = "world"
    size_px: int = Field(192, ge=64, le=1024, description="Side of the square pictures.")
    single_object: Share = Field(0.25, description="Share of scenes with a single object; true means all.")
    objects: tuple[int, int] = Field((2, 6), description="Objects tried in a scene that is not a single-object scene.")
    object_side: tuple[Side, Side] = Field((0.15, 0.8), description="Longer side of an object / side of the picture.")
    single_object_side: tuple[Side, Side] = Field((0.25, 0.95), description="The same in single-object scenes.")
    min_visible: Share = Field(0.4, description="Least visible share of an object's area, or it is left out.")
    max_rotation_deg: float = Field(25.0, ge=0, le=180, description="Objects are turned by at most this angle.")
    jpeg_quality: tuple[int, int] = Field((70, 95), description="Range of JPEG qualities.")
    captions: int = Field(5, ge=1, le=9, description="Captions for each scene.")
    names: tuple[str, ...] | None = Field(None, description="Object names that scenes may hold; all if not given.")
    mention: tuple[str, ...] | None = Field(
        None, description="Object and stuff names that captions may mention; all if not given. Pictures do not change."
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for key in ("objects", "object_side", "single_object_side", "jpeg_quality"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: expected (lowest, highest), got {(low, high)}")
        if not 1 <= self.objects[0] <= self.objects[1] <= 30:
            raise ValueError(f"objects: expected numbers from 1 to 30, got {self.objects}")
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError(f"jpeg_quality: expected numbers from 1 to 100, got {self.jpeg_quality}")
        return self
