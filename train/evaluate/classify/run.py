"""Names every region and counts what was right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.clip import RegionEncoder, in_batches
from stages.common import UserError, resolve_device
from stages.records import Rle
from train.clip.source import resolve
from train.evaluate.classify.config import ClassifyManifest
from train.evaluate.classify.regions import GroundTruth
from train.evaluate.classify.scores import score

_TOP = 5


def classify(manifest: ClassifyManifest, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Classifies all regions of a ground truth.

    Args:
        manifest: what, and by which CLIP.
        progress: called with the number of regions done so far.

    Returns:
        Scores (see train.evaluate.classify.scores), and ``left_out``: how many regions were left out, by reason.

    Raises:
        UserError: the CLIP or the ground truth cannot be read, or no region is left to name.
    """
    truth = GroundTruth(manifest.regions)
    names = _names(manifest, truth)
    numbers = {name: number for number, name in enumerate(names)}
    encoder = _encoder(manifest)
    text = encoder.encode_names(names)
    left_out = {"other_class": 0, "below_min_area": 0}
    labels: list[int] = []
    ranked: list[Tensor] = []
    for batch in in_batches(_regions(manifest, truth, numbers, left_out), manifest.batch_size):
        features = encoder.encode_batch((pixels, rle) for pixels, rle, _ in batch)
        ranked.append((features @ text.T).topk(min(_TOP, len(text)), dim=1).indices)  # [n, 5] or fewer columns
        labels += [number for _, _, number in batch]
        if progress is not None:
            progress(len(labels))
    if not labels:
        raise UserError(
            f"no region is left to name ({left_out}); check 'classes' against the names of the ground truth"
        )
    top = torch.cat(ranked).cpu().numpy()
    seen = None if manifest.seen is None else np.array([name in set(manifest.seen) for name in names])
    return {**score(top, np.array(labels), len(names), seen), "left_out": left_out}


def _names(manifest: ClassifyManifest, truth: GroundTruth) -> tuple[str, ...]:
    """What is chosen among."""
    names = manifest.classes or truth.names
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise UserError(f"classes: {twice[0]!r} stands twice; name each class once")
    if unknown := sorted(set(manifest.seen or ()) - set(names)):
        raise UserError(f"seen: {unknown[0]!r} is none of the {len(names)} classes")
    return names


def _encoder(manifest: ClassifyManifest) -> RegionEncoder:
    """The CLIP, which sees a region as the manifest wants it."""
    model, tokenize = resolve(manifest.clip).load(resolve_device(manifest.device))
    rules = manifest.rules
    if manifest.region_input in ("picture", "crop"):
        rules = rules.model_copy(update={"fill": "photo"})
    with_masks = manifest.region_input == "prompted"
    return RegionEncoder(model, tokenize, rules, manifest.templates, manifest.batch_size, with_masks=with_masks)


def _regions(
    manifest: ClassifyManifest, truth: GroundTruth, numbers: dict[str, int], left_out: dict[str, int]
) -> Iterator[tuple[NDArray[np.uint8], Rle, int]]:
    """Photo, mask and number of the class of each region that is named; the others are counted."""
    count = 0
    for picture in truth.pictures():
        for name, rle in picture.regions:
            if name not in numbers:
                left_out["other_class"] += 1
            elif rle.area_px < manifest.min_area_px:
                left_out["below_min_area"] += 1
            elif count == manifest.limit:
                return
            else:
                count += 1
                whole = manifest.region_input == "picture"
                yield picture.pixels, _all_of(picture.pixels) if whole else rle, numbers[name]


def _all_of(pixels: NDArray[np.uint8]) -> Rle:
    """The mask of a whole photo [H, W, 3]."""
    return Rle.encode(np.ones(pixels.shape[:2], dtype=bool))
