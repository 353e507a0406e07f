"""The rows of the ablation: what each trains, on what, and how it is tested."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.ablation.worlds import WORLD_CLIP, Worlds
from benchmarks.world_clip import TEMPLATES
from pipeline.terminal import Activity, AdaptProgress
from stages.clip_config import RegionRules
from train.adapt import adapt
from train.adapt.config import AdaptManifest
from train.clip.source import ClipSource
from train.evaluate.classify import ClassifyManifest, classify
from train.evaluate.classify.run import RegionInput

Recipe = Literal["MPT", "FT", "joint"]
Pairs = Callable[[Worlds], Path]
RULES = RegionRules(antialias=True)
_TRAIN: dict[Recipe, str] = {"MPT": "prompts", "FT": "tower", "joint": "both"}


def mined(worlds: Worlds) -> Path:
    return worlds.mined("generator", "all")


def mined_first_caption(worlds: Worlds) -> Path:
    return worlds.mined("generator", "first")


def mined_truth(worlds: Worlds) -> Path:
    return worlds.mined("ground_truth", "all")


def mined_classical(worlds: Worlds) -> Path:
    return worlds.mined("classical", "all")


@dataclass(frozen=True)
class Plain:
    """The CLIP as it is, on one kind of picture."""

    key: str
    title: str
    world: Literal["single", "cluttered"]
    region_input: RegionInput


@dataclass(frozen=True)
class Trained:
    """An adapted CLIP, on masked crops of cluttered scenes.

    Attributes:
        recipe: what trains.
        pairs: on what.
        loss: which one.
        begins_with: key of the row whose weights it begins with; the plain CLIP's if None.
    """

    key: str
    title: str
    recipe: Recipe
    pairs: Pairs = mined
    loss: str = "noun_bank"
    begins_with: str | None = None


PLAIN = (
    Plain("ceiling", "plain CLIP, whole scenes with a single object (the ceiling)", "single", "picture"),
    Plain("crops", "plain CLIP, tight crops of objects in clutter", "cluttered", "crop"),
    Plain("plain", "plain CLIP, masked crops of them", "cluttered", "masked"),
)
RECIPES = (
    Trained("mpt", "MPT only, mined with the generator's masks", "MPT"),
    Trained("ft", "FT only, the same pairs", "FT"),
    Trained("ft_mpt", "FT, then MPT, the same pairs", "MPT", begins_with="ft"),
    Trained("joint", "joint, the same pairs", "joint"),
)
DATA = (
    Trained("labels", "FT, ground-truth masks, 40 fixed labels", "FT", Worlds.labelled),
    Trained("told", "FT, ground-truth masks, caption nouns bound by the truth", "FT", Worlds.told),
    Trained("ft_first", "FT, mined from 1 caption per scene, not 5", "FT", mined_first_caption),
    Trained("truth_mpt", "MPT only, mined with true masks", "MPT", mined_truth),
    Trained("truth_ft", "FT only, mined with true masks", "FT", mined_truth),
    Trained("classical_mpt", "MPT only, mined with classical proposals", "MPT", mined_classical),
    Trained("classical_ft", "FT only, mined with classical proposals", "FT", mined_classical),
)
LOSSES = (
    Trained("ft_in_batch", "FT only, in_batch loss", "FT", loss="in_batch"),
    Trained("ft_multi", "FT only, multi_positive loss", "FT", loss="multi_positive"),
)
SHORT = (*PLAIN, *RECIPES[:3])
ALL = (*PLAIN, *RECIPES, *DATA, *LOSSES)


def scores_of(row: Plain | Trained, worlds: Worlds) -> dict[str, Any]:
    """Trains where there is something to train and tests; what is there already is kept.

    Returns:
        Top-1 accuracy in percent: ``seen``, ``unseen``, ``harmonic``; and ``regions``.
    """
    done = worlds.folder / "scores" / f"{row.key}.json"
    if done.is_file():
        kept: dict[str, Any] = json.loads(done.read_bytes())
        return kept
    if isinstance(row, Plain):
        scores = _test(ClipSource(model=WORLD_CLIP), row.world, row.region_input, worlds)
    else:
        scores = _test(ClipSource(weights=str(_train(row, worlds))), "cluttered", "prompted", worlds)
    done.parent.mkdir(exist_ok=True, parents=True)
    done.write_text(json.dumps(scores))
    return scores


def _train(row: Trained, worlds: Worlds) -> Path:
    init: dict[str, Any] = {"model": WORLD_CLIP}
    if row.begins_with is not None:
        init = {"weights": str(worlds.folder / "runs" / row.begins_with / "last")}
    manifest = {
        "kind": "adapt",
        "init": init,
        "data": {
            "sets": [{"shards": [str(row.pairs(worlds))]}],
            "region": RULES.model_dump(),
            "augment": {"flip": True, "mask_noise": 0.03},
            "workers": 0,
        },
        "phases": [
            {
                "train": _TRAIN[row.recipe],
                "steps": worlds.size.steps,
                "tower_lr": 2e-4,
                "prompts_lr": 2e-2,
                "warmup_steps": 10,
            }
        ],
        "loss": {"kind": row.loss},
        "batch_size": worlds.size.batch,
        "seed": worlds.seed,
    }
    with AdaptProgress(worlds.console, title=f"seed {worlds.seed}: {row.title}") as progress:
        return adapt(AdaptManifest.model_validate(manifest), worlds.folder / "runs" / row.key, progress.line, progress)


def _test(
    clip: ClipSource, world: Literal["single", "cluttered"], region_input: RegionInput, worlds: Worlds
) -> dict[str, Any]:
    manifest = ClassifyManifest(
        kind="mask_classification",
        clip=clip,
        regions=worlds.test_regions(world),
        classes=worlds.split.names,
        seen=worlds.split.seen,
        region_input=region_input,
        rules=RULES,
        templates=TEMPLATES,
        limit=worlds.size.objects,
    )
    with Activity(worlds.console) as activity:
        activity("loading ground truth and the CLIP")
        scores = classify(manifest, lambda done: activity("naming test objects", done, worlds.size.objects))
    parts = {part: scores[part]["top1"] for part in ("seen", "unseen", "harmonic")}
    return {**parts, "regions": scores["regions"]}
