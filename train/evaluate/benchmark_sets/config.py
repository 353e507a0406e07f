"""Where a set of pictures with labels lies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.common import Config, Location

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
