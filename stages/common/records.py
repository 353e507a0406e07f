"""The records that flow through a build: what goes into a stage and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from stages.common.runs import Runs


@dataclass(frozen=True, slots=True)
class Rle:
    """A binary mask as COCO compressed run-length encoding.

    Attributes:
        height, width: size of the image that the mask lies on, in pixels.
        counts: COCO's compressed counts as ASCII text.
    """

    height: int
    width: int
    counts: str

    @classmethod
    def encode(cls, mask: NDArray[np.bool_]) -> Rle:
        """Encodes a mask of shape [H, W], bool or {0, 1}."""
        if mask.ndim != 2:
            raise ValueError(f"mask: expected shape [H, W], got {list(mask.shape)}")
        coded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return cls(mask.shape[0], mask.shape[1], coded["counts"].decode("ascii"))

    @classmethod
    def from_coco(cls, segmentation: Mapping[str, Any] | list[list[float]], height: int, width: int) -> Rle:
        """Reads COCO's three forms: compressed RLE, uncompressed RLE, polygons (pixels, x y x y ...).

        Runs are taken as they are: pycocotools does not notice runs that end before the image does, and then
        decodes to undefined pixels. Input that nobody vouches for is checked first, see stages.proposals.provided.

        Raises:
            ValueError: the RLE's own size is not [height, width], or no polygon has three points.
        """
        if isinstance(segmentation, Mapping):
            size = [int(value) for value in segmentation["size"]]
            if size != [height, width]:
                raise ValueError(f"mask has size {size} (height, width), the image has {[height, width]}")
            counts = segmentation["counts"]
            if isinstance(counts, list):
                coded = coco_mask.frPyObjects({"size": size, "counts": counts}, height, width)
            else:
                coded = {"size": size, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
        else:
            polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
            if not polygons:
                raise ValueError("a polygon needs at least three points")
            coded = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return cls(height, width, coded["counts"].decode("ascii"))

    def to_coco(self) -> dict[str, Any]:
        """{"size": [H, W], "counts": str}, as COCO result files have it; ready for JSON and pycocotools."""
        return {"size": [self.height, self.width], "counts": self.counts}

    def decode(self) -> NDArray[np.bool_]:
        """The mask, bool, [H, W]."""
        decoded: NDArray[np.bool_] = coco_mask.decode(self.to_coco()).astype(bool)
        return decoded

    def runs(self) -> Runs:
        """Where the mask is set: its box, and its part in a box, without decoding it at the image's size."""
        return Runs.of(self.counts, self.height)

    @property
    def area_px(self) -> int:
        """Number of pixels in the mask."""
        return int(coco_mask.area(self.to_coco()))

    @property
    def box_xyxy_px(self) -> tuple[int, int, int, int]:
        """Tight box (left, top, right, bottom), right and bottom exclusive; all 0 for an empty mask."""
        left, top, width, height = (int(value) for value in coco_mask.toBbox(self.to_coco()))
        return left, top, left + width, top + height


@dataclass(frozen=True, slots=True)
class SourceMask:
    """A mask that came with the input: ground truth, or a proposal computed elsewhere.

    Attributes:
        segmentation: COCO polygons, or RLE with compressed or uncompressed counts; or either as JSON text.
        label: class name, where the input has one.
        score: in [0, 1]; 1 for ground truth.
        is_crowd: COCO's iscrowd flag.
    """

    segmentation: Any
    label: str | None = None
    score: float = 1.0
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One captioned image of the input.

    Attributes:
        image_id: unique in the build.
        file: path or URL of the image, or of the tar or Parquet file that holds it.
        captions: texts as they came; a caption's number is its index here.
        offset, nbytes: where the image lies in a tar; None otherwise.
        row: which row of a Parquet file holds the image, from 0; None otherwise.
        masks: masks that came with the image.
        mask_size_hw_px: (height, width) that polygons among `masks` refer to; None if the input does not say.
        license: name or URL, where the input has one.
    """

    image_id: str
    file: str
    captions: tuple[str, ...]
    offset: int | None = None
    nbytes: int | None = None
    row: int | None = None
    masks: tuple[SourceMask, ...] = ()
    mask_size_hw_px: tuple[int, int] | None = None
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A class-agnostic mask proposal.

    Attributes:
        rle: the mask, at the image's full size.
        score: objectness in [0, 1].
        source: which proposer made it, e.g. ``classical`` or ``mask2former``.
        label: the proposer's own class name, where it has one; mining never uses it as the noun.
    """

    rle: Rle
    score: float
    source: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun of a caption, with where it came from.

    Attributes:
        surface: the caption's own words in lower case, single spaces.
        canonical: singular dictionary form, beside the surface form and never instead of it.
        caption_number: index of the caption in its image's captions.
        start, end: character span of the surface form in the caption, end exclusive.
        rule: which rule found it.
    """

    surface: str
    canonical: str
    caption_number: int
    start: int
    end: int
    rule: str


@dataclass(frozen=True, slots=True)
class DroppedNoun:
    """A candidate that is no noun of a region, and why: reasons are short stable codes, and are counted."""

    surface: str
    caption_number: int
    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class CaptionNouns:
    """What one caption gave."""

    nouns: tuple[Noun, ...]
    dropped: tuple[DroppedNoun, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A noun bound to a proposal.

    Attributes:
        noun: index into the image's nouns.
        proposal: index into the image's proposals.
        score_cosine: cosine of the region's and the noun's CLIP embeddings, in [-1, 1].
        margin_noun: score minus that of the best other noun on this mask; None if there is no other noun.
        margin_mask: score minus that of the best other mask for this noun; None if there is no other mask.
    """

    noun: int
    proposal: int
    score_cosine: float
    margin_noun: float | None
    margin_mask: float | None


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One bad input, set aside with stage and reason.

    Attributes:
        item: ``image`` or ``caption``.
        caption_number: index of the caption for ``item == "caption"``.
        stage: which stage quarantined it.
        reason: short stable code.
        message: what was found and what was expected.
        input_sha256: hash of the image's bytes or the caption's UTF-8; empty if it could not be read.
    """

    image_id: str
    file: str
    item: str
    caption_number: int | None
    stage: str
    reason: str
    message: str
    input_sha256: str


Mention = tuple[int, int, int]
"""Caption number, start, end of a noun's words."""


def merge_mentions(nouns: Iterable[Noun]) -> list[tuple[Noun, list[Mention]]]:
    """Every surface form once, by its first mention, with all places where it is mentioned.

    Surface forms, not canonical ones, are what CLIP is shown and trained on: 'dog' and 'dogs' stay two nouns.
    """
    merged: dict[str, tuple[Noun, list[Mention]]] = {}
    for noun in nouns:
        mentions = merged.setdefault(noun.surface, (noun, []))[1]
        mentions.append((noun.caption_number, noun.start, noun.end))
    return list(merged.values())
