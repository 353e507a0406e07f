"""All pictures of a set scored, shared out among processes and resumed where a run was stopped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import torch

from stages.common import (
    UserError,
    digest,
    hash_files,
    identity,
    processes_without_ctrl_c,
    resolve_device,
    resolve_precision,
)
from stages.proposals import model_files
from train.clip.source import resolve
from train.evaluate.benchmark_sets import Item, SegmentationSet, StrangeIds, open_set, version
from train.evaluate.metrics.confusion import ConfusionMatrix
from train.evaluate.metrics.open_scores import open_scores
from train.evaluate.metrics.scores import segmentation_scores
from train.evaluate.metrics.similarity import Taxonomy, wordnet_entries, wordnet_similarity
from train.evaluate.semantic.scorer import Scorer, SemanticManifest, nothing_to_score, prediction_of, read_prediction
from train.loop import load_state, save_state

Progress = Callable[[int, int], None]
Counted = tuple[ConfusionMatrix, StrangeIds]
"""Pixels by class and prediction, and those of ids that nobody has named."""
_PICTURES_PER_SAVE = 50


def evaluate_semantic(
    manifest: SemanticManifest, out: Path | None = None, workers: int = 1, progress: Progress | None = None
) -> dict[str, Any]:
    """Segments or reads every picture of a set and scores the pixels of all.

    Args:
        manifest: what is scored.
        out: folder that keeps the counts, so that a stopped run goes on; None for none.
        workers: processes; the counts are the same for any number. 1 works in this one; of several, each takes the
            next GPU, where there are any.
        progress: called with the pictures done so far and their number.

    Returns:
        Scores in percent (metrics.scores; with `open_metrics` those of metrics.open_scores, and
        ``not_in_wordnet``, the classes that are similar to themselves alone), ``set``, ``images``,
        ``expected_images``, ``notes`` of what a reader should know, and with a generator that has classes
        ``known_to_generator``.

    Raises:
        UserError: a model, the set or one of its files cannot be read, `out` holds another evaluation, or every pixel
            is ignored.
    """
    pictures = open_set(manifest.set)
    items = pictures.items[: manifest.limit]
    names = [one.name for one in pictures.classes]
    given = manifest.seen if isinstance(manifest.seen, tuple) else ()
    if unknown := sorted(set(given) - set(names)):
        raise UserError(f"seen: {unknown[0]!r} is none of the {len(names)} classes of {pictures.name}")
    counter = _Counter.load(manifest, pictures)
    scorer = counter.scorer
    notes = [*pictures.notes, *filter(None, [scorer.warning() if scorer else None])]
    if len(items) < len(pictures):
        notes.append(f"the first {len(items):,} of {len(pictures):,} pictures; figures of a part are no benchmark")
    matrix, strange = _count(manifest, pictures, items, counter, out, workers, progress)
    notes += strange.notes(*pictures.places)
    if not matrix.counts.any():
        raise nothing_to_score(pictures, len(items), notes)
    known = scorer.known() if scorer is not None and scorer.segmenter.masks.labels else None
    seen = known or set() if manifest.seen == "generator" else manifest.seen
    scores: dict[str, Any] = {
        "set": pictures.name,
        "images": len(items),
        "expected_images": pictures.expected_images,
        "notes": notes,
        **({} if known is None else {"known_to_generator": [name for name in names if name in known]}),
        **segmentation_scores(matrix, names, seen),
    }
    return {**scores, **_open(matrix, pictures)} if manifest.open_metrics else scores


def _open(matrix: ConfusionMatrix, pictures: SegmentationSet) -> dict[str, Any]:
    taxonomy, forms = Taxonomy(), [names.forms for names in pictures.classes]
    found = open_scores(matrix, wordnet_similarity(forms, taxonomy))
    names = [names.name for names in pictures.classes]
    found["open_iou"] = dict(zip(names, found["open_iou"], strict=True))
    lacking = [entry.by == "nothing" for entry in wordnet_entries(forms, taxonomy)]
    return {**found, "not_in_wordnet": [name for name, lacks in zip(names, lacking, strict=True) if lacks]}


def _count(
    manifest: SemanticManifest,
    pictures: SegmentationSet,
    items: tuple[Item, ...],
    counter: _Counter,
    out: Path | None,
    workers: int,
    progress: Progress | None,
) -> Counted:
    matrix, strange, done, recipe = ConfusionMatrix(len(pictures.classes)), StrangeIds(), 0, ""
    if out is not None:
        recipe = _recipe(manifest, pictures, items)
        out.mkdir(parents=True, exist_ok=True)
        if (state := load_state(out, recipe)) is not None:
            matrix, done = ConfusionMatrix.from_counts(state["counts"].numpy()), state["done"]
            strange = StrangeIds(state["pixels"], Counter(state["strange"]))
    saved = done
    try:
        for counted, more in _matrices(manifest, pictures, items[done:], counter, workers):
            matrix.merge(counted)
            strange.add(more)
            done += 1
            if out is not None and done - saved == _PICTURES_PER_SAVE:
                saved = _save(out, recipe, matrix, strange, done)
            if progress is not None:
                progress(done, len(items))
    finally:
        if out is not None and done > saved:
            _save(out, recipe, matrix, strange, done)
    return matrix, strange


def _save(out: Path, recipe: str, matrix: ConfusionMatrix, strange: StrangeIds, done: int) -> int:
    told = {"pixels": strange.pixels, "strange": dict(strange.of_id)}
    save_state(out, {"recipe": recipe, "done": done, "counts": torch.from_numpy(matrix.counts), **told})
    return done


def _recipe(manifest: SemanticManifest, pictures: SegmentationSet, items: tuple[Item, ...]) -> str:
    """Identity of the counts: the manifest, the weights, the classes, and each picture's files as they are now."""
    weights: list[dict[str, str]] = []
    if manifest.segmenter is not None:
        segmenter = manifest.segmenter
        computed_in = resolve_precision(segmenter.precision, resolve_device(segmenter.device))
        digests = {} if segmenter.clip is None else resolve(segmenter.clip).digests()
        weights = [digests, hash_files(model_files(segmenter.proposer)), {"precision": computed_in}]
    files = [[item.key, *version(item.picture), *version(item.labels)] for item in items]
    if manifest.predictions is not None:
        files += [version(prediction_of(manifest.predictions, item)) for item in items]
    return digest([identity(manifest), weights, files, [names.forms for names in pictures.classes]])


def _matrices(
    manifest: SemanticManifest, pictures: SegmentationSet, items: tuple[Item, ...], counter: _Counter, workers: int
) -> Iterator[Counted]:
    """Those of all pictures, in their order."""
    if workers == 1 or len(items) < 2:
        yield from map(counter.count, items)
        return
    context = get_context("spawn")  # a fork of a process with threads may hang
    given = (manifest, pictures, workers, context.Value("i", 0))
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=given) as pool:
        try:
            with processes_without_ctrl_c():
                counted = pool.map(_work, items)  # starts all processes
            yield from counted
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for lack of memory; try fewer workers. Where counts are kept in a "
                "folder, the same command goes on from here"
            ) from error


class _Counter:
    """Counts the pixels of one picture after the other."""

    def __init__(self, manifest: SemanticManifest, pictures: SegmentationSet, scorer: Scorer | None) -> None:
        self._manifest, self._pictures, self.scorer = manifest, pictures, scorer

    @classmethod
    def load(cls, manifest: SemanticManifest, pictures: SegmentationSet) -> Self:
        """With the segmenter that the manifest has, if it has one."""
        scorer = Scorer.load(manifest.segmenter, pictures) if manifest.segmenter is not None else None
        return cls(manifest, pictures, scorer)

    def count(self, item: Item) -> Counted:
        matrix = ConfusionMatrix(len(self._pictures.classes))
        truth, strange = self._pictures.read(item)
        if self.scorer is not None:
            matrix.update(self.scorer.predict(item, truth, self._manifest.best_labels), truth)
        else:
            assert self._manifest.predictions is not None
            matrix.update(read_prediction(self._manifest.predictions, item, truth, matrix.classes), truth)
        return matrix, strange


_counter: _Counter | None = None
"""A worker process's own: a model is loaded once in each."""


def _start(manifest: SemanticManifest, pictures: SegmentationSet, workers: int, started: Any) -> None:  # noqa: ANN401
    """Begins a worker process; `started` is a number that all of them share: how many have begun."""
    global _counter
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if gpus := torch.cuda.device_count():  # each process has a GPU of its own, while there are enough
        torch.cuda.set_device(number % gpus)
    _counter = _Counter.load(manifest, pictures)


def _work(item: Item) -> Counted:
    assert _counter is not None
    return _counter.count(item)
