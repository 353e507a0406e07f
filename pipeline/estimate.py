"""What a build will take, from a short sample of its images. Commits nothing."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass

from pipeline.manifest import BuildManifest
from pipeline.plan import Plan
from pipeline.steps import StepAdapter
from pipeline.unit import BuildSpec, ImageWork, UnitWork


@dataclass(frozen=True, slots=True)
class Estimate:
    """Figures of a sample.

    Attributes:
        images: how many images the sample has.
        seconds_per_image: wall time of one worker.
        bytes_per_image: of shards.
        pairs_per_image: mined pairs.
        quarantined: images of the sample that would be quarantined.
    """

    images: int
    seconds_per_image: float
    bytes_per_image: float
    pairs_per_image: float
    quarantined: int


def estimate(manifest: BuildManifest, plan: Plan, images: int) -> Estimate:
    """Loads all models and does a few images, without cache; the first warms up and is not counted.

    Args:
        manifest: what to build.
        plan: its plan.
        images: how many to try; drawn by hash, so that the choice is the same every time.

    Raises:
        UserError: a model cannot be loaded.
    """
    ids = plan.rows["image_id"].to_pylist()
    lots = sorted(
        range(len(ids)), key=lambda row: hashlib.sha256(f"sample/{ids[row]}".encode("utf-8", "replace")).digest()
    )
    chosen = plan.records(lots[: images + 1])
    with tempfile.TemporaryDirectory() as folder:
        spec = BuildSpec(manifest, plan.digest, folder, None, "", plan.document.models)
        adapter = StepAdapter(spec)
        warm_up, counted = chosen[:1], chosen[1:] or chosen
        for number, records in enumerate((warm_up, counted)):
            unit = UnitWork(number, "", [ImageWork(record, row) for row, record in enumerate(records)])
            adapter.run(unit)
    assert unit.receipt is not None
    count, counts = len(counted), unit.receipt.counts
    return Estimate(
        images=count,
        seconds_per_image=sum(unit.seconds.values()) / count,
        bytes_per_image=unit.receipt.shard.bytes / count,
        pairs_per_image=counts.pairs / count,
        quarantined=counts.images_quarantined,
    )
