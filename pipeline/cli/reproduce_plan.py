"""What `maskmine reproduce` runs, what it needs, where that is to be had, and the published numbers: facts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BenchmarkName = Literal["a-847", "pc-459", "a-150", "pc-59", "pas-20"]
ModelName = Literal["swin-b", "r101c"]
MANIFESTS = Path(__file__).parents[2] / "manifests"
"""They come with the source, not with an installed package."""
BUILD_MANIFEST = "build/coco-paper.yaml"
MASKFORMER = "facebook/maskformer-swin-base-coco"
COCO_PAGE = (
    "train2017.zip and annotations_trainval2017.zip of https://cocodataset.org/#download (labels CC BY 4.0; the photos "
    "are from flickr, whose terms hold)"
)
CHECKPOINT_PAGE = "https://github.com/facebookresearch/ov-seg/blob/main/GETTING_STARTED.md"


@dataclass(frozen=True)
class Benchmark:
    """A set that numbers are published for.

    Attributes:
        title: as papers call it.
        roots: where it may lie below --data; the first that is there is taken.
        clip_weight: w of the ensemble, as in the published commands.
    """

    title: str
    roots: tuple[str, ...]
    clip_weight: float


@dataclass(frozen=True)
class PublishedModel:
    """One of the two released systems.

    Attributes:
        title: its backbone and its CLIP.
        checkpoint: the released file's name; a folder that it was converted to has the name without the ending.
        md5: how the file's MD5 begins, as its page says.
        clip: the CLIP that was adapted, as open_clip calls it.
        mask_threshold: where soft masks are cut.
        recipe: manifest that adapts this CLIP, FT then MPT.
        miou_percent: as published, by benchmark.
    """

    title: str
    checkpoint: str
    md5: str
    clip: str
    mask_threshold: float
    recipe: str
    miou_percent: Mapping[BenchmarkName, float]

    def where(self) -> str:
        """Where the checkpoint is to be had."""
        return (
            f"Linked in {CHECKPOINT_PAGE} (Google Drive: fetch it by hand; its MD5 begins with {self.md5}; "
            "CC BY-NC 4.0). "
            "The folder that `maskmine export --layout ovseg_folder` makes of it will do, too"
        )


_CONTEXT_ROOTS = ("VOCdevkit/VOC2010", "VOC2010", "pascal_ctx_d2")
BENCHMARKS: Mapping[BenchmarkName, Benchmark] = {
    "a-847": Benchmark("A-847", ("ADE20K_2021_17_01",), 0.7),
    "pc-459": Benchmark("PC-459", _CONTEXT_ROOTS, 0.6),
    "a-150": Benchmark("A-150", ("ADEChallengeData2016",), 0.7),
    "pc-59": Benchmark("PC-59", _CONTEXT_ROOTS, 0.6),
    "pas-20": Benchmark("PAS-20", ("VOCdevkit/VOC2012", "VOC2012"), 0.45),
}
# Numbers: OVSeg, arXiv 2210.04150, and the page of the checkpoints. Their mIoU is the sum over classes with ground
# truth, divided by the number of classes with ground truth or prediction.
MODELS: Mapping[ModelName, PublishedModel] = {
    "swin-b": PublishedModel(
        title="Swin-B + ViT-L/14",
        checkpoint="ovseg_swinbase_vitL14_ft_mpt.pth",
        md5="526080",
        clip="ViT-L-14",
        mask_threshold=0.4,
        recipe="train/coco-vit-l-14.yaml",
        miou_percent={"a-847": 9.0, "pc-459": 12.4, "a-150": 29.6, "pc-59": 55.7, "pas-20": 94.5},
    ),
    "r101c": PublishedModel(
        title="R101c + ViT-B/16",
        checkpoint="ovseg_R101c_vitB16_ft_mpt.pth",
        md5="c746f4",
        clip="ViT-B-16",
        mask_threshold=0.5,
        recipe="train/coco-vit-b-16.yaml",
        miou_percent={"a-847": 7.1, "pc-459": 11.0, "a-150": 24.8, "pc-59": 53.3, "pas-20": 92.6},
    ),
}
