"""What a million photos cost, and what bounds a cluster: FLOPs counted on the models, times from measured rates.

    python -m benchmarks.scale [--gpu-tflops 312] [--utilisation 0.4] [--decode 374] [--cut 330] [--nouns 500]
                               [--masks 430] [--encode 250] [--store-mb-s 1000] [--cores-per-gpu 8]

Rates are per core, of the machine in question: photos decoded (benchmarks.stages), regions cut, and masks enlarged to
the photo and run-length encoded (`--rates` measures both), captions read (benchmarks.nouns_quality), pairs encoded into
a shard (benchmarks.stages); the rest describes the cluster. FLOPs are those of one forward pass, two per multiplication
and addition, counted by torch on networks built from their configurations without weights (`--count` counts them anew).

A model of times, not a measurement: it says which part is the bottleneck, not how fast a cluster will be.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

REGION_GFLOPS = {"ViT-B-16": 35.1, "ViT-L-14": 162.0}
"""Of CLIP's image tower, for one region of 224 px."""
PROPOSER_GFLOPS = {"maskformer, Swin-B, 640 x 864": 497.1}
"""Of a mask generator, for one photo."""
PHOTO_KB, SAMPLE_KB = 163.0, 26.0
"""Of COCO's train2017; and of a pair in a shard."""
PHOTOS_PER_UNIT = 256


@dataclass(frozen=True)
class Work:
    """A manifest's work on one photo.

    Attributes:
        manifest: its name in manifests/build.
        proposer, clip: keys of the tables above.
        regions, captions, pairs: of a photo.
        requests: reads of a store; a photo in a tar shares one with the photos beside it.
        passes: CLIP's forward passes of a whole region's cost; as many as regions, if not given.
    """

    manifest: str
    proposer: str
    clip: str
    regions: float
    captions: float
    pairs: float
    requests: float = 1.0
    passes: float | None = None

    @property
    def gflops(self) -> float:
        passes = self.regions if self.passes is None else self.passes
        return PROPOSER_GFLOPS[self.proposer] + passes * REGION_GFLOPS[self.clip]


WORKS = (
    Work("coco-paper.yaml", "maskformer, Swin-B, 640 x 864", "ViT-B-16", 100, 1, 3),
    Work("coco-paper.yaml, cascade", "maskformer, Swin-B, 640 x 864", "ViT-B-16", 100, 1, 3, passes=23),
    Work("coco-cluster.yaml", "maskformer, Swin-B, 640 x 864", "ViT-B-16", 100, 5, 6),
    Work("img2dataset.yaml", "maskformer, Swin-B, 640 x 864", "ViT-B-16", 100, 1, 2, 1 / 100),
)
"""With MaskFormer's FLOPs in the place of Mask2Former's and SAM's, which differ less than everything else."""


def count() -> None:
    """Prints the FLOPs of the networks, counted on tensors without content."""
    import open_clip
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, SwinConfig

    def told(name: str, model: torch.nn.Module, *shape: int) -> None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(shape, device="meta"))
        print(f"{name}: {counter.get_total_flops() / 1e9:.1f} GFLOP")

    for name in REGION_GFLOPS:
        told(name, open_clip.CLIP(**open_clip.get_model_config(name)).to("meta").visual, 1, 3, 224, 224)
    swin_b = SwinConfig(
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        image_size=384,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    with torch.device("meta"):
        maskformer = MaskFormerForInstanceSegmentation(MaskFormerConfig(backbone_config=swin_b)).eval()
    told("maskformer, Swin-B, 640 x 864", maskformer, 1, 3, 640, 864)


def rates() -> None:
    """Prints how many masks of a photo of 480 x 640 a core enlarges and encodes, and how many regions it cuts."""
    import time

    import numpy as np
    import torch

    from benchmarks.report import machine
    from benchmarks.segment import soft_queries
    from stages.clip_config import RegionRules
    from stages.common import limit_threads
    from stages.regions import cut_regions

    limit_threads(1)
    queries, photo = soft_queries(100), np.zeros((480, 640, 3), np.uint8)
    with torch.inference_mode():
        start = time.perf_counter()
        rles = [rle for rle, _ in queries.binary_masks(range(100), 0.5, 480, 640)]
        masks_s = (time.perf_counter() - start) / len(rles)
    rles = [rle for rle in rles if rle.area_px]
    start = time.perf_counter()
    cut_regions(photo, rles, 224, (122.77, 116.75, 104.09), RegionRules(), (68.5, 66.6, 70.3))
    cut_s = (time.perf_counter() - start) / len(rles)
    print(f"{machine()}\n{1 / masks_s:.0f} masks/s, {1 / cut_s:.0f} regions/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", action="store_true", help="count the networks' FLOPs, and do nothing else")
    parser.add_argument("--rates", action="store_true", help="measure --cut and --masks here, and do nothing else")
    parser.add_argument("--gpu-tflops", type=float, default=312, help="peak of a GPU in bf16; 312 is an A100's")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the peak that is reached")
    parser.add_argument("--decode", type=float, default=374, help="photos per second of a core: read, hash, decode")
    parser.add_argument("--cut", type=float, default=330, help="regions per second of a core")
    parser.add_argument(
        "--masks", type=float, default=430, help="masks per second of a core: to the photo's size, to RLE"
    )
    parser.add_argument("--nouns", type=float, default=500, help="captions per second of a core")
    parser.add_argument("--encode", type=float, default=250, help="pairs per second of a core, into a shard")
    parser.add_argument("--cores-per-gpu", type=float, default=8)
    parser.add_argument("--store-mb-s", type=float, default=1000, help="of the whole store")
    parser.add_argument("--store-requests", type=float, default=5500, help="reads per second of a prefix of the store")
    options = parser.parse_args()
    if options.count or options.rates:
        (count if options.count else rates)()
        return
    print(
        "| manifest | TFLOP per photo | GPU-hours | core-hours, regions cut on the CPU | on the GPU | read, written |"
    )
    print("|---|---|---|---|---|---|")
    for work in WORKS:
        gpu, cores, cores_gpu = seconds(work, options)
        gigabytes = f"{PHOTO_KB:.0f} GB, {work.pairs * SAMPLE_KB:.0f} GB"
        hours = " | ".join(f"{each * 1e6 / 3600:,.0f}" for each in (gpu, cores, cores_gpu))
        print(f"| {work.manifest} | {work.gflops / 1000:.1f} | {hours} | {gigabytes} |")
    print("\n| manifest | GPUs | photos per second | bound by | cores per GPU that keep it busy | store | requests/s |")
    print("|---|---|---|---|---|---|---|")
    for work in WORKS:
        for gpus in (8, 64, 512):
            print(f"| {work.manifest} | {gpus} | {cluster(work, gpus, options)} |")


def seconds(work: Work, options: argparse.Namespace) -> tuple[float, float, float]:
    """Per photo: of a GPU; of a core with regions cut on the CPU; and with regions cut on the GPU."""
    gpu = work.gflops / (1000 * options.gpu_tflops * options.utilisation)
    core = 1 / options.decode + work.regions / options.masks
    core += work.captions / options.nouns + work.pairs / options.encode
    return gpu, core + work.regions / options.cut, core


def cluster(work: Work, gpus: int, options: argparse.Namespace) -> str:
    """Columns of the second table."""
    gpu, _, core = seconds(work, options)
    megabytes = (PHOTO_KB + work.pairs * SAMPLE_KB) / 1000
    requests = work.requests + 3 / PHOTOS_PER_UNIT  # a shard, its rows and its receipt
    limits = {
        "GPUs": gpus / gpu,
        "cores": gpus * options.cores_per_gpu / core,
        "the store's bandwidth": options.store_mb_s / megabytes,
        "requests to one prefix of the store": options.store_requests / requests,
    }
    bound = min(limits, key=lambda name: limits[name])
    rate = limits[bound]
    return f"{rate:,.0f} | {bound} | {core / gpu:.2f} | {rate * megabytes:,.0f} MB/s | {rate * requests:,.0f}"


if __name__ == "__main__":
    main()
