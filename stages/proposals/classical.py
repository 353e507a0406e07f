"""Class-agnostic mask proposals without learnt weights, on a CPU: graph-based superpixels, grouped and ranked."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pydantic import Field

from stages.common import Config, ImageRecord, Proposal, Rle
from stages.proposals.classical_grouping import Grouping, MergeTree, RegionGraph, region_graph
from stages.proposals.classical_ranking import candidates, objectness, select
from stages.proposals.refine import fill_holes

# Trees that differ: all cues, borders before all, and shape alone (which joins parts of quite different colours).
GROUPINGS = (
    Grouping(colour=1, border=1, size=1, fill=1),
    Grouping(border=1, size=0.3, fill=0.3),
    Grouping(size=1, fill=1),
)


class ClassicalProposals(Config):
    """How photos are cut into proposals without a model."""

    kind: Literal["classical"] = "classical"
    working_side_px: int = Field(
        default=400, ge=32, le=2048, description="photos are shrunk to this longer side; time grows with its square"
    )
    superpixel_scale: float = Field(default=20.0, gt=0, description="greater = larger superpixels, fewer small masks")
    superpixel_min_px: int = Field(default=20, ge=1, description="smallest superpixel, in pixels of the shrunk photo")
    min_area_fraction: float = Field(
        default=0.001, ge=0, lt=1, description="smallest region, as a fraction of the image's area"
    )
    max_iou: float = Field(
        default=0.7, gt=0, le=1, description="greatest overlap of two proposals: lower = more varied, higher = denser"
    )
    max_proposals: int = Field(default=200, ge=1, description="most masks of a photo, best first")


class ClassicalProposer:
    """Proposes the nodes of several merge trees over one set of superpixels."""

    def __init__(self, config: ClassicalProposals) -> None:
        self.config = config

    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        """Proposes at most `max_proposals` masks, best first.

        Args:
            record: ignored.
            image: [H, W, 3] RGB, uint8, upright.

        Returns:
            Proposals at the image's size, best score first.
        """
        del record
        config, (height, width) = self.config, image.shape[:2]
        small = _shrink(image, config.working_side_px)
        graph = region_graph(small, config.superpixel_scale, config.superpixel_min_px)
        trees = [MergeTree(graph, grouping) for grouping in GROUPINGS]
        regions = candidates(graph, trees, config.min_area_fraction)
        score = objectness(graph, regions)
        proposals = []
        for index in select(graph, regions, score, config.max_iou, config.max_proposals):
            mask = _filled(graph, regions[index])
            proposals.append(Proposal(stretch(mask, height, width), float(score[index]), config.kind))
        return proposals


def _shrink(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """The image with a longer side of at most `side_px`: [h, w, 3], uint8."""
    height, width = image.shape[:2]
    factor = side_px / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _filled(graph: RegionGraph, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region [n] as a mask [h, w] without holes, however large: things have none, their windows and prints do."""
    mask = region[graph.labels]
    left, top = graph.box_xyxy_px[region, :2].min(axis=0).astype(int)
    right, bottom = graph.box_xyxy_px[region, 2:].max(axis=0).astype(int)
    part = mask[top:bottom, left:right]
    part[...] = fill_holes(part, part.size)
    return mask


def stretch(mask: NDArray[np.bool_], height: int, width: int) -> Rle:
    """Enlarges a mask [h, w] to [height, width] by nearest neighbours, run by run: never a full-size array.

    COCO's runs go down the columns; a column of the small mask becomes several equal columns.
    """
    rows, columns = mask.shape
    row_edge = np.arange(rows + 1) * height // rows
    column_edge = np.arange(columns + 1) * width // columns
    # Where a column's value differs from that of the pixel above; above the top and below the bottom is background.
    change = np.diff(np.pad(mask, ((1, 1), (0, 0))).view(np.int8), axis=0) != 0  # [h + 1, w]
    column, row = np.nonzero(np.repeat(change, np.diff(column_edge), axis=1).T)
    position, times = np.unique(column * height + row_edge[row], return_counts=True)
    # Foreground that goes on from the bottom of a column to the top of the next changes nothing there.
    position = position[(times == 1) & (position < height * width)]
    runs = np.diff(position, prepend=0, append=height * width).tolist()
    coded = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return Rle(height, width, coded["counts"].decode("ascii"))
