"""Lists of classes: the number that a label map has for each, its name, other words for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common import UserError, clean_name, some
from train.class_names import ClassName
from train.evaluate.benchmark_sets.layouts import BenchmarkKind

IGNORED = -1
"""Number of the pixels that are not scored."""
IGNORED_IDS = (255, 65_535)
"""Ids of label maps of 8 and 16 bits that stand for no class by custom."""
_SHOWN = 5


@dataclass(slots=True)
class StrangeIds:
    """Ids of label maps that are neither a class, nor ignored: their pixels are not scored, and somebody should know.

    Attributes:
        pixels: that were looked at.
        of_id: id -> pixels that have it.
    """

    pixels: int = 0
    of_id: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, ids: NDArray[np.int64], known: Collection[int] | None) -> StrangeIds:
        """Those of a map [H, W]; none where it is not known which ids there may be."""
        if known is None:
            return cls(ids.size)
        numbers, counts = np.unique(ids, return_counts=True)
        found = zip(numbers.tolist(), counts.tolist(), strict=True)
        return cls(ids.size, Counter({number: count for number, count in found if number not in known}))

    def add(self, other: StrangeIds) -> None:
        """Adds those of another map."""
        self.pixels += other.pixels
        self.of_id.update(other.of_id)

    def notes(self, maps: str, classes: str) -> list[str]:
        """What a person should know, if anything: each id with its share of the pixels.

        Args:
            maps: where the label maps lie.
            classes: where the classes are listed.
        """
        if not self.of_id:
            return []
        listed = (f"{id_} ({100 * count / self.pixels:.1f} %)" for id_, count in self.of_id.most_common())
        share = 100 * self.of_id.total() / self.pixels
        return [
            f"{share:.1f} % of the pixels in {maps} are not scored, as no class of {classes} has their ids: "
            f"{some(listed, _SHOWN)}; add the classes, or name ids that mean none under 'ignore'"
        ]


@dataclass(frozen=True)
class ClassList:
    """Classes in the order of their numbers, 0 to C - 1.

    Attributes:
        names: of each class; no two have the same first word. Synonyms hold singular and plural.
        of_id: id in a label map -> number of the class; several ids may mean one class.
    """

    names: tuple[ClassName, ...]
    of_id: dict[int, int]

    def by_id(self) -> NDArray[np.int32]:
        """[highest id + 2] int32: the class of each id, -1 for none; the last entry stands for all higher ids."""
        table = np.full(max(self.of_id) + 2, IGNORED, np.int32)
        table[list(self.of_id)] = list(self.of_id.values())
        return table

    def by_number(self, first: int) -> NDArray[np.int32]:
        """The same for label maps that hold the numbers of the classes themselves, counted from `first`."""
        ignored = np.full(1, IGNORED, np.int32)
        return np.concatenate((ignored.repeat(first), np.arange(len(self.names), dtype=np.int32), ignored))


def benchmark_classes(kind: BenchmarkKind) -> ClassList:
    """The classes of a benchmark; docs/benchmark-sets.md says where they come from."""
    file = files("train.evaluate.benchmark_sets").joinpath("data", f"{kind}.json")
    return parse_class_list(file.read_bytes(), f"{kind}.json")


def parse_class_list(data: bytes, source: str, ignore: Collection[int] = ()) -> ClassList:
    """Reads a list of {"id", "name"}, and ``synonyms`` or ``forms`` (other words; `forms` may hold the name as well).

    Entries of one name are one class.

    Args:
        data: JSON.
        source: the file's name, for messages.
        ignore: ids of entries that are left out.

    Raises:
        UserError: it is no such list, an id stands twice, or nothing is left.
    """
    try:
        listed = json.loads(data)
    except ValueError as error:
        raise UserError(f"{source}: cannot be read as JSON: {error}") from error
    if not isinstance(listed, list):
        raise UserError(f'{source}: expected a list of {{"id": 1, "name": "wall"}}')
    numbers: dict[str, int] = {}
    words: list[dict[str, None]] = []
    of_id: dict[int, int] = {}
    for at, entry in enumerate(listed):
        id_, name, others = _entry(entry, f"{source}: entry {at + 1}")
        if id_ in of_id:
            raise UserError(f"{source}: the id {id_} stands twice; expected one entry for each id")
        if id_ in ignore:
            continue
        of_id[id_] = numbers.setdefault(name, len(words))
        if of_id[id_] == len(words):
            words.append({})
        words[of_id[id_]] |= dict.fromkeys(word for word in others if word != name)
    if not of_id:
        raise UserError(f'{source}: lists no class; expected a list of {{"id": 1, "name": "wall"}}')
    names = tuple(ClassName((name, *others)) for name, others in zip(numbers, words, strict=True))
    return ClassList(names, of_id)


def _entry(entry: Any, where: str) -> tuple[int, str, list[str]]:  # noqa: ANN401 - any JSON value
    if not isinstance(entry, dict) or not {"id", "name"} <= entry.keys():
        raise UserError(f'{where}: expected {{"id": 1, "name": "wall"}}, found {json.dumps(entry)[:80]}')
    id_, name = entry["id"], entry["name"]
    if not isinstance(id_, int) or isinstance(id_, bool) or not 0 <= id_ <= 0xFFFF:
        raise UserError(f"{where}: 'id' is {id_!r}; expected a whole number from 0 to 65535")
    if not isinstance(name, str) or not clean_name(name):
        raise UserError(f"{where}: 'name' is {name!r}; expected a word")
    others: list[str] = []
    for key in ("synonyms", "forms"):
        words = entry.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"{where}: '{key}' is {words!r}; expected a list of words")
        others += words
    return id_, clean_name(name), list(map(clean_name, others))
