"""Names every region and counts what was right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.clip import ClipInput, encode_names, unit_vectors
from stages.common import UserError, resolve_device
from stages.records import Rle
from stages.regions import masked_region, normalise
from train.clip.model import MaskPromptCLIP
from train.clip.source import load_judge
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
        Scores (see train.evaluate.classify.scores), and ``left_out``: how many regions were not judged, by reason.

    Raises:
        UserError: the CLIP or the ground truth cannot be read, or no region is left to judge.
    """
    truth = GroundTruth(manifest.regions)
    names = manifest.classes or truth.names
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise UserError(f"classes: {twice[0]!r} stands twice; name each class once")
    numbers = {name: number for number, name in enumerate(names)}
    if unknown := sorted(set(manifest.seen or ()) - set(names)):
        raise UserError(f"seen: {unknown[0]!r} is none of the {len(names)} classes")
    model, tokenize = load_judge(manifest.judge, resolve_device(manifest.device))
    text = encode_names(model.clip, tokenize, names, manifest.templates)
    left_out = {"other_class": 0, "below_min_area": 0}
    labels: list[int] = []
    ranked: list[Tensor] = []
    for batch in _batches(_regions(manifest, truth, numbers, left_out), manifest.batch_size):
        ranked.append(_rank(model, batch, text, manifest))
        labels += [number for _, _, number in batch]
        if progress is not None:
            progress(len(labels))
    if not labels:
        raise UserError(
            f"no region is left to judge ({left_out}); check 'classes' against the names of the ground truth"
        )
    top = torch.cat(ranked).cpu().numpy()
    seen = None if manifest.seen is None else np.array([name in set(manifest.seen) for name in names])
    return {**score(top, np.array(labels), len(names), seen), "left_out": left_out}


_Region = tuple[NDArray[np.uint8], Rle, int]


def _regions(
    manifest: ClassifyManifest, truth: GroundTruth, numbers: dict[str, int], left_out: dict[str, int]
) -> Iterator[_Region]:
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
                yield picture.pixels, rle, numbers[name]


def _batches(regions: Iterator[_Region], size: int) -> Iterator[list[_Region]]:
    batch: list[_Region] = []
    for region in regions:
        batch.append(region)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.inference_mode()
def _rank(model: MaskPromptCLIP, batch: list[_Region], text: Tensor, manifest: ClassifyManifest) -> Tensor:
    """Numbers of the best classes, the best first, int64 [N, 5] or fewer columns."""
    wanted = ClipInput.of(model.clip)
    rules = manifest.rules
    if manifest.region_input in ("picture", "crop"):
        rules = rules.model_copy(update={"fill": "photo"})
    cut = []
    for pixels, rle, _ in batch:
        mask = np.ones(pixels.shape[:2], dtype=bool) if manifest.region_input == "picture" else rle.decode()
        cut.append(masked_region(pixels, mask, wanted.size_px, wanted.mean_rgb, rules))
    images = normalise(torch.stack([image for image, _ in cut]).to(text.device), wanted.mean, wanted.std)
    masks = torch.stack([mask for _, mask in cut]).to(text.device) if manifest.region_input == "prompted" else None
    features = unit_vectors(model.encode_image(images, masks), "judge", "fp32", "Check the weights.")
    return (features @ text.T).topk(min(_TOP, len(text)), dim=1).indices
