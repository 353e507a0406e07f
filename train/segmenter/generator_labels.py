"""Which open classes a mask generator knows: its closed labels, matched to the names that the user asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from stages.nouns.lexicon import Curated, Lexicon
from train.class_names import ClassName

How = Literal["name", "synonym", "similarity"]
# COCO's panoptic names say that labels were merged, or that a word is stuff: 'sky-other-merged', 'door-stuff'.
_MARKS = re.compile(r"(-(other|merged|stuff))+$")


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """What a generator knows of an open class.

    Attributes:
        labels: its own classes that count for it; none for a class that it does not know.
        how: the best way in which one of them was found; None for one that it does not know.
        similarity: cosine of the text features, where that decided.
    """

    labels: tuple[str, ...] = ()
    how: How | None = None
    similarity: float | None = None


def match_labels(
    labels: Sequence[str], classes: Sequence[ClassName], encode: Callable[[list[str]], Tensor], threshold: float
) -> tuple[LabelMatch, ...]:
    """Matches labels to classes; a label counts for every class that it is found for.

    In this order, for each label: classes of that very name; if none, classes that share a synonym with it (the forms
    of both, their singulars, the words of WordNet's commonest sense; 'wall-brick' is a wall, too). Then, for a class
    without any label, the label whose text feature is nearest, if that label is still free, the class is the nearest
    to it, too, and their cosine is at least `threshold`.

    Args:
        labels: the generator's closed set, as its configuration spells it.
        classes: what the user asked for.
        encode: text features, unit vectors [n, D].
        threshold: least cosine.

    Returns:
        One per class.
    """
    found: list[list[tuple[str, How]]] = [[] for _ in classes]
    names = [_plain(one.name) for one in classes]
    words = [_words({_plain(form) for form in one.forms}) for one in classes]
    free = []
    for label in labels:
        forms = label_forms(label)
        exact = [number for number, name in enumerate(names) if name == forms[0]]
        wider = [number for number, theirs in enumerate(words) if theirs & _words(set(forms))]
        for number in exact or wider:
            found[number].append((label, "name" if exact else "synonym"))
        if not exact and not wider:
            free.append(label)
    matches = [
        LabelMatch(tuple(label for label, _ in group), min(how for _, how in group)) if group else LabelMatch()
        for group in found
    ]
    unmatched = [number for number, group in enumerate(found) if not group]
    if free and unmatched and threshold < 1.0:
        _by_similarity(matches, unmatched, free, classes, encode, threshold)
    return tuple(matches)


def _by_similarity(
    matches: list[LabelMatch],
    unmatched: list[int],
    free: list[str],
    classes: Sequence[ClassName],
    encode: Callable[[list[str]], Tensor],
    threshold: float,
) -> None:
    ours = encode([classes[number].name for number in unmatched])
    theirs = encode([label_forms(label)[0] for label in free])
    cosine = ours @ theirs.T  # [unmatched, free]
    nearest, back = cosine.argmax(dim=1).tolist(), cosine.argmax(dim=0).tolist()
    for row, (number, column) in enumerate(zip(unmatched, nearest, strict=True)):
        value = float(cosine[row, column])
        if back[column] == row and value >= threshold:
            matches[number] = LabelMatch((free[column],), "similarity", round(value, 4))


def label_forms(label: str) -> list[str]:
    """The words for a generator's label, its name first: 'road, route' has two, 'wall-brick' is a 'brick wall'."""
    forms = []
    for part in re.split("[,;]", label):
        bare = _MARKS.sub("", part.strip())
        head, dash, kind = bare.partition("-")
        forms.append(_plain(f"{kind} {head}" if dash else bare))
        if dash:
            forms.append(_plain(head))
    return [form for form in forms if form] or [_plain(label)]


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[_\-\s]+", " ", name.casefold()).split())


def _words(forms: set[str]) -> set[str]:
    """The forms, their singulars, and the synonyms of the commonest sense of each."""
    lexicon, curated = _lexicon()
    singulars = {lexicon.singular(form, curated, is_plural=False) for form in forms}
    senses = [lexicon.senses(form)[:1] for form in singulars]
    return (
        forms | singulars | {word.casefold() for one in senses for sense in one for word in lexicon.words(sense.synset)}
    )


@lru_cache(maxsize=1)
def _lexicon() -> tuple[Lexicon, Curated]:
    return Lexicon(), Curated.load()


def generator_probs(label_probs: Tensor, labels: Sequence[str], matches: Sequence[LabelMatch]) -> Tensor:
    """p_segmenter of the open classes: the sum over a class's labels, float32 [N, C]; 0 for others.

    Args:
        label_probs: float [N, L].
        labels: the L labels.
        matches: one per class.
    """
    mapping = torch.tensor([[float(label in one.labels) for one in matches] for label in labels])  # [L, C]
    return (label_probs.float() @ mapping).clamp(max=1.0)
