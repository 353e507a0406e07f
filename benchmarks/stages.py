"""Rate of each stage alone, on real photos: one process, one thread.

    python -m benchmarks.stages [--images 40] [--data FOLDER_OF_COCO_MINI]

Figures are per second of the stage's own time in the unit's record; the second unit is measured, the first warms up.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.many_images import write_manifest, write_table
from benchmarks.report import ROOT, machine
from pipeline.manifest import BuildManifest
from pipeline.plan import make_plan, write_plan
from pipeline.steps import StepAdapter, start_unit
from pipeline.unit import BuildSpec
from stages.common import Folder, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/coco-mini")
    options = parser.parse_args()
    captions = options.data / "annotations/captions_train2017.json"
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_table(folder, options.data / "train2017", captions, 2 * options.images)
        manifest = load(BuildManifest, write_manifest(folder, table, images_per_shard=options.images))
        plan, store = make_plan(manifest), Folder(str(folder / "out"))
        write_plan(plan, store)
        spec = BuildSpec(manifest, plan.digest, store.url, None, "", plan.document.models)
        adapter = StepAdapter(spec)
        for number in range(2):
            unit = start_unit(spec, number, frozenset())
            adapter.run(unit)
        assert unit.receipt is not None
        seconds, photos = unit.seconds, options.images
        megabytes = unit.receipt.shard.bytes / 1e6
        read = sum(len(image.data) for image in unit.images) / 1e6
        print(f"read, hash and decode: {photos / seconds['read']:.0f} images/s, {read / seconds['read']:.0f} MB/s")
        print(f"nouns (spacy): {unit.done['captions_read'] / seconds['nouns']:.0f} captions/s")
        print(f"proposals (classical): {photos / seconds['proposals']:.2f} images/s")
        print(f"matching (tiny CLIP, 64 px): {unit.done['regions_encoded'] / seconds['matching']:.0f} regions/s")
        print(f"shards: {megabytes / seconds['shards']:.1f} MB/s, {unit.receipt.counts.pairs} pairs")
        total = sum(seconds.values())
        print("share of time: " + ", ".join(f"{stage} {spent / total:.0%}" for stage, spent in seconds.items()))


if __name__ == "__main__":
    main()
