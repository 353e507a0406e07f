"""OVSeg's mask generator alone: files, names, sizes, messages, and masks for mining."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.common import ImageRecord, SampleError, UserError
from stages.proposals import MaskRules, OvsegProposals, build_generator, build_proposer, model_files, refine
from stages.proposals.ovseg import OvsegGenerator
from stages.proposals.ovseg_file import OvsegFile
from tests.tiny_ovseg import CLIP, CONFIG, QUERIES, ovseg_state, write_ovseg

RECORD = ImageRecord("a", "a.jpg", ())


@pytest.fixture(scope="module")
def photo() -> Any:  # noqa: ANN401
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def generator(config: dict[str, Any] | None = None, **given: Any) -> OvsegGenerator:  # noqa: ANN401
    return OvsegGenerator.of(OvsegFile.of(ovseg_state(**given), {**CONFIG, **(config or {})}))


@pytest.mark.parametrize("swin", [True, False])
def test_queries_have_soft_masks_and_an_opinion_on_any_word(photo: Any, swin: bool) -> None:  # noqa: ANN401
    said = generator(swin=swin).queries(photo)
    assert said.frame is not None
    assert said.frame.shape == (64, 90, 3)
    assert tuple(said.mask_logits.shape) == (QUERIES, 16, 24)
    assert said.words is not None
    text = torch.nn.functional.normalize(torch.randn(3, CLIP), dim=-1)
    probs = said.words.probs(text)
    assert tuple(probs.shape) == (QUERIES, 4)
    assert torch.allclose(probs.sum(1), torch.ones(QUERIES))
    logits = said.words.logits(text)
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    assert torch.allclose(said.words.logits(text.flip(0))[:, :3], logits[:, :3].flip(1), atol=1e-4)
    assert torch.allclose(said.class_probs.sum(1), torch.ones(QUERIES))


def test_arrays_half_precision_and_a_nested_file_give_the_same(photo: Any) -> None:  # noqa: ANN401
    state = ovseg_state()
    expected = OvsegGenerator.of(OvsegFile.of(state, CONFIG)).queries(photo).mask_logits
    arrays = {name: value.numpy() for name, value in state.items()}
    assert torch.equal(OvsegGenerator.of(OvsegFile.of(arrays, CONFIG)).queries(photo).mask_logits, expected)
    nested = {"model": state, "iteration": 3, "optimizer": {"state": {}}}
    assert torch.equal(OvsegGenerator.of(OvsegFile.of(nested, CONFIG)).queries(photo).mask_logits, expected)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    found = OvsegGenerator.of(OvsegFile.of(halves, CONFIG)).queries(photo).mask_logits
    assert torch.allclose(found, expected, atol=0.02 * float(expected.abs().max()))


def test_old_names_without_pixel_decoder_are_the_same_file(photo: Any) -> None:  # noqa: ANN401
    state = ovseg_state()
    old = {name.replace("pixel_decoder.", ""): value for name, value in state.items()}
    read = OvsegFile.of(old, CONFIG)
    assert read.state.keys() == state.keys()
    assert read.versions["sem_seg_head"]["version"] == 2
    assert torch.equal(OvsegGenerator.of(read).queries(photo).mask_logits, generator().queries(photo).mask_logits)


def test_defaults_are_those_of_the_released_file_of_the_backbone() -> None:
    swin = OvsegFile.of(ovseg_state(), None).settings
    resnet = OvsegFile.of(ovseg_state(swin=False), None).settings
    assert (swin.input.MIN_SIZE_TEST, swin.input.MAX_SIZE_TEST, swin.clip_adapter.MASK_THR) == (640, 2560, 0.4)
    assert (resnet.input.MIN_SIZE_TEST, resnet.input.MAX_SIZE_TEST, resnet.clip_adapter.MASK_THR) == (512, 2048, 0.5)


def test_settings_change_what_they_are_of(photo: Any) -> None:  # noqa: ANN401
    plain = generator(swin=False).queries(photo).mask_logits
    grid = generator({"resnets": {"RES5_MULTI_GRID": (1, 1, 1)}}, swin=False).queries(photo).mask_logits
    swapped = generator({"input": {**CONFIG["input"], "FORMAT": "BGR"}}, swin=False).queries(photo).mask_logits
    mirrored = generator(swin=False).queries(photo[..., ::-1].copy()).mask_logits
    assert not torch.allclose(plain, grid)
    assert not torch.allclose(plain, swapped)
    assert torch.equal(mirrored, swapped)
    dilated = generator({"resnets": {"RES5_DILATION": 2}}, swin=False)
    assert dilated.queries(photo).mask_logits.shape == plain.shape
    for swin, multiple, width in ((True, 64, 32), (True, -1, 24), (False, -1, 23), (False, 0, 23)):
        padded = generator({"mask_former": {"NHEADS": 2, "SIZE_DIVISIBILITY": multiple}}, swin=swin)
        assert padded.queries(photo).mask_logits.shape[2] == width


def test_a_long_photo_is_held_to_the_longest_side_and_a_sliver_is_set_aside() -> None:
    ours = generator()
    assert ours.resized(np.zeros((20, 100, 3), np.uint8)).shape == (19, 96, 3)
    with pytest.raises(SampleError, match="unusable_shape"):
        ours.queries(np.zeros((1, 400, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("backbone.norm2.bias"),
            "nothing for maskformer.pixel_level_module.encoder.hidden_states",
        ),
        (lambda state: state.update({"backbone.odd": torch.zeros(1)}), "backbone.odd is unknown"),
        (
            lambda state: state.update({"backbone.norm2.bias": torch.zeros(3)}),
            r"backbone.norm2.bias is \[3\], expected",
        ),
        (lambda state: state.pop("sem_seg_head.predictor.query_embed.weight"), "lacks sem_seg_head.predictor.query_"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: Any, message: str) -> None:  # noqa: ANN401
    state = ovseg_state()
    change(state)
    with pytest.raises(UserError, match=message):
        OvsegGenerator.of(OvsegFile.of(state, CONFIG))


@pytest.mark.parametrize(
    ("prefix", "message"),
    [("backbone.", r"has no backbone\.\*"), ("clip_adapter.clip_model.", r"has no clip_adapter.clip_model.\*")],
)
def test_a_file_that_is_no_whole_ovseg_is_refused(prefix: str, message: str) -> None:
    state = OrderedDict((name, value) for name, value in ovseg_state().items() if not name.startswith(prefix))
    with pytest.raises(UserError, match=message):
        OvsegFile.of(state, CONFIG)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"clip_adapter": {"MASK_MATTING": True}}, "clip_adapter.MASK_MATTING: Input should be False, got True"),
        ({"mask_former": {"ENC_LAYERS": 6}}, "mask_former.ENC_LAYERS: Input should be 0"),
        ({"input": {"MIN_SIZE_TEST": "large"}}, "input.MIN_SIZE_TEST"),
        ({"swin": {"APE": True}}, "swin.APE"),
        ({"clip_adapter": {"TEXT_TEMPLATES": "imagenet"}}, "clip_adapter.TEXT_TEMPLATES: 'imagenet' is not known"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OvsegFile.of(ovseg_state(), config)
    OvsegFile.of(ovseg_state(), {"resnets": {"STEM_TYPE": "x", "DEFORM_ON_PER_STAGE": [True]}})  # not in use


@pytest.mark.parametrize("name", ["none.pth", "text.pth", "folder"])
def test_a_path_that_cannot_be_read_is_one_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=name):
        build_generator(OvsegProposals(model=str(tmp_path / name)))


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ovseg.json").write_text(json.dumps({"kind": "other"}))
    with pytest.raises(UserError, match="kind 'other', version None; expected kind 'ovseg', version 1"):
        build_generator(OvsegProposals(model=str(tmp_path)))
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", Path("none.pth")):
        with pytest.raises(UserError, match=r"there is no OVSeg at .*A path in a manifest begins with"):
            model_files(OvsegProposals(model=str(place)))


def test_every_query_is_a_proposal_at_the_photos_size(tmp_path: Path, photo: Any) -> None:  # noqa: ANN401
    config = OvsegProposals(model=str(write_ovseg(tmp_path / "ovseg.pth")))
    assert [file.name for file in model_files(config)] == ["ovseg.pth"]
    proposals = build_proposer(config).propose(RECORD, photo[:24, :32])
    assert len(proposals) == QUERIES
    assert {one.rle.decode().shape for one in proposals} == {(24, 32)}
    assert {(one.source, one.label) for one in proposals} == {("ovseg", None)}
    assert all(0 <= one.score <= 1 for one in proposals)
    kept, _ = refine(proposals, MaskRules())
    assert all(one.rle.area_px for one in kept)
