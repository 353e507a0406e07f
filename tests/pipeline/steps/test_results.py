"""What the cache gives back is what was put in, and what a result depends on is in its identity or its key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.manifest import BuildManifest
from pipeline.steps import StepAdapter
from pipeline.steps.matching import MatchPairs
from pipeline.steps.nouns import FindNouns
from pipeline.steps.proposals import ProposeMasks
from pipeline.unit import BuildSpec, ImageWork, UnitWork
from stages.common import CaptionNouns, DroppedNoun, ImageRecord, Noun, Proposal, Rle, SampleError
from stages.matching import RULED_OUT

Make = Callable[..., BuildManifest]
MODELS = {"nouns": {"lexicon": "1"}, "proposals": {}, "matching": {"weights": "2"}}
DOG = Noun("dogs", "dog", 0, 4, 8, "head")
HALF = Rle.encode(np.arange(12).reshape(3, 4) > 5)


@pytest.fixture
def spec(manifest: Make, tmp_path: Path) -> BuildSpec:
    return BuildSpec(manifest(), "plan", str(tmp_path / "out"), None, "libraries", MODELS)


def image(row: int, *captions: str) -> ImageWork:
    return ImageWork(ImageRecord(str(row), f"{row}.jpg", captions), row)


def test_nouns_come_back_from_bytes(spec: BuildSpec) -> None:
    step = FindNouns(spec)
    found = [CaptionNouns((DOG,), (DroppedNoun("side", 0, 0, 4, "junk"),)), CaptionNouns(())]
    assert step.decode(step.encode(found)) == found


def test_proposals_come_back_from_bytes(spec: BuildSpec) -> None:
    step = ProposeMasks(spec)
    found = ([Proposal(HALF, 1 / 3, "classical"), Proposal(HALF, 1.0, "ground_truth", "dog")], {"empty_mask": 2})
    first, second, third = step.decode(step.encode([found, ([], {}), SampleError("unusable_shape", "1 x 500 px")]))
    assert (first, second) == (found, ([], {}))
    assert isinstance(third, SampleError)
    assert (third.reason, third.message) == ("unusable_shape", "1 x 500 px")


def test_scores_come_back_from_bytes_to_the_last_bit(spec: BuildSpec) -> None:
    step = MatchPairs(spec)
    found = [np.random.default_rng(number).random((number, 2), np.float32) for number in (3, 1, 12)]
    again = step.decode(step.encode(found))
    assert len(again) == 3
    assert all(
        np.array_equal(before, after) and after.dtype == np.float32 for before, after in zip(found, again, strict=True)
    )


@pytest.mark.parametrize(
    ("kind", "stage"), [(FindNouns, "nouns"), (ProposeMasks, "proposals"), (MatchPairs, "matching")]
)
def test_models_are_those_of_the_plan(
    spec: BuildSpec, kind: type[FindNouns | ProposeMasks | MatchPairs], stage: str
) -> None:
    """They were hashed once, by the driver."""
    other = replace(spec, models={**MODELS, stage: {"weights": "another"}})
    assert kind(spec).identity == kind(spec).identity != kind(other).identity


def test_captions_of_a_unit_are_one_task_and_bad_ones_are_none(spec: BuildSpec) -> None:
    unit = UnitWork(0, "", [image(0, "a dog", " ", "a cat"), image(1), image(2, "x" * 2000, "two dogs")])
    (task,) = FindNouns(spec).tasks(unit)
    assert [(work.row, number) for work, number in task.content] == [(0, 0), (0, 2), (2, 1)]
    assert (task.size, task.image) == (3, None)
    assert [(row.image_id, row.caption_number, row.reason) for row in unit.quarantine] == [
        ("0", 1, "empty_caption"),
        ("2", 0, "long_caption"),
    ]


@pytest.mark.parametrize(("language", "left"), [("en", [0, 2]), ("any", [0, 1, 2, 3])])
def test_captions_in_other_languages_are_bad_unless_any_is_asked_for(
    spec: BuildSpec, language: str, left: list[int]
) -> None:
    nouns = spec.manifest.nouns.model_copy(update={"language": language})
    spec = replace(spec, manifest=spec.manifest.model_copy(update={"nouns": nouns}))
    unit = UnitWork(0, "", [image(0, "a dog on the grass", "Un chien sur l'herbe", "gato negro", "草の上の犬")])
    (task,) = FindNouns(spec).tasks(unit)
    assert [number for _, number in task.content] == left
    assert [row.reason for row in unit.quarantine] == ["not_english"] * (4 - len(left))
    assert all("nouns.language: any" in row.message for row in unit.quarantine)


def test_nouns_go_to_their_image_with_the_number_of_their_caption(spec: BuildSpec) -> None:
    first, second = image(0, "", "The dogs"), image(1, "The dogs", "The dogs")
    found = [CaptionNouns((DOG,)), CaptionNouns((DOG,), (DroppedNoun("side", 0, 0, 4, "junk"),)), CaptionNouns((DOG,))]
    FindNouns(spec).apply([(first, 1), (second, 0), (second, 1)], found)
    assert [noun.caption_number for noun, _ in first.nouns] == [1]
    assert [(noun.surface, len(mentions)) for noun, mentions in second.nouns] == [("dogs", 2)]
    assert second.dropped == {"noun.junk": 1}


def test_images_without_nouns_get_no_masks_and_each_other_one_is_its_own_task(spec: BuildSpec) -> None:
    with_noun, without = image(0, "a dog"), image(1, "a dog")
    with_noun.nouns = [(DOG, [])]
    (task,) = ProposeMasks(spec).tasks(UnitWork(0, "", [with_noun, without]))
    assert task.content == [with_noun]
    assert task.image is with_noun


class Pairs:
    """Proposes a half of every photo; none may be dark, and a bright one is an error that nobody foresaw."""

    def __init__(self, limit: int = 250) -> None:
        self.limit = limit

    def propose(self, record: ImageRecord, image: NDArray[np.uint8]) -> list[Proposal]:
        if image.mean() > self.limit:
            raise ZeroDivisionError("too bright")
        return [Proposal(HALF, float(image.mean()), "classical")]

    def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Proposal] | SampleError]:
        dark = SampleError("unusable_shape", "too dark")
        return [dark if image.mean() < 5 else self.propose(ImageRecord("", "", ()), image) for image in images]


def photo_of(row: int, colour: int | None) -> ImageWork:
    work = image(row, "a dog")
    work.nouns = [(DOG, [])]
    work.data = b"" if colour is None else cv2.imencode(".png", np.full((3, 4, 3), colour, np.uint8))[1].tobytes()
    work.sha256 = str(colour)
    return work


def test_a_batch_is_one_entry_of_the_cache_but_not_with_an_error_that_may_be_gone(
    manifest: Make, tmp_path: Path
) -> None:
    asked = manifest(proposals__batch_size=3, proposals__refine__min_area_px=0)
    folders = str(tmp_path / "out"), str(tmp_path / "cache")
    spec = BuildSpec(asked, "plan", *folders, "libraries", MODELS)
    colours = (100, None, 0, 120, 255, 130, 140)
    for limit, segmented in ((250, 7), (256, 3)):
        adapter = StepAdapter(spec, ["proposals"])
        (step,) = adapter._steps
        assert isinstance(step, ProposeMasks)
        step._proposer = Pairs(limit)
        unit = UnitWork(0, "", [photo_of(row, colour) for row, colour in enumerate(colours)])
        adapter.run(unit)
        bad = {"1": "empty_file", "2": "unusable_shape"} | ({"4": "unexpected_error"} if limit == 250 else {})
        assert {row.image_id: row.reason for row in unit.quarantine} == bad
        kept = {work.row: [one.score for one in work.proposals] for work in unit.usable()}
        assert kept == {0: [100.0], 3: [120.0], 5: [130.0], 6: [140.0]} | ({} if limit == 250 else {4: [255.0]})
        assert unit.done == Counter({"images_segmented": segmented, "images_from_cache": 7 - segmented})
    first, *_ = ProposeMasks(spec).tasks(unit)
    assert first.image is None
    other = replace(spec, manifest=manifest(proposals__batch_size=2))
    assert ProposeMasks(spec).identity != ProposeMasks(other).identity


def test_what_may_pass_stops_a_batch(manifest: Make, tmp_path: Path) -> None:
    class Full(Pairs):
        def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Proposal] | SampleError]:
            raise RuntimeError("CUDA out of memory")

    spec = BuildSpec(manifest(proposals__batch_size=2), "plan", str(tmp_path), None, "libraries", MODELS)
    step = ProposeMasks(spec)
    step._proposer = Full()
    works = [photo_of(0, 100), photo_of(1, 110)]
    with pytest.raises(RuntimeError, match="out of memory"):
        step.compute(works, step.prepare(works))


def test_nouns_of_an_image_without_masks_are_counted(spec: BuildSpec) -> None:
    lonely = image(0, "a dog")
    lonely.nouns = [(DOG, [])]
    unit, step = UnitWork(0, "", [lonely]), MatchPairs(spec)
    assert list(step.tasks(unit)) == []
    step.finish(unit)
    assert lonely.dropped == {"match.no_proposals": 1}
    assert lonely.status() == ("no_pairs", "no_proposals")


@pytest.mark.parametrize("keep", [1, 2, 99])
def test_a_cascade_scores_what_it_keeps_as_an_exact_build_does_and_rules_out_the_rest(
    manifest: Make, tmp_path: Path, keep: int
) -> None:
    def scores(**naming: float | str) -> list[NDArray[np.float32]]:
        asked = manifest(matching__naming=naming, compute__precision="fp32")
        models = {"nouns": {}, "proposals": {}, "matching": {}}
        step = MatchPairs(BuildSpec(asked, "plan", str(tmp_path), None, "libraries", models))
        return step.compute(works)

    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    works = [image(0), image(1)]
    for work, sides in zip(works, ((10, 20, 30, 40), (15, 25, 35)), strict=True):
        work.data = encoded
        work.nouns = [(DOG, []), (replace(DOG, surface="grass", canonical="grass"), [])]
        masks = [np.add.outer(np.arange(40), np.arange(60)) < side for side in sides]
        work.proposals = [Proposal(Rle.encode(mask), 1.0, "ground_truth") for mask in masks]
    exact, some = scores(kind="exact"), scores(kind="cascade", keep=keep, side=0.5)
    for every, kept in zip(exact, some, strict=True):
        looked_at = np.isfinite(kept).all(axis=1)
        assert looked_at.sum() == min(keep, len(every))
        assert (kept[~looked_at] == RULED_OUT).all()
        np.testing.assert_allclose(kept[looked_at], every[looked_at], atol=1e-5)


def test_masks_that_a_cascade_ruled_out_are_counted(manifest: Make, tmp_path: Path) -> None:
    work = image(0, "a dog")
    work.nouns = [(DOG, [])]
    work.proposals = [Proposal(HALF, 1.0, "classical")] * 3
    work.scores = np.array([[RULED_OUT], [0.3], [RULED_OUT]], np.float32)
    spec = BuildSpec(manifest(), "plan", str(tmp_path), None, "libraries", MODELS)
    MatchPairs(spec).finish(UnitWork(0, "", [work]))
    assert [(pair.noun, pair.proposal) for pair in work.matches] == [(0, 1)]
    assert work.dropped == {"proposal.ruled_out": 2}


def test_a_cascade_that_leaves_no_rival_is_refused_with_a_margin_of_masks(manifest: Make) -> None:
    rules = {"min_margin_mask": 0.01}
    manifest(matching__naming={"kind": "cascade", "keep": 2}, matching__rules=rules)
    with pytest.raises(ValidationError, match=r"naming\.keep: 1 leaves no other mask"):
        manifest(matching__naming={"kind": "cascade", "keep": 1}, matching__rules=rules)
