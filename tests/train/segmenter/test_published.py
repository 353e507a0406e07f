"""The published system, whole: every intermediate of the reference, then photos on which the published code breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from stages.common import UserError
from stages.proposals.ovseg import OvsegGenerator
from stages.proposals.ovseg_file import OvsegFile
from stages.regions import patch_mask
from tests.tiny_ovseg import CLIP, CONFIG, ovseg_state
from train.clip.ovseg import clip_of
from train.segmenter.masks import Masks
from train.segmenter.published import OvsegSegmenter, load_ovseg

LOGITS, PROBS = 1e-3, 2e-4


@dataclass
class Case:
    """A reference file, the segmenter made from its weights, and one photo taken through its steps."""

    data: Any
    number: int
    ours: OvsegSegmenter
    masks: Masks

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return self.data[f"image{self.number}.{name}"]

    @property
    def order(self) -> list[int]:
        """Place of each query among our masks, which stand in the order of their scores."""
        return [self.masks.chosen.index(query) for query in range(len(self.masks))]

    @property
    def valid(self) -> list[int]:
        """Places of the masks that are not empty, in the order of the queries."""
        return [place for place in self.order if self.masks.shown[place].area_px]


LOADED: dict[str, tuple[Any, OvsegSegmenter]] = {}


@pytest.fixture(params=["dev:0", "dev:1", "dev_r50c:0", "dev_r50c:1"])
def case(request: pytest.FixtureRequest, shared_data: Path) -> Case:
    name, _, number = request.param.partition(":")
    file = shared_data / f"golden/ovseg_two_stage_{name}.npz"
    if not file.is_file():
        pytest.skip(f"reference numbers not found at {file}")
    if name not in LOADED:
        data = dict(np.load(file))
        state = {key.removeprefix("state/"): data[key] for key in data if key.startswith("state/")}
        LOADED[name] = data, load_ovseg(state, json.loads(str(data["config_json"])))
    data, ours = LOADED[name]
    return Case(data, int(number), ours, ours.segmenter.propose(data[f"image{number}.photo"]))


def test_generator_is_the_references(case: Case) -> None:
    queries = case.masks.queries
    assert queries is not None
    assert queries.frame is not None
    assert queries.words is not None
    assert np.array_equal(queries.frame, case["resized"])
    assert_allclose(queries.mask_logits, case["mask_logits"], atol=LOGITS)
    assert_allclose(queries.words.queries, case["class_embeddings"], atol=LOGITS)
    text = torch.from_numpy(case.data["text_features"])
    assert_allclose(queries.words.logits(text), case["generator_logits"], atol=LOGITS)
    assert_allclose(queries.words.probs(text), case["generator_probs"], atol=PROBS)
    enlarged = queries.rows_on_photo(range(len(case.masks)), 0, len(queries.frame), *queries.frame.shape[:2])
    assert_allclose(enlarged[:, ::6, ::6], case["mask_logits_resized_sampled"], atol=LOGITS)


def test_masks_and_their_boxes_are_the_references(case: Case) -> None:
    shown = case.masks.shown
    assert np.array_equal([shown[place].decode() for place in case.order], case["masks_cut"])
    assert [shown[place].area_px > 0 for place in case.order] == case["valid"].tolist()
    assert [shown[place].box_xyxy_px for place in case.valid] == [tuple(box) for box in case["boxes_xyxy"].tolist()]


def test_what_clip_is_shown_and_says_is_the_references(case: Case) -> None:
    encoder = case.ours.segmenter.namer.encoder
    shown = case.masks.shown_image(case["photo"])
    pixels, masks = encoder.cut((shown, case.masks.shown[place]) for place in case.valid)
    assert_allclose(pixels[..., ::16, ::16], case["regions_sampled"], atol=1e-5)
    assert_allclose(pixels.mean((2, 3)), case["regions_mean"], atol=1e-5)
    assert_allclose(pixels.std((2, 3)), case["regions_std"], atol=1e-5)
    assert np.array_equal(patch_mask(masks, 16)[..., 0].bool(), case["patches_kept"])
    assert masks.sum((1, 2, 3)).tolist() == case["region_masks_area"].tolist()
    features = encoder.features(pixels, masks)
    assert_allclose(features, case["clip_features"], atol=1e-5)
    rows = torch.from_numpy(np.vstack([case.data["text_features"], case.data["no_object_feature"]]))
    assert_allclose(100 * features @ rows.T, case["clip_logits"], atol=LOGITS)
    text = case.ours.text(case.data["text_features"])
    assert_allclose(case.ours.segmenter.namer.probabilities(features, text), case["clip_probs"], atol=PROBS)


def test_ensemble_scores_and_labels_are_the_references(case: Case) -> None:
    segmenter, photo, text = case.ours.segmenter, case["photo"], case.ours.text(case.data["text_features"])
    scores = segmenter.combine(case.masks, segmenter.name(photo, case.masks, text), text)
    assert_allclose(scores[case.order], case["ensemble"], atol=PROBS)
    frame = segmenter.score_maps(case.masks, scores, *case["resized"].shape[:2])
    assert_allclose(frame[:, ::4, ::4], case["semseg_resized_sampled"], atol=PROBS)
    maps = case.ours.score_maps(photo, case.data["text_features"])
    assert (maps.dtype, tuple(maps.shape)) == (torch.float32, case["sem_seg"].shape)
    assert_allclose(maps, case["sem_seg"], atol=PROBS)
    best = np.sort(case["sem_seg"], axis=0)
    sure = best[-1] - best[-2] >= 1e-4
    assert np.array_equal(maps.argmax(0).numpy()[sure], case["labels"][sure])
    assert np.array_equal(segmenter.assemble(case.masks, scores, *photo.shape[:2])[sure], case["labels"][sure])


def test_text_of_its_clip_is_the_references(case: Case) -> None:
    data = case.data
    state = {key.removeprefix("state/"): data[key] for key in data if key.startswith("state/")}
    clip, tokenize = clip_of(OvsegFile.of(state, json.loads(str(data["config_json"]))))
    tokens = torch.from_numpy(np.searchsorted(data["vocabulary"], data["tokens_openai"])).flatten(0, 1)
    with torch.inference_mode():
        each = clip.encode_text(tokens, normalize=True).view(len(data["classes"]), 14, -1)
    features = torch.nn.functional.normalize(each.mean(1), dim=-1)
    assert_allclose(features, data["text_features"], atol=1e-5)
    with pytest.raises(UserError, match=r"its CLIP has \d+ tokens; expected 49,408"):
        tokenize(["a photo"])


@pytest.fixture(scope="module")
def photo() -> Any:  # noqa: ANN401
    return np.random.default_rng(1).integers(0, 256, (60, 44, 3), dtype=np.uint8)


def vectors(count: int = 3) -> Any:  # noqa: ANN401
    """Like each other, as names are, so that no softmax is sure."""
    rng = np.random.default_rng(2)
    drawn = (rng.normal(size=CLIP) + 0.1 * rng.normal(size=(count, CLIP))).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def tiny(clip_adapter: dict[str, Any], **given: Any) -> OvsegSegmenter:  # noqa: ANN401
    return load_ovseg(ovseg_state(vocabulary=30, **given), {**CONFIG, "clip_adapter": clip_adapter})


def threshold_for(photo: Any, masks: int) -> float:  # noqa: ANN401
    """A mask threshold above which so many masks have a pixel."""
    said = OvsegGenerator.of(OvsegFile.of(ovseg_state(vocabulary=30), CONFIG)).queries(photo)
    assert said.frame is not None
    peaks = sorted(float(said.logits_on_photo(query, *said.frame.shape[:2]).max()) for query in range(5))[::-1]
    between = (peaks[masks - 1] + peaks[masks]) / 2 if masks else peaks[0] + 1
    return float(torch.tensor(between).sigmoid())


@pytest.mark.parametrize("masks", [0, 1, 2])
@pytest.mark.parametrize("weight", [0.7, 1.0, 0.0])
def test_none_one_or_two_masks_that_are_not_empty(photo: Any, masks: int, weight: float) -> None:  # noqa: ANN401
    """Of an empty mask the generator alone speaks, p^(1-w); with CLIP alone (w = 0) it has no vote."""
    ours = tiny({"MASK_THR": threshold_for(photo, masks), "CLIP_ENSEMBLE_WEIGHT": weight})
    found = ours.segmenter.propose(photo)
    empty = torch.tensor([rle.area_px == 0 for rle in found.shown])
    assert (~empty).sum() == masks
    assert found.words is not None
    p = found.words.probs(torch.from_numpy(vectors()))[:, :-1]
    p_clip = ours.segmenter.name(photo, found, ours.text(vectors()))
    expected = p ** (1 - weight) * p_clip**weight if weight else torch.where(empty[:, None], 0.0, p_clip)
    assert found.queries is not None
    assert found.queries.frame is not None
    frame_px = found.queries.frame.shape[:2]
    soft = torch.stack([found.queries.logits_on_photo(query, *frame_px).sigmoid() for query in found.chosen])
    sums = torch.einsum("nc,nhw->chw", expected, soft)
    published = torch.nn.functional.interpolate(sums[None], photo.shape[:2], mode="bilinear", align_corners=False)[0]
    maps = ours.score_maps(photo, vectors())
    assert_allclose(maps, published, atol=1e-5)
    assert bool(maps.any()) is bool(masks or weight)


def test_without_the_ensemble_the_generator_speaks_alone(photo: Any) -> None:  # noqa: ANN401
    ours = tiny({"CLIP_ENSEMBLE": False, "CLIP_ENSEMBLE_WEIGHT": 0.0})
    found = ours.segmenter.propose(photo)
    assert found.words is not None
    p = found.words.probs(torch.from_numpy(vectors()))[:, :-1]
    assert_allclose(ours.score_maps(photo, vectors()), ours.segmenter.score_maps(found, p, *photo.shape[:2]), atol=1e-6)


def test_mask_prompts_are_used_where_they_are_on(photo: Any) -> None:  # noqa: ANN401
    sparse = threshold_for(photo, 2) - 0.1  # most patches of a crop are blank

    def maps(adapter: dict[str, Any], **given: Any) -> Any:  # noqa: ANN401
        return tiny({"CLIP_ENSEMBLE_WEIGHT": 0.9, "MASK_THR": sparse, **adapter}, **given).score_maps(photo, vectors())

    on, off = maps({}), maps({"MASK_PROMPT_FWD": False})
    assert not torch.allclose(on, off, atol=1e-4)
    assert torch.equal(maps({"MASK_PROMPT_DEPTH": 0}), off)
    assert maps({"MASK_PROMPT_DEPTH": 0}, depth=0).shape == on.shape
    assert maps({}, depth=3).shape == on.shape


def test_tensors_in_place_of_arrays_and_a_device_are_taken(photo: Any) -> None:  # noqa: ANN401
    state = {name: value.numpy() for name, value in ovseg_state(vocabulary=30, swin=False).items()}
    maps = load_ovseg(state, CONFIG, device="cpu").score_maps(photo, torch.from_numpy(vectors(1)))
    assert tuple(maps.shape) == (1, 60, 44)
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ours, photo: ours.score_maps(photo.astype(np.float32), vectors()), "photo: got float32"),
        (
            lambda ours, photo: ours.score_maps(photo, vectors()[0]),
            r"text_features: got shape \[16\]; expected \[C, D\]",
        ),
        (
            lambda ours, photo: ours.score_maps(photo, np.eye(8, dtype=np.float32)),
            "vectors of 16 numbers, and the CLIP's",
        ),
    ],
)
def test_input_of_another_form_is_one_message(photo: Any, call: Callable[..., Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(UserError, match=message):
        call(tiny({"CLIP_ENSEMBLE": False}), photo)


def test_a_clip_that_lacks_a_tensor_is_told() -> None:
    state = ovseg_state(vocabulary=30)
    del state["clip_adapter.clip_model.visual.proj"]
    with pytest.raises(UserError, match=r"its CLIP lacks visual\.proj"):
        load_ovseg(state, CONFIG)
