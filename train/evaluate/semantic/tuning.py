"""Settings of a segmenter, tried on held-out training pictures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.evaluate.benchmark_sets import Item, SegmentationSet, StrangeIds, open_set
from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.scores import segmentation_scores
from train.evaluate.semantic.scorer import Scorer, TuneManifest, nothing_to_score

SETTINGS = ("temperature", "clip_weight", "score_threshold")
Settings = tuple[float, ...]


class Tried(NamedTuple):
    """What came of trying settings.

    Attributes:
        rows: one per combination, the best first: the settings, ``miou_gt``, ``miou_gt_or_predicted``, ``pacc``. Of
            equals, the segmenter's own settings come first, then the order of the manifest.
        notes: what a person should know of the pictures.
    """

    rows: list[dict[str, Any]]
    notes: list[str]


def tune(manifest: TuneManifest, progress: Callable[[int, int], None] | None = None) -> Tried:
    """Scores every combination of the settings; a picture's masks and CLIP features are computed once.

    Args:
        manifest: what is tried on what.
        progress: called with the pictures done so far and their number.

    Raises:
        UserError: a model or a file of the set cannot be read.
    """
    pictures = open_set(manifest.set)
    items = _drawn(pictures, manifest)
    scorer = Scorer.load(manifest.segmenter, pictures)
    tried = {settings: ConfusionMatrix(len(pictures.classes)) for settings in _combinations(manifest, scorer)}
    strange = StrangeIds()
    for number, item in enumerate(items, start=1):
        strange.add(_count_each(scorer, pictures, item, tried))
        if progress is not None:
            progress(number, len(items))
    names = [one.name for one in pictures.classes]
    notes = [*pictures.notes, *strange.notes(*pictures.places)]
    rows = []
    for settings, matrix in tried.items():
        scores = segmentation_scores(matrix, names)
        kept = {key: scores[key] for key in ("miou_gt", "miou_gt_or_predicted", "pacc")}
        rows.append({**dict(zip(SETTINGS, settings, strict=True)), **kept})
    if rows[0][manifest.metric] is None:
        raise nothing_to_score(pictures, len(items), notes)
    return Tried(sorted(rows, key=lambda row: -row[manifest.metric]), notes)


def _drawn(pictures: SegmentationSet, manifest: TuneManifest) -> list[Item]:
    """The held-out pictures, at least one, in the set's order."""
    count = max(1, round(manifest.held_out * len(pictures)))
    order = np.random.default_rng(manifest.seed).permutation(len(pictures))
    return [pictures.items[at] for at in sorted(order[:count])]


def _combinations(manifest: TuneManifest, scorer: Scorer) -> list[Settings]:
    """All combinations, the segmenter's own first; of the weight only its own where the generator has no classes."""
    own = tuple(getattr(manifest.segmenter, name) for name in SETTINGS)
    values = []
    for name, value in zip(SETTINGS, own, strict=True):
        others = getattr(manifest, name)
        useless = name == "clip_weight" and not scorer.segmenter.masks.has_opinion
        values.append((value,) if useless else tuple(dict.fromkeys((value, *others))))
    return list(product(*values))


@torch.inference_mode()
def _count_each(
    scorer: Scorer, pictures: SegmentationSet, item: Item, tried: dict[Settings, ConfusionMatrix]
) -> StrangeIds:
    truth, strange = pictures.read(item)
    image, masks = scorer.masks(item, truth)
    segmenter = scorer.segmenter
    text = segmenter.text(pictures.classes)
    encoded = list(segmenter.namer.encode(image, masks))
    named: dict[float, Tensor] = {}
    for settings, matrix in tried.items():
        works = segmenter.with_settings(**dict(zip(SETTINGS, settings, strict=True)))
        temperature = settings[0]
        if temperature not in named:
            named[temperature] = works.namer.name_encoded(encoded, len(masks), text)
        scores = works.combine(masks, named[temperature], text)
        matrix.update(scorer.labels(works, masks, scores), truth)
    return strange
