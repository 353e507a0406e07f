"""pycocotools' own figures for the same masks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stages.common import Proposal
from train.evaluate.proposals import TruthMask

Photo = tuple[Sequence[Proposal], Sequence[TruthMask]]


def cocoeval(photos: Iterable[Photo], limits: Sequence[int]) -> dict[str, float | None]:
    """COCOeval with useCats = 0, named as RecallCounts.scores names its figures."""
    images, annotations, results = [], [], []
    for image_id, (proposals, truth) in enumerate(photos, start=1):
        sizes = [(one.rle.height, one.rle.width) for one in (*proposals, *truth)]
        height, width = sizes[0] if sizes else (1, 1)
        images.append({"id": image_id, "height": height, "width": width})
        for mask in truth:
            area = mask.rle.area_px if mask.area_px is None else mask.area_px
            annotation = {"image_id": image_id, "category_id": 1, "segmentation": mask.rle.to_coco(), "area": area}
            annotations.append({**annotation, "iscrowd": int(mask.is_crowd), "id": len(annotations) + 1})
        for one in proposals:
            results.append({"image_id": image_id, "score": one.score, "segmentation": one.rle.to_coco()})
    categories = [{"id": 1, "name": "mask"}]
    return cocoeval_of({"images": images, "annotations": annotations, "categories": categories}, results, limits)


def cocoeval_of(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], limits: Sequence[int]
) -> dict[str, float | None]:
    """The same of a file of ground truth, and a file of results without categories."""
    file = COCO()
    file.dataset = truth
    first = truth["categories"][0]["id"]
    with contextlib.redirect_stdout(io.StringIO()):
        file.createIndex()
        found = file.loadRes([{**one, "category_id": first} for one in results])
        evaluation = COCOeval(file, found, "segm")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0]  # [T, A, M]
    scores: dict[str, float | None] = {}
    for at, limit in enumerate(limits):
        scores[f"recall_50@{limit}"] = recall[0, 0, at]
        scores[f"recall_75@{limit}"] = recall[5, 0, at]
        for area, ending in enumerate(("", "_small", "_medium", "_large")):
            scores[f"ar{ending}@{limit}"] = recall[:, area, at].mean()
    return {name: None if value == -1 else float(value) for name, value in scores.items()}
