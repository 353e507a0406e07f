"""Writes a world to disk: pictures, COCO annotations, label maps, and the truth about every caption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import cv2

from pipeline.world.painter import ScenePainter
from pipeline.world.vocabulary import Vocabulary, WorldConfig, load_vocabulary
from stages.common import UserError, canonical_json, processes_without_ctrl_c
from stages.shards import Sample, write_shard

LICENSE_NAME = "CC BY-SA 4.0"
LICENSE_URL = "https://creativecommons.org/licenses/by-sa/4.0/"
LICENSE_TEXT = f"""Scenes of this folder are made from OpenMoji art.

All emojis designed by OpenMoji - the open-source emoji and icon project (https://openmoji.org).
License: {LICENSE_NAME}, {LICENSE_URL}

The art was scaled, turned, lit and put on procedural backgrounds. Pictures and annotations of this folder are
shared under the same license.
"""
_CHUNK = 32
SCENES_PER_SHARD = 1000


def write_world(
    out: Path,
    images: int,
    seed: int,
    config: WorldConfig | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Renders a world of captioned scenes in COCO format; see docs/world.md for the files.

    Scene i depends on `seed`, `config` and i alone: not on `images`, not on `workers`.

    Args:
        out: folder; made if absent, and must be empty.
        images: how many scenes, at least 1.
        seed: at least 0.
        config: options; defaults if not given.
        workers: processes; 1 renders in this one.
        progress: called with the number of scenes done so far.

    Raises:
        UserError: `out` holds files already, or an argument or a name is wrong.
    """
    config = config or WorldConfig()
    vocabulary = load_vocabulary()
    jobs = _jobs(out, images, seed, config, workers, vocabulary, _CHUNK)
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for chunk in _run(_paint, jobs, workers):
        entries += chunk
        if progress is not None:
            progress(len(entries))
    _write_annotations(out, entries, config, seed, vocabulary)


def write_captioned_shards(
    out: Path,
    images: int,
    seed: int,
    config: WorldConfig | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Renders captioned scenes into WebDataset shards, to train a CLIP on: no masks, no labels.

    Shards are 00000.tar, ... of `SCENES_PER_SHARD` scenes, written as canonically as the miner's: KEY.jpg, KEY.txt
    (the first caption; the layout of img2dataset) and KEY.json with all captions under ``captions``. Scene i is
    the scene that write_world renders from the same seed and options.

    Args:
        out: folder; made if absent, and must be empty.
        images: how many scenes, at least 1.
        seed: at least 0.
        config: options; defaults if not given.
        workers: processes; 1 renders in this one.
        progress: called with the number of scenes done so far.

    Raises:
        UserError: as write_world.
    """
    jobs = _jobs(out, images, seed, config or WorldConfig(), workers, load_vocabulary(), SCENES_PER_SHARD)
    out.mkdir(parents=True, exist_ok=True)
    done = 0
    for count in _run(_write_shard, jobs, workers):
        done += count
        if progress is not None:
            progress(done)
    (out / "LICENSE.txt").write_text(LICENSE_TEXT, encoding="utf-8")


def _jobs(
    out: Path, images: int, seed: int, config: WorldConfig, workers: int, vocabulary: Vocabulary, scenes: int
) -> list[_Job]:
    """The world in jobs of so many scenes, once all arguments are checked."""
    _check(out, images, seed, workers, config, vocabulary)
    return [(str(out), seed, config, start, min(start + scenes, images)) for start in range(0, images, scenes)]


def _check(out: Path, images: int, seed: int, workers: int, config: WorldConfig, vocabulary: Vocabulary) -> None:
    for key, value, least in (("images", images, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise UserError(f"{key}: expected a number from {least} on, got {value}")
    things, stuff = vocabulary.thing_by_name.keys(), vocabulary.stuff_by_name.keys()
    for key, names, known in (("names", config.names, things), ("mention", config.mention, things | stuff)):
        unknown = sorted(set(names or ()) - known)
        if unknown:
            raise UserError(
                f"{key}: the world has no {unknown[0]!r} ({len(unknown)} unknown); "
                "pipeline/world/data/ lists the names that it has"
            )
    if config.names is not None and not config.names:
        raise UserError("names: expected at least one object name, or leave it out for all of them")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: expected an empty folder or none; remove it or choose another one")


_Job = tuple[str, int, WorldConfig, int, int]
_Done = TypeVar("_Done")


def _run(work: Callable[[_Job], _Done], jobs: list[_Job], workers: int) -> Iterator[_Done]:
    """Results of all jobs, in their order."""
    if workers == 1:
        yield from map(work, jobs)
        return
    context = get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        with processes_without_ctrl_c():
            done = pool.map(work, jobs)  # starts all processes
        yield from done


@lru_cache(maxsize=1)
def _painter(config: WorldConfig) -> ScenePainter:
    """One painter per process, so that art is rasterised once in each."""
    return ScenePainter(config)


def _paint(job: _Job) -> list[dict[str, Any]]:
    return _painter(job[2]).paint(job)


def _write_shard(job: _Job) -> int:
    """Writes one shard of captioned scenes; returns how many."""
    folder, seed, config, start, stop = job
    with (Path(folder) / f"{start // SCENES_PER_SHARD:05d}.tar").open("wb") as file:
        write_shard((_captioned(config, seed, index) for index in range(start, stop)), file)
    return stop - start


def _captioned(config: WorldConfig, seed: int, index: int) -> Sample:
    jpeg, captions = _painter(config).captioned(seed, index)
    members = {"jpg": jpeg, "json": canonical_json({"captions": captions}), "txt": captions[0].encode()}
    return Sample(f"{index + 1:07d}", members)


def _write_annotations(
    out: Path, entries: list[dict[str, Any]], config: WorldConfig, seed: int, vocabulary: Vocabulary
) -> None:
    def gathered(key: str) -> list[dict[str, Any]]:
        return [item for entry in entries for item in entry[key]]

    common = {
        "info": {"description": "maskmine world", "seed": seed, "config": config.model_dump(mode="json")},
        "licenses": [{"id": 1, "name": LICENSE_NAME, "url": LICENSE_URL}],
        "images": gathered("image"),
    }
    classes = _classes(vocabulary)
    listed = [{key: entry[key] for key in ("id", "name", "supercategory")} for entry in classes]
    things = listed[: len(vocabulary.things)]
    stuff = listed[len(vocabulary.things) :]
    documents = {
        "captions.json": {**common, "annotations": gathered("captions")},
        "instances.json": {**common, "annotations": gathered("instances"), "categories": things},
        "stuff.json": {**common, "annotations": gathered("stuff"), "categories": stuff},
        "truth.json": {"info": common["info"], "captions": gathered("truth")},
        "classes.json": classes,
    }
    for name, document in documents.items():
        (out / name).write_bytes(canonical_json(document) + b"\n")
    (out / "LICENSE.txt").write_text(LICENSE_TEXT, encoding="utf-8")


def _classes(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    things = [
        {
            "id": thing.category_id,
            "name": thing.name,
            "supercategory": thing.supercategory,
            "is_thing": True,
            "forms": list(thing.forms),
        }
        for thing in vocabulary.things
    ]
    stuff = [
        {
            "id": entry.category_id,
            "name": entry.name,
            "supercategory": "stuff",
            "is_thing": False,
            "forms": list(entry.forms),
        }
        for entry in vocabulary.stuff
    ]
    return things + stuff
