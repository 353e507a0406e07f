"""What published proposal generators were trained on, and whether they are scored on the same."""

from __future__ import annotations

import re
from collections.abc import Mapping

from train.evaluate.benchmark_sets.classes import benchmark_classes

_NAMES = (
    (r"ade(20k)?", "ADE20K"),
    (r"coco", "COCO"),
    (r"cityscapes", "Cityscapes"),
    (r"mapillary", "Mapillary Vistas"),
    (r"(pascal|voc)", "Pascal VOC"),
    (r"lvis", "COCO"),
)
"""Words of a model's name -> data set. LVIS labels COCO's pictures."""
_FAMILIES = (
    (r"(sam2|sam2\.1|edgetam)", ("SA-1B", "SA-V")),
    (r"(sam|sam1|slimsam|mobilesam)", ("SA-1B",)),
    (r"(sam3|sam3\.1)", ("SA-Co",)),
    (r"(sam[-_]hq|hq[-_]?sam)", ("SA-1B", "HQSeg-44K")),
)
_CITYSCAPES = {"road", "sidewalk", "building", "traffic sign", "vegetation", "terrain", "rider", "motorcycle"}
_MAPILLARY = {"ground animal", "curb cut", "catch basin"}
_LABELS_ALIKE = 0.9
_OVERLAPS = {
    "a150": "ADE20K",
    "a847": "ADE20K",
    "pc59": "Pascal VOC",
    "pc459": "Pascal VOC",
    "pas20": "Pascal VOC",
    "coco_stuff171": "COCO",
}


def training_sets(model: str, id2label: Mapping[int, str] | None) -> set[str]:
    """Data sets that a generator's masks or classes were trained on, as far as its name and labels tell.

    Pre-training of the backbone (ImageNet) is not meant. A model that was trained on something else with the same
    labels looks the same.

    Args:
        model: hub id or folder, such as ``facebook/mask2former-swin-large-ade-semantic``; of a folder its last part
            counts, or that of the hub's cache.
        id2label: its config.json's ``id2label``, for folders whose name says nothing; None if there is none.

    Returns:
        Names such as ADE20K, COCO, Cityscapes, SA-1B; none if nothing is known.
    """
    parts = model.rstrip("/").lower().split("/")
    name = next((part.rpartition("--")[2] for part in parts if part.startswith("models--")), parts[-1])
    words = re.split(r"[-_]", name)
    found = {data_set for pattern, data_set in _NAMES if any(re.fullmatch(pattern, word) for word in words)}
    found |= _by_labels(id2label or {})
    families = [sets for pattern, sets in _FAMILIES if _begins_with(pattern, name)]
    return found | (set(families[-1]) if families else set())


def overlap_warning(model: str, id2label: Mapping[int, str] | None, set_kind: str) -> str | None:
    """A sentence for the report if a generator was trained on the data set that it is scored on.

    Args:
        model: as in training_sets.
        id2label: as in training_sets.
        set_kind: the kind of a BenchmarkSet; of anything else nothing is known.

    Returns:
        The warning, or None.
    """
    scored = _OVERLAPS.get(set_kind)
    if scored is None or scored not in training_sets(model, id2label):
        return None
    return (
        f"generator {model} was trained on {scored}, the data set that {set_kind} is scored on: its masks and classes "
        "have seen it, so that these figures say nothing about open vocabulary"
    )


def _begins_with(pattern: str, name: str) -> bool:
    return re.match(rf"{pattern}([-_.]|$)", name) is not None


def _by_labels(id2label: Mapping[int, str]) -> set[str]:
    labels = {label.strip().lower() for label in id2label.values()}
    words = {word.strip() for label in labels for word in re.split(r"[,;]", label)}
    found = set()
    if labels and labels >= {names.name for names in benchmark_classes("coco_stuff171").names[:80]}:
        found.add("COCO")
    ade = [names.forms for names in benchmark_classes("a150").names]
    if sum(bool(words & set(forms)) for forms in ade) >= _LABELS_ALIKE * len(ade):
        found.add("ADE20K")
    for names, data_set in ((_CITYSCAPES, "Cityscapes"), (_MAPILLARY, "Mapillary Vistas")):
        if labels >= names:
            found.add(data_set)
    return found
