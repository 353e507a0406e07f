"""Rows of an index of which a test says what matters to it."""

from __future__ import annotations

from typing import Any

from stages.shards import IndexRow


def index_row(**values: Any) -> IndexRow:  # noqa: ANN401 - any column's value
    """A row with the given columns; all others say nothing."""
    nothing: dict[str, Any] = {
        **dict.fromkeys(("image_id", "file", "caption", "noun", "noun_canonical", "noun_rule", "mask_id"), ""),
        **dict.fromkeys(("caption_number", "noun_start", "noun_end", "noun_mentions", "area_px", "score_cosine"), 0),
        **dict.fromkeys(("box_xyxy_px", "crop_xyxy_px"), (0, 0, 1, 1)),
        **dict.fromkeys(("image_height_px", "image_width_px"), 1),
        **dict.fromkeys(("margin_noun", "margin_mask", "proposal_label", "license"), None),
        "proposal_source": "",
        "proposal_score": 0,
    }
    return IndexRow(**{**nothing, **values})
