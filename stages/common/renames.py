"""What keys of manifests of version 1 are called in version 2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_CLIP = {
    "judge.clip.model": "clip.model",
    "judge.clip.pretrained": "clip.pretrained",
    "judge.weights": "clip.weights",
}
_IN_SEGMENTER = {f"segmenter.{old}": f"segmenter.{new}" for old, new in _CLIP.items()}
RENAMED: dict[str, dict[str, str]] = {
    "build": {
        "source.listing": "source.scan",
        "proposals.refine.max_crumb_fraction": "proposals.refine.max_island_fraction",
    },
    "adapt": {
        "held_out": "validation",
        "held_out.sight": "validation.region_input",
        "interpolation": "wise_ft_alpha",
        "data.balance_threshold": "data.repeat_threshold",
        "init.clip.model": "init.model",
        "init.clip.pretrained": "init.pretrained",
    },
    "generator": {},
    "pretrain": {},
    "mask_classification": {"sight": "region_input", **_CLIP},
    "semantic_segmentation": _IN_SEGMENTER,
    "proposals": {},
    "segmenter_tuning": _IN_SEGMENTER,
    "segmenter": _CLIP,
}
"""By kind of the manifest: old key -> new key."""


def renamed_keys(data: dict[str, Any], kinds: Iterable[str]) -> dict[str, str]:
    """The old keys that a manifest of one of these kinds uses, and their new names."""
    table = {old: new for kind in kinds for old, new in RENAMED.get(kind, {}).items()}
    return {old: new for old, new in table.items() if _has(data, old)}


def _has(data: Any, key: str) -> bool:  # noqa: ANN401 - any YAML value
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
