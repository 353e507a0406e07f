"""Peak memory of a build at 80 and at 800 images: it must not grow with the dataset.

    python -m benchmarks.memory [--images 80 800] [--data FOLDER_OF_COCO_MINI]

The plain loop: driver and worker are one process, so its peak is that of all parts together.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.many_images import write_manifest, write_table
from benchmarks.report import MASKMINE, ROOT, machine, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, nargs="+", default=[80, 800])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/coco-mini")
    options = parser.parse_args()
    captions = options.data / "annotations/captions_train2017.json"
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for images in sorted(options.images):
            table = write_table(folder, options.data / "train2017", captions, images)
            manifest = write_manifest(folder, table, images_per_shard=40)
            out = folder / f"out{images}"
            found = measure([*MASKMINE, "build", str(manifest), "--out", str(out), "--runner", "loop"])
            print(f"{images} images: peak {found.peak_mib:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
