"""Average recall of class-agnostic mask proposals on photos with COCO-style instances, with two simple baselines.

    OMP_NUM_THREADS=1 python -m benchmarks.proposal_recall --images DIR --instances FILE.json

Every set of proposals goes through the same rules (`stages.proposals.refine`, defaults, only the maximum count
varies). Recall is class-agnostic and leaves crowd regions out. For each object the best IoU among the photo's first N
proposals counts; recall at a threshold is the share of objects whose best IoU reaches it; AR is its mean over 0.50,
0.55 ... 0.95. COCO's own evaluation matches one to one. As a proposal cannot have an IoU above 0.5 with two objects
that do not overlap, the two agree but for objects that overlap each other. Sizes are COCO's: by the annotation's
`area`, small below 32 x 32 pixels, large from 96 x 96. Time is processor time of one photo, proposing and refining, in
a plain loop; set the number of threads to one, or their times add up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from skimage.segmentation import felzenszwalb

from stages.common import ImageRecord, Proposal, Rle
from stages.proposals.classical import ClassicalProposals, ClassicalProposer
from stages.proposals.refine import MaskRules, refine

Photo = tuple[Path, list[Rle]]
Method = Callable[[NDArray[np.uint8]], list[Proposal]]
COCO_MINI = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco-mini"
THRESHOLDS = np.arange(0.5, 0.96, 0.05)
BUDGETS = (10, 100, 1000)
SMALL_PX, LARGE_PX = 32**2, 96**2


def classical(max_proposals: int, max_iou: float) -> Method:
    proposer = ClassicalProposer(ClassicalProposals(max_proposals=max_proposals, max_iou=max_iou))
    return lambda image: proposer.propose(ImageRecord("", "", ()), image)


def flat_regions(image: NDArray[np.uint8]) -> list[Proposal]:
    """Baseline: the regions of five graph-based segmentations as they are, large ones first."""
    proposals = []
    for scale in (50, 100, 200, 400, 800):
        labels = felzenszwalb(image, scale=scale, sigma=0.8, min_size=50)
        area_px = np.bincount(labels.ravel())
        for region in np.flatnonzero(area_px >= 0.001 * labels.size):
            score = float(area_px[region]) / labels.size
            proposals.append(Proposal(Rle.encode(labels == region), score, "flat"))
    return proposals


def grid_shapes(image: NDArray[np.uint8]) -> list[Proposal]:
    """Baseline that does not look: boxes and ellipses of three proportions on grids, large ones first."""
    height, width = image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    proposals: list[Proposal] = []
    for part in (1.0, 0.7, 0.5, 0.35, 0.25, 0.18):
        centres = np.linspace(part / 2, 1 - part / 2, max(1, round(1.5 / part) - 1))
        for wider, y, x in itertools.product((1.0, 0.6, 1.6), centres, centres):
            # Distances from the centre in units of the shape's half width and half height.
            across = np.abs(columns - width * x) / (width * part * wider**0.5 / 2)
            down = np.abs(rows - height * y) / (height * part / wider**0.5 / 2)
            for mask in (across**2 + down**2 <= 1, np.maximum(across, down) <= 1):
                proposals.append(Proposal(Rle.encode(mask), 1 / (2 + len(proposals)), "grid"))
    return proposals


def best_overlaps(kept: list[Proposal], objects: list[Rle]) -> NDArray[np.float64]:
    """[budgets, objects]: each object's best IoU among the first N proposals."""
    if not kept or not objects:
        return np.zeros((len(BUDGETS), len(objects)))
    iou = coco_mask.iou([item.rle.to_coco() for item in kept], [item.to_coco() for item in objects], [0] * len(objects))
    return np.stack([iou[:budget].max(axis=0) for budget in BUDGETS])


def measure(name: str, method: Method, photos: list[Photo], area_px: NDArray[np.float64]) -> None:
    overlaps, seconds = [], 0.0
    for file, objects in photos:
        with Image.open(file) as opened:
            image = np.asarray(opened.convert("RGB"))
        start = time.process_time()
        kept, _ = refine(method(image), MaskRules(max_count=max(BUDGETS)))
        seconds += time.process_time() - start
        overlaps.append(best_overlaps(kept, objects))
    best = np.concatenate(overlaps, axis=1)
    recall = (best[:, :, None] >= THRESHOLDS).mean(axis=2)  # [budgets, objects]
    sizes = (area_px < SMALL_PX, (area_px >= SMALL_PX) & (area_px < LARGE_PX), area_px >= LARGE_PX)
    hundred = BUDGETS.index(100)
    cells = [f"{(best[hundred] >= 0.5).mean():.3f}", *(f"{recall[row].mean():.3f}" for row in range(len(BUDGETS)))]
    cells += [f"{recall[hundred][size].mean():.3f}" if size.any() else "-" for size in sizes]
    print("| " + " | ".join([name, *cells, f"{seconds / len(photos):.2f}"]) + " |", flush=True)


def read(images: Path, instances: Path, limit: int | None, half: str) -> tuple[list[Photo], list[float]]:
    content = json.loads(instances.read_text(encoding="utf-8"))
    entries = sorted(content["images"], key=lambda entry: int(entry["id"]))
    entries = entries[{"all": 0, "even": 0, "odd": 1}[half] :: 1 if half == "all" else 2][:limit]
    photos, area_px = [], []
    for entry in entries:
        objects = [
            item for item in content["annotations"] if item["image_id"] == entry["id"] and not item.get("iscrowd", 0)
        ]
        size = (int(entry["height"]), int(entry["width"]))
        photos.append((images / entry["file_name"], [Rle.from_coco(item["segmentation"], *size) for item in objects]))
        area_px += [float(item["area"]) for item in objects]
    return photos, area_px


def yardstick(photos: list[Photo]) -> float:
    """Processor seconds of one plain felzenszwalb call (scale 100) at full size, mean over the first ten photos."""
    seconds = 0.0
    for file, _ in photos[:10]:
        with Image.open(file) as opened:
            image = np.asarray(opened.convert("RGB"))
        start = time.process_time()
        felzenszwalb(image, scale=100, sigma=0.8, min_size=50)
        seconds += time.process_time() - start
    return seconds / len(photos[:10])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=COCO_MINI / "train2017")
    parser.add_argument("--instances", type=Path, default=COCO_MINI / "annotations" / "instances_train2017.json")
    parser.add_argument("--limit", type=int, help="first photos only, by id")
    parser.add_argument("--half", choices=("all", "even", "odd"), default="all", help="every second photo, by id")
    parser.add_argument("--only-classical", action="store_true", help="without the baselines")
    arguments = parser.parse_args()
    photos, area_px = read(arguments.images, arguments.instances, arguments.limit, arguments.half)
    print(f"{len(photos)} photos, {len(area_px)} objects; one felzenszwalb call: {yardstick(photos):.2f} s\n")
    print("| proposals | R@100, IoU 0.5 | AR@10 | AR@100 | AR@1000 | small | medium | large | s/photo |")
    print("|---|---|---|---|---|---|---|---|---|")
    methods = {"classical": classical(200, 0.7), "classical, max_proposals 1000, max_iou 0.9": classical(1000, 0.9)}
    if not arguments.only_classical:
        methods |= {"flat regions": flat_regions, "grid boxes and ellipses": grid_shapes}
    for name, method in methods.items():
        measure(name, method, photos, np.array(area_px))


if __name__ == "__main__":
    main()
