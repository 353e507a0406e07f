"""Pairs per second of the shard loader over those of stock open_clip's webdataset pipeline, on the same shards.

    python -m benchmarks.loader [--shards BUILD] [--images 300] [--workers 2] [--pairs 6000] [--rounds 3]

Without --shards a world is rendered and mined first, with its own masks and a CLIP of random weights. The loaders take
turns. Stock open_clip crops, resizes and normalises the whole picture and tokenises the text; ours decodes the mask,
cuts and fills the region, and gives image and mask; it does not tokenise, since a noun's tokens are needed once a run,
not once a pair. "stock, no tokens" is the former without its tokenizer.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from benchmarks.report import MASKMINE, machine, measure
from benchmarks.tiny_clip import save_tiny_clip

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def mined_world(folder: Path, images: int) -> Path:
    """A build of a rendered world, by its ground-truth masks, in four shards."""
    world = folder / "world"
    measure([*MASKMINE, "world", "--out", str(world), "--images", str(images), "--seed", "0"])
    values = {
        "version": 2,
        "kind": "build",
        "source": {
            "kind": "coco",
            "images": str(world / "images"),
            "captions": str(world / "captions.json"),
            "masks": [str(world / "instances.json")],
        },
        "proposals": {"proposer": {"kind": "ground_truth"}},
        "nouns": {"extractor": {"kind": "spacy"}},
        "matching": {"clip": {"model": f"local-dir:{save_tiny_clip(folder / 'clip')}"}},
        "shards": {"images_per_shard": -(-images // 4)},
        "run": {"runner": "loop", "cache": "none"},
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(values))
    measure([*MASKMINE, "build", str(folder / "build.yaml"), "--out", str(folder / "build")])
    return folder / "build"


def timed(batches: Any, pairs: int, batch_size: int) -> float:  # noqa: ANN401 - any loader
    """Pairs a second after the first batch, which pays for the start of the workers."""
    got, start = 0, 0.0
    for batch in batches:
        if not start:
            start = time.perf_counter()
            continue
        got += len(batch[0]) if isinstance(batch, list | tuple) else len(batch)
        if got >= pairs:
            break
    if got < pairs - batch_size:
        raise RuntimeError(f"the loader ended after {got} pairs; expected {pairs}")
    return got / (time.perf_counter() - start)


def ours(build: Path, options: Namespace) -> float:
    from stages.clip import ClipInput
    from train.data.loader import PairLoader
    from train.data.pair_index import index_pairs
    from train.data.samples import DataConfig, ShardSet

    sets = (ShardSet(shards=(str(build),)),)
    config = DataConfig(sets=sets, workers=options.workers)
    loader = PairLoader(index_pairs(sets), config, ClipInput(options.size, MEAN, STD), options.batch, seed=0)
    steps = 1 + -(-options.pairs // options.batch)
    return timed(loader.batches(0, steps), options.pairs, options.batch)


def stock(build: Path, options: Namespace, tokens: bool) -> float:
    import open_clip

    if (
        "pandas" not in sys.modules and importlib.util.find_spec("pandas") is None
    ):  # imported for CSV files, which nobody reads here
        sys.modules["pandas"] = ModuleType("pandas")
    from open_clip_train.data import get_wds_dataset

    tokenizer: Callable[[str], Any] = open_clip.get_tokenizer("ViT-B-16") if tokens else lambda text: [0]
    preprocess = open_clip.image_transform(options.size, is_train=True, mean=MEAN, std=STD)
    args = Namespace(
        train_data="::".join(str(path) for path in sorted((build / "shards").glob("*.tar"))),
        train_num_samples=options.pairs + 2 * options.batch * max(options.workers, 1),
        train_data_upsampling_factors=None,
        dataset_resampled=True,  # shards again and again, as one epoch of a few hundred pairs is over at once
        seed=0,
        batch_size=options.batch,
        workers=options.workers,
        world_size=1,
    )
    found = get_wds_dataset(args, preprocess, is_train=True, tokenizer=tokenizer)
    return timed(found.dataloader, options.pairs, options.batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shards", type=Path, help="a build's folder")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    loaders: dict[str, Callable[[Path], float]] = {
        "ours": lambda build: ours(build, options),
        "stock": lambda build: stock(build, options, tokens=True),
        "stock, no tokens": lambda build: stock(build, options, tokens=False),
    }
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        build = options.shards or mined_world(Path(name), options.images)
        rates: dict[str, list[float]] = {label: [] for label in loaders}
        for _ in range(options.rounds):
            for label, loader in loaders.items():
                rates[label].append(loader(build))
    for label, found in rates.items():
        each = ", ".join(f"{rate:.0f}" for rate in found)
        ratio = statistics.median(mine / theirs for mine, theirs in zip(rates["ours"], found, strict=True))
        print(f"{label}: {statistics.median(found):.0f} pairs/s ({each}); ours is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
