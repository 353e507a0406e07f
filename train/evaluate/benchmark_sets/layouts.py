"""What each benchmark looks like on a disk, as downloaded and as the field's scripts convert it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from stages.common import Config, Location
from train.evaluate.benchmark_sets.files import Decoder, decode_ade, decode_labels, decode_mat

BenchmarkKind = Literal["a150", "a847", "pc59", "pc459", "pas20", "coco_stuff171"]


class BenchmarkSet(Config):
    """A benchmark of the field, in the layout that it is downloaded in; see docs/benchmark-sets.md.

    Attributes:
        root: its folder.
        partial: take the pictures that are there, however few. Figures of a part are no benchmark.
    """

    kind: BenchmarkKind
    root: Location = Field(min_length=1)
    partial: bool = False


class LabelFiles(Config):
    """Pictures and semantic label maps.

    Attributes:
        images: folder of the pictures; a label map has its picture's name, and the ending .png.
        labels: folder of the label maps, 8 or 16 bits.
        classes: JSON file, a list of {"id", "name"}, and ``synonyms`` or ``forms``, other words for it; pixels of ids
            that it lacks are ignored.
        ignore: ids of classes that are left out; their pixels are ignored, too.
    """

    images: Location = Field(min_length=1)
    labels: Location = Field(min_length=1)
    classes: Location = Field(min_length=1)
    ignore: tuple[int, ...] = ()


class LabelFolder(LabelFiles):
    """A folder of one's own."""

    kind: Literal["folder"]


SetConfig = Annotated[BenchmarkSet | LabelFolder, Field(discriminator="kind")]


@dataclass(frozen=True)
class Layout:
    """One way in which a set's files lie below its root.

    Attributes:
        pictures: folder of the pictures (.jpg).
        labels: folder of the label maps.
        ending: of the label maps; what stands before it is the picture's name without .jpg.
        decode: reads a label map.
        numbers: what a label map holds: the data set's own ids, or the classes' numbers counted from 0 or from 1.
        lists: files of the split's names, one per line; the first that is there holds. None: the folders are the split.
        shared: the folder of the pictures holds other splits as well.
        nested: the files lie in folders of folders.
        short_side_px: larger pictures and maps are resized to this shorter side.
        class_order: file that says in which order the classes are numbered, if it is there.
    """

    pictures: str
    labels: str
    ending: str = ".png"
    decode: Decoder = decode_labels
    numbers: Literal["ids", "from 0", "from 1"] = "ids"
    lists: tuple[str, ...] = ()
    shared: bool = False
    nested: bool = False
    short_side_px: int | None = None
    class_order: str | None = None

    @property
    def tree(self) -> str:
        """For a person, who sees what is expected where."""
        inside = "**/" if self.nested else ""
        lists = f" + {' or '.join(self.lists)}" if self.lists else ""
        return f"{self.pictures}/{inside}*.jpg + {self.labels}/{inside}*{self.ending}{lists}"


@dataclass(frozen=True)
class Facts:
    """What is known about a benchmark.

    Attributes:
        title: as papers call it.
        folder: what its root is usually called.
        pictures: how many the split has; where the field's lists differ, all their lengths, the official one first.
        keys: format of the pictures' names, numbered from 1 without a gap, if they are.
        page: where to get it.
        terms: under which terms.
        layouts: tried in this order.
    """

    title: str
    folder: str
    pictures: tuple[int, ...]
    page: str
    terms: str
    layouts: tuple[Layout, ...]
    keys: str | None = None


_ADE_TERMS = "for non-commercial research and education, see the page"
_VOC_TERMS = "the photos are from flickr, whose terms hold, see the page"
_CONTEXT_LISTS = ("pascalcontext_val.txt", "ImageSets/SegmentationContext/val.txt", "ImageSets/Main/val.txt")
_CONTEXT_PAGE = (
    "https://www.cs.stanford.edu/~roozbeh/pascal-context/ (trainval.tar.gz) and "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (VOCtrainval_03-May-2010.tar)"
)
_CONTEXT_MATS = Layout("JPEGImages", "trainval", ".mat", decode_mat, lists=_CONTEXT_LISTS, shared=True)

FACTS: dict[BenchmarkKind, Facts] = {
    "a150": Facts(
        title="ADE20K-150 (SceneParse150), validation",
        folder="ADEChallengeData2016",
        pictures=(2000,),
        keys="ADE_val_{:08d}",
        page="http://sceneparsing.csail.mit.edu/ (ADEChallengeData2016.zip)",
        terms=_ADE_TERMS,
        layouts=(
            Layout("images/validation", "annotations/validation"),
            Layout("images", "annotations"),
        ),
    ),
    "a847": Facts(
        title="ADE20K-847 (ADE20K_2021_17_01), validation",
        folder="ADE20K_2021_17_01",
        pictures=(2000,),
        keys="ADE_val_{:08d}",
        page="https://groups.csail.mit.edu/vision/datasets/ADE20K/ (registration needed)",
        terms=_ADE_TERMS,
        layouts=(
            Layout("images_detectron2/validation", "annotations_detectron2/validation", ".tif", numbers="from 0"),
            Layout("images_detectron2/validation", "annotations_detectron2/validation", ".png", numbers="from 0"),
            Layout(
                "images/ADE/validation",
                "images/ADE/validation",
                "_seg.png",
                decode_ade,
                nested=True,
                short_side_px=512,
            ),
        ),
    ),
    "pc59": Facts(
        title="Pascal Context, 59 classes, val",
        folder="VOC2010",
        pictures=(5105, 5104),
        page=_CONTEXT_PAGE,
        terms=_VOC_TERMS,
        layouts=(
            _CONTEXT_MATS,
            Layout("JPEGImages", "SegmentationClassContext", numbers="from 1", lists=_CONTEXT_LISTS, shared=True),
            Layout("images/validation", "annotations_ctx59/validation", numbers="from 0"),
            Layout(
                "JPEGImages",
                "annotations_detectron2/pc59_val",
                numbers="from 0",
                shared=True,
                class_order="59_labels.txt",
            ),
        ),
    ),
    "pc459": Facts(
        title="Pascal Context, 459 classes, val",
        folder="VOC2010",
        pictures=(5105, 5104),
        page=_CONTEXT_PAGE,
        terms=_VOC_TERMS,
        layouts=(
            _CONTEXT_MATS,
            Layout("JPEGImages", "annotations_detectron2/pc459_val", ".tif", numbers="from 0", shared=True),
            Layout("JPEGImages", "annotations_detectron2/pc459_val", ".png", numbers="from 0", shared=True),
            Layout("images/validation", "annotations_ctx459/validation", ".tif", numbers="from 0"),
        ),
    ),
    "pas20": Facts(
        title="Pascal VOC 2012, 20 classes, val",
        folder="VOC2012",
        pictures=(1449,),
        page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar)",
        terms=_VOC_TERMS,
        layouts=(Layout("JPEGImages", "SegmentationClass", lists=("ImageSets/Segmentation/val.txt",), shared=True),),
    ),
    "coco_stuff171": Facts(
        title="COCO-Stuff, 171 classes, val2017",
        folder="coco",
        pictures=(5000,),
        page=(
            "https://github.com/nightrome/cocostuff (stuffthingmaps_trainval2017.zip) and "
            "https://cocodataset.org/#download (val2017.zip)"
        ),
        terms="labels CC BY 4.0; the photos are from flickr, whose terms hold",
        layouts=(
            Layout("val2017", "stuffthingmaps/val2017"),
            Layout("images/val2017", "annotations/val2017"),
            Layout("val2017", "stuffthingmaps_detectron2/val2017", numbers="from 0"),
            Layout("images/val2017", "annotations_detectron2/val2017", numbers="from 0"),
        ),
    ),
}
