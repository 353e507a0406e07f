"""What a segmentation gives: labels, regions, files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common import Rle, escaped


@dataclass(frozen=True, slots=True)
class NamedRegion:
    """A mask and its class.

    Attributes:
        name: of the class with the highest score.
        score: p(class) with which the mask speaks for its class in the label map, in [0, 1].
        probability: CLIP's, among all classes, in [0, 1]; None for a mask that CLIP did not look at.
        objectness: the proposer's own score, in [0, 1].
        area_px: pixels of the mask.
        box_xyxy_px: tight box (left, top, right, bottom), right and bottom exclusive.
        rle: the mask. Masks may overlap, and a mask's pixels may have gone to other classes in the label map.
    """

    name: str
    score: float
    probability: float | None
    objectness: float
    area_px: int
    box_xyxy_px: tuple[int, int, int, int]
    rle: Rle

    def to_json(self) -> dict[str, Any]:
        probability = None if self.probability is None else round(self.probability, 6)
        return {
            "class": self.name,
            "score": round(self.score, 6),
            "probability": probability,
            "objectness": round(self.objectness, 6),
            "area_px": self.area_px,
            "box_xyxy_px": list(self.box_xyxy_px),
            "rle": self.rle.to_coco(),
        }


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A photo, segmented.

    Attributes:
        image: the photo, uint8 [H, W, 3] RGB, upright.
        labels: int32 [H, W], number of the class, -1 = nothing: no mask covers the pixel, or it is everything else.
        classes: names, in the order of the numbers.
        regions: masks with their classes, highest score first.
        label_matches: how the mask generator knows a class ('name', 'synonym', 'similarity'); a class that it does
            not know is not in here.
        file: where the photo came from; None for pixels.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    regions: tuple[NamedRegion, ...]
    label_matches: Mapping[str, str]
    file: Path | None = None

    @property
    def areas_px(self) -> dict[str, int]:
        """Pixels of each class that is in the label map, largest first."""
        counts = np.bincount(self.labels.ravel() + 1, minlength=len(self.classes) + 1)[1:]
        order = np.argsort(-counts, kind="stable")
        return {self.classes[number]: int(counts[number]) for number in order if counts[number]}

    def to_json(self) -> dict[str, Any]:
        """All but the label map, ready for json.dumps."""
        height, width = self.labels.shape
        return {
            "photo": None if self.file is None else escaped(str(self.file)),
            "height": height,
            "width": width,
            "classes": list(self.classes),
            "label_matches": dict(self.label_matches),
            "areas_px": self.areas_px,
            "regions": [region.to_json() for region in self.regions],
        }

    def save(self, folder: str | Path, name: str | None = None) -> tuple[Path, ...]:
        """Writes NAME.overlay.png, NAME.labels.png and NAME.json.

        The label map has class number + 1, 0 = nothing, in 8 bits, or 16 if there are more than 255 classes.

        Args:
            folder: made if need be.
            name: the photo's, without its ending, if not given.

        Returns:
            The files.
        """
        from train.segmenter.overlay import draw_overlay

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        overlay, labels, data = output_files(folder, name or (self.file.stem if self.file else "photo"))
        draw_overlay(self.image, self.labels, self.classes).save(overlay)
        dtype = np.uint8 if len(self.classes) <= np.iinfo(np.uint8).max else np.uint16
        Image.fromarray((self.labels + 1).astype(dtype)).save(labels)
        data.write_text(json.dumps(self.to_json(), ensure_ascii=False) + "\n", encoding="utf-8")
        return overlay, labels, data


def output_files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Where overlay, label map and JSON go."""
    return folder / f"{name}.overlay.png", folder / f"{name}.labels.png", folder / f"{name}.json"
