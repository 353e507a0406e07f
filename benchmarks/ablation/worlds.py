"""What an ablation trains and tests on: rendered scenes, pairs mined from them, pairs of ground truth and labels."""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from pipeline.build import build
from pipeline.manifest import BuildManifest
from pipeline.records import LOCK_FILE
from pipeline.terminal import Activity
from pipeline.world import WorldConfig, write_world
from pipeline.world.vocabulary import load_vocabulary
from stages.boxes import add_margin, tight_box
from stages.shards import Sample, write_shard
from train.evaluate.classify.run import CocoRegions, GroundTruth

WORLD_CLIP = "local-dir:pipeline/world/clip"
Proposals = Literal["generator", "ground_truth", "classical"]
PROPOSERS: dict[Proposals, dict[str, Any]] = {
    "generator": {"kind": "grid", "model": "pipeline/world/generator", "min_score": 0.2},
    "ground_truth": {"kind": "ground_truth"},
    "classical": {"kind": "classical"},
}
MASKS = {"generator": "the world's generator", "ground_truth": "true masks", "classical": "classical"}
"""What tables call them."""
Captions = Literal["first", "all"]
_LABELS = 40
_MARGIN = 0.25  # of the region's longer side, as the miner's crops have


@dataclass(frozen=True)
class Size:
    """How large an ablation is: scenes to mine, objects to test on, steps of a phase, pairs per step."""

    scenes: int
    objects: int
    steps: int
    batch: int = 128

    def __str__(self) -> str:
        return f"{self.scenes}-{self.objects}-{self.steps}x{self.batch}"


@dataclass(frozen=True)
class Split:
    """Object names by what training meets.

    Attributes:
        seen: a random half; captions for mining mention these and all stuff.
        unseen: the others. They are in the scenes, and no caption mentions them.
        labels: a few of the seen ones: the fixed label set.
    """

    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, seed: int) -> Split:
        names = np.array([thing.name for thing in load_vocabulary().things])
        shuffled = [str(name) for name in np.random.default_rng([seed, 1]).permutation(names)]
        half = len(shuffled) // 2
        return cls(tuple(sorted(shuffled[:half])), tuple(sorted(shuffled[half:])), tuple(sorted(shuffled[:_LABELS])))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted((*self.seen, *self.unseen)))


class Worlds:
    """The data of one seed, made when first asked for and kept in a folder.

    Args:
        folder: of this seed and size.
        seed: of the split and of all scenes; no scene is the world CLIP's (its shards have seed 1000).
        size: how much.
        console: where progress goes.
    """

    def __init__(self, folder: Path, seed: int, size: Size, console: Console) -> None:
        self.folder, self.seed, self.size, self.console = folder, seed, size, console
        self.split = Split.of(seed)

    def test_regions(self, kind: Literal["single", "cluttered"]) -> CocoRegions:
        """Objects to name: in scenes of one object, or in cluttered ones; all names are there."""
        scenes = self.size.objects if kind == "single" else round(self.size.objects * 0.4)
        config = WorldConfig(single_object=1.0 if kind == "single" else 0.0)
        return regions_in(self._world(f"test_{kind}", scenes, {"single": 20_000, "cluttered": 30_000}[kind], config))

    def mined(self, proposals: Proposals, captions: Captions) -> Path:
        """A build from the captions, with the default rules; only seen names are mentioned."""
        out = self.folder / f"mined_{proposals}_{captions}"
        if (out / LOCK_FILE).is_file():
            return out
        world = self._training_world()
        masks = [str(world / name) for name in ("instances.json", "stuff.json")] if proposals == "ground_truth" else []
        values: dict[str, Any] = {
            "source": {"kind": "coco", "images": str(world / "images"), "captions": str(world / "captions.json")},
            "proposals": {"proposer": PROPOSERS[proposals]},
            "matching": {"clip": {"model": WORLD_CLIP}},
            "shards": {"images_per_shard": 40},
            "run": {"cache": str(self.folder / "cache"), "runner": "ray", "workers": os.cpu_count() or 1},
        }
        values["source"] |= {"use_captions": captions, "masks": masks}
        self.console.print(f"seed {self.seed}: mining with masks of {MASKS[proposals]}")
        build(BuildManifest.model_validate(values), str(out), self.console)
        return out

    def labelled(self) -> Path:
        """Ground-truth masks of the fixed labels with these as nouns: as many as mining finds pairs.

        They come from more scenes of the same kind, since few objects of a scene have one of the labels.
        """
        world = self._world("labels", self.size.scenes * 9, 40_000, WorldConfig(captions=1))
        as_many = pyarrow.parquet.read_metadata(self.mined("generator", "all") / "index.parquet").num_rows
        pairs = list(islice(_labelled_pairs(world, set(self.split.labels)), as_many))
        if len(pairs) < as_many:
            raise RuntimeError(f"{world}: found {len(pairs)} labelled masks of {as_many}; render more scenes")
        return self._shard("labelled", pairs)

    def told(self) -> Path:
        """Ground-truth masks with the captions' nouns, bound by the truth about the captions: no mining."""
        return self._shard("told", _told_pairs(self._training_world()))

    def _shard(self, name: str, samples: Iterable[Sample]) -> Path:
        """A folder with one shard in the minimal format of docs/shards-for-training.md."""
        out = self.folder / name
        if not out.is_dir():
            unfinished = out.with_suffix(".unfinished")
            unfinished.mkdir(parents=True, exist_ok=True)
            with (unfinished / "00000.tar").open("wb") as file:
                write_shard(samples, file)
            unfinished.rename(out)
        return out

    def _training_world(self) -> Path:
        stuff = tuple(stuff.name for stuff in load_vocabulary().stuff)
        return self._world("training", self.size.scenes, 10_000, WorldConfig(mention=(*self.split.seen, *stuff)))

    def _world(self, name: str, scenes: int, seed: int, config: WorldConfig) -> Path:
        return rendered(self.folder / name, scenes, seed + self.seed, config, f"seed {self.seed}", self.console)


def rendered(out: Path, scenes: int, seed: int, config: WorldConfig | None, what: str, console: Console) -> Path:
    """A world in a folder, rendered if it is not there yet; `what` begins the lines of its progress."""
    if not (out / "classes.json").is_file():
        with Activity(console) as activity:
            told = partial(activity, f"{what}: rendering {out.name}", total=scenes)
            told(0)
            write_world(out, scenes, seed, config, os.cpu_count() or 1, told)
    return out


def regions_in(world: Path, *files: str) -> CocoRegions:
    """Ground truth of a world: its objects, or the files named."""
    annotations = tuple(str(world / file) for file in files or ("instances.json",))
    return CocoRegions(images=str(world / "images"), annotations=annotations)


def _labelled_pairs(world: Path, labels: set[str]) -> Iterator[Sample]:
    for picture in GroundTruth(regions_in(world)).pictures():
        for number, (name, rle) in enumerate(picture.regions):
            if name in labels:
                yield _pair(f"{Path(picture.file).stem}-{number:02}", picture.pixels, rle.decode(), name)


def _told_pairs(world: Path) -> Iterator[Sample]:
    """One pair per name that a scene's captions mention: the first mention, and all that it means."""
    told: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for caption in json.loads((world / "truth.json").read_bytes())["captions"]:
        for noun in caption["nouns"]:
            told[caption["image_id"]].setdefault(noun["name"], noun["text"])
    for picture in GroundTruth(regions_in(world, "instances.json", "stuff.json")).pictures():
        stem = Path(picture.file).stem
        for number, (name, text) in enumerate(told[int(stem)].items()):
            masks = [rle.decode() for region, rle in picture.regions if region == name]
            yield _pair(f"{stem}-{number:02}", picture.pixels, np.logical_or.reduce(masks), text)


def _pair(key: str, pixels: NDArray[np.uint8], mask: NDArray[np.bool_], noun: str) -> Sample:
    left, top, right, bottom = add_margin(tight_box(mask), _MARGIN, *mask.shape)
    crop, keep = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels[top:bottom, left:right]).save(crop, "JPEG", quality=95, subsampling=0)
    Image.fromarray(mask[top:bottom, left:right]).save(keep, "PNG")
    return Sample(key, {"jpg": crop.getvalue(), "mask.png": keep.getvalue(), "txt": noun.encode()})
