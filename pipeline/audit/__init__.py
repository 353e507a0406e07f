"""Compares a build's pairs with ground truth: docs/audit.md defines every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.audit.labels import Labels, merged_synonyms, read_synonyms
from pipeline.audit.pairs import Build, Pair
from pipeline.audit.tally import Tally
from pipeline.audit.truth import Truth
from pipeline.audit.verdicts import judge_image
from stages.common import Rle
from stages.proposals.coco_truth import LeftOut, decoded_masks, read_truth_file

__all__ = ["audit"]

FORMAT = 1
QUARANTINED = "quarantined"


def audit(
    url: str,
    truth_files: Sequence[str],
    synonyms_file: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Judges every pair of a finished build whose image the truth has.

    Args:
        url: the build's folder, local or remote.
        truth_files: COCO-style annotation files; their classes and regions are taken together.
        synonyms_file: other words for the truth's classes, see `read_synonyms`.
        progress: called with the number of shards done, and of all.

    Returns:
        The report, as JSON values; docs/audit.md has its keys.

    Raises:
        UserError: a file is missing or not what was expected, the build is not finished or damaged, or the truth is
            that of other images.
    """
    build = Build(url)
    left_out = LeftOut()
    files = [read_truth_file(path, left_out) for path in truth_files]
    tables = [read_synonyms(synonyms_file)] if synonyms_file else []
    truth = Truth(files, {row.image_id: row.file for row in build.images})
    tables += [file.synonyms for file in files if file.synonyms]
    labels = Labels(truth.names, merged_synonyms(truth.names, *tables))
    tally = Tally(labels)
    audited = set(truth.audited)
    quarantined = 0
    for row in build.images:
        if row.image_id in audited and row.status == QUARANTINED:
            quarantined += 1
        elif row.image_id in audited:
            tally.add_image(truth.labels_of(row.image_id), row.nouns)
    done = (lambda shards: progress(shards, build.shards)) if progress else None
    for image_id, pairs in build.images_with_pairs(done):
        if image_id in audited:
            regions = truth.regions(image_id, pairs[0].height_px, pairs[0].width_px)
            verdicts = judge_image(pairs, _masks(url, pairs), regions, labels)
            tally.add_pairs(image_id, pairs, verdicts, [region.label for region in regions])
    return {
        "format": FORMAT,
        "build": {
            "plan_digest": build.plan_digest,
            "images": len(build.images),
            "images_audited": len(audited),
            "images_audited_quarantined": quarantined,
            "pairs": sum(row.pairs for row in build.images),
        },
        "truth": {
            "files": list(truth_files),
            "synonyms": synonyms_file,
            "classes": len(truth.names),
            "left_out": dict(left_out.reasons),
            "notes": left_out.sentences(),
        },
        **tally.report(),
    }


def _masks(url: str, pairs: Sequence[Pair]) -> dict[str, Rle]:
    """The image's masks by their id, checked."""
    segmentations = {pair.mask_id: pair.mask_rle for pair in pairs}
    where = f"{url}: image {pairs[0].image_id}: mask_rle"
    rles = decoded_masks(list(segmentations.values()), pairs[0].height_px, pairs[0].width_px, where)
    return dict(zip(segmentations, rles, strict=True))
