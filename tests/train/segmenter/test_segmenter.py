"""The segmenter with tiny models: its parts, its results, its errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import ValidationError

from benchmarks.tiny_clip import save_tiny_clip
from stages.clip_config import ClipConfig
from stages.common import ImageRecord, Rle, SourceMask, UserError, load
from tests import tiny_models
from tests.train.segmenter.conftest import SMALL_CFG, config, photo
from train.clip.checkpoint.folder import save_adapted
from train.clip.model import MaskPromptCLIP
from train.clip.source import ClipSource, resolve
from train.segmenter import ClassName, Segmenter, SegmenterConfig
from train.segmenter.config import EVERYTHING_ELSE, PHOTO_SEGMENTER, SegmenterManifest
from train.segmenter.masks import Masks
from train.segmenter.segmenter import PhotoError

ROOT = Path(__file__).parents[3]
CLASSES = ["dog", "sea", "lawn|grass"]


@pytest.fixture(scope="module")
def classical(clip: str) -> Segmenter:
    return Segmenter.load(config(clip, {"kind": "classical"}), device="cpu")


def given(rles: list[Rle]) -> ImageRecord:
    return ImageRecord("1", "1.jpg", (), masks=tuple(SourceMask(rle.to_coco()) for rle in rles))


def half(height: int = 60, width: int = 90) -> Rle:
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    return Rle.encode(mask)


def test_a_photo_gives_labels_and_regions_that_agree(classical: Segmenter) -> None:
    image = photo()
    result = classical.segment(image, ["dog", "sea"])
    assert result.labels.shape == (60, 90)
    assert result.labels.dtype == np.int32
    assert set(np.unique(result.labels)) <= {-1, 0, 1}
    covered = np.zeros((60, 90), dtype=bool)
    for region in result.regions:
        covered |= region.rle.decode()
        assert region.area_px == region.rle.area_px
        assert region.box_xyxy_px == region.rle.box_xyxy_px
        assert region.name in ("dog", "sea")
        assert 0.5 <= region.score == region.probability <= 1  # of two classes; there is nothing but CLIP
    np.testing.assert_array_equal(result.labels >= 0, covered)
    assert [region.score for region in result.regions] == sorted((r.score for r in result.regions), reverse=True)
    assert sum(result.areas_px.values()) == covered.sum()


def test_the_same_photo_gives_the_same_result_and_texts_are_encoded_once(
    classical: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = classical.segment(photo(), ["a", "b", "c"])
    monkeypatch.setattr(classical.namer, "encode_forms", None)
    second = classical.segment(photo(), ["a", "b", "c"])
    assert first.to_json() == second.to_json()


def test_a_class_is_as_good_as_its_best_form(classical: Segmenter) -> None:
    image, masks = photo(), Masks.of([half()], 60, 90)
    forms = ["dog", "sea", "lawn", "grass"]
    features = torch.cat([features for _, features in classical.namer.encode(image, masks)])
    logits = 100 * features @ classical.namer.encode_forms(forms).T
    expected = torch.stack([logits[:, 0], logits[:, 1], logits[:, 2:].amax(dim=1)], dim=1).softmax(dim=1)
    for classes in (CLASSES, [ClassName(tuple(one.split("|"))) for one in CLASSES]):
        torch.testing.assert_close(classical.name(image, masks, classical.text(classes)), expected)


def test_a_cascade_names_what_matters_exactly_what_is_like_it_alike_and_the_rest_coarsely(
    tmp_path: Path,
) -> None:
    cfg = {**SMALL_CFG, "vision_cfg": {**SMALL_CFG["vision_cfg"], "patch_size": 8}}
    clip = f"local-dir:{save_tiny_clip(tmp_path, model_cfg=cfg)}"

    def box(top: int, bottom: int) -> Rle:
        mask = np.zeros((60, 90), dtype=bool)
        mask[top:bottom] = True
        return Rle.encode(mask)

    image = photo()
    masks = Masks.of([box(0, 4), box(4, 60), Rle.encode(np.zeros((60, 90), dtype=bool)), box(6, 60)], 60, 90)
    exact = Segmenter.load(config(clip, {"kind": "classical"}))
    asked = {"kind": "cascade", "keep": 1, "side": 0.5}
    cascade = Segmenter.load(config(clip, {"kind": "classical"}, naming=asked))
    text = exact.text(CLASSES)
    every, some = exact.name(image, masks, text), cascade.name(image, masks, text)
    torch.testing.assert_close(some[1], every[1])
    torch.testing.assert_close(some[3], every[1])
    assert not torch.allclose(some[3], every[3], atol=1e-4)
    assert not torch.allclose(some[0], every[0], atol=1e-4)
    assert some[2].tolist() == [1.0, 1.0, 1.0]
    kept = Segmenter.load(config(clip, {"kind": "classical"}, naming={"kind": "cascade", "keep": 3}))
    torch.testing.assert_close(kept.name(image, masks, text), every)


def test_an_empty_mask_has_probability_one_and_no_region(classical: Segmenter) -> None:
    empty = Rle.encode(np.zeros((60, 90), dtype=bool))
    masks = Masks.of([empty, half()], 60, 90)
    text = classical.text(CLASSES)
    p_clip = classical.name(photo(), masks, text)
    assert p_clip[0].tolist() == [1.0, 1.0, 1.0]
    assert float(p_clip[1].sum()) == pytest.approx(1)
    assert classical.combine(masks, p_clip, text)[0].tolist() == [0.0, 0.0, 0.0]


def test_oracle_labels_can_be_put_in(classical: Segmenter) -> None:
    masks = Masks.of([half()], 60, 90)
    labels = classical.assemble(masks, torch.tensor([[0.0, 1.0, 0.0]]), 60, 90)
    assert (labels[:, :45] == 1).all()
    assert (labels[:, 45:] == -1).all()


def test_one_class_takes_every_mask_unless_there_is_everything_else(clip: str) -> None:
    segmenter = Segmenter.load(config(clip, {"kind": "ground_truth"}))
    alone = segmenter.segment(photo(), ["dog"], given([half()]))
    assert (alone.labels[:, :45] == 0).all()
    assert alone.regions[0].probability == 1.0
    with_else = Segmenter.load(config(clip, {"kind": "ground_truth"}, everything_else=EVERYTHING_ELSE))
    p_clip = with_else.name(photo(), Masks.of([half()], 60, 90), with_else.text(["dog"]))
    assert p_clip.shape == (1, 2)
    result = with_else.segment(photo(), ["dog"], given([half()]))
    is_dog = bool(p_clip[0, 0] >= p_clip[0, 1])
    assert bool((result.labels[:, :45] == 0).all()) is is_dog
    assert (result.labels[:, 45:] == -1).all()
    assert len(result.regions) == int(is_dog)


def test_everything_else_becomes_nothing(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter.load(config(clip, {"kind": "ground_truth"}, everything_else=["void"]))
    monkeypatch.setattr(segmenter, "name", lambda *_: torch.tensor([[0.2, 0.1, 0.7]]))
    result = segmenter.segment(photo(), ["dog", "sea"], given([half()]))
    assert (result.labels == -1).all()
    assert result.regions == ()
    assert result.areas_px == {}


def test_a_generators_classes_take_part_and_are_reported(clip: str, generators: dict[str, Path]) -> None:
    proposer = {"kind": "maskformer", "model": str(generators["maskformer"])}
    segmenter = Segmenter.load(config(clip, proposer, similarity_threshold=1.0, clip_weight=0.0))
    result = segmenter.segment(photo(), ["dog", "sea", "lawn"])
    assert result.label_matches == {"dog": "name"}
    assert segmenter.label_matches(["sward|grass"])[0].how == "synonym"
    masks = segmenter.propose(photo())
    assert masks.label_probs is not None
    assert masks.queries is not None
    assert len(masks) == tiny_models.NUM_QUERIES
    text = segmenter.text(["dog", "sea", "lawn"])
    scores = segmenter.combine(masks, segmenter.name(photo(), masks, text), text)
    torch.testing.assert_close(scores[:, 0], masks.label_probs[:, 1])  # with w = 0 the generator alone says 'dog'
    assert result.labels.min() >= 0  # soft masks are above 0 everywhere
    np.testing.assert_array_equal(result.labels, segmenter.assemble(masks, scores, 60, 90))


def test_masks_are_cut_at_the_threshold_and_the_best_are_taken(clip: str, generators: dict[str, Path]) -> None:
    proposer = {"kind": "maskformer", "model": str(generators["maskformer"])}
    areas = []
    for threshold in (0.1, 0.9):
        masks = Segmenter.load(config(clip, proposer, mask_threshold=threshold, limit=3)).propose(photo())
        assert len(masks) == 3
        assert masks.scores.tolist() == sorted(masks.scores.tolist(), reverse=True)
        areas.append(sum(rle.area_px for rle in masks.rles))
    assert areas[0] > areas[1]


@pytest.mark.parametrize("kind", ["eomt", "sam"])
def test_other_generators_segment_too(clip: str, generators: dict[str, Path], kind: str) -> None:
    proposer = {"kind": kind, "model": str(generators[kind])} | ({"points_per_side": 2} if kind == "sam" else {})
    segmenter = Segmenter.load(config(clip, proposer))
    result = segmenter.segment(photo(), ["dog", "sea"])
    assert result.labels.shape == (60, 90)
    assert bool(result.label_matches) is (kind == "eomt")


def test_half_precision_runs_and_prompts_are_given_on_request(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for use_prompts in (True, False):
        segmenter = Segmenter.load(config(clip, {"kind": "classical"}, precision="bf16", use_prompts=use_prompts))
        asked: list[bool] = []

        def watched(_: object, pixels: torch.Tensor, *keep: torch.Tensor, asked: list[bool] = asked) -> torch.Tensor:
            asked.append(bool(keep))
            return torch.ones(len(pixels), 64)

        monkeypatch.setattr(MaskPromptCLIP, "encode_image", watched)
        segmenter.segment(photo(), ["dog", "sea"])
        assert set(asked) == {use_prompts}


def test_nan_is_no_answer(classical: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaskPromptCLIP, "encode_image", lambda _, pixels, *keep: pixels.new_full((1, 64), torch.nan))
    with pytest.raises(UserError, match="clip: the image tower gives NaN or infinity in fp32"):
        classical.segment(photo(), CLASSES)


def test_mistakes_are_named(clip: str, classical: Segmenter) -> None:
    with pytest.raises(UserError, match="'dog' stands twice"):
        classical.segment(photo(), ["dog", "dog"])
    with pytest.raises(UserError, match="'ground_truth' takes the masks that come with a photo"):
        Segmenter.load(config(clip, {"kind": "ground_truth"})).segment(photo(), ["dog"])
    with pytest.raises(ValidationError, match=r"proposer\.mask_threshold is for mining"):
        config(clip, {"kind": "maskformer", "model": "x", "mask_threshold": 0.3})
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch sees no GPU"):
            Segmenter.load(config(clip, {"kind": "classical"}), device="cuda")


def test_broken_files_are_named(tmp_path: Path, classical: Segmenter) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"broken\.jpg: cannot be segmented"):
        classical.segment_file(broken, ["dog"])
    with pytest.raises(PhotoError, match=r"none\.jpg: cannot be read"):
        classical.segment_file(tmp_path / "none.jpg", ["dog"])


def test_a_result_is_saved_and_read_again(tmp_path: Path, classical: Segmenter) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(photo()).save(file)
    names = [f"class {number}" for number in range(300)]
    for classes, mode in ((["dog", "sea"], "L"), (names, "I;16")):
        result = classical.segment_file(str(file), classes)
        overlay, labels, data = result.save(tmp_path / "out")
        with Image.open(labels) as image:
            assert image.mode == mode
            np.testing.assert_array_equal(np.array(image), result.labels + 1)
        document = json.loads(data.read_text(encoding="utf-8"))
        assert document["classes"] == classes
        rle = document["regions"][0]["rle"]
        assert Rle.from_coco(rle, 60, 90) == result.regions[0].rle
        with Image.open(overlay) as image:
            assert image.width > 640
    assert {path.name for path in (overlay, labels, data)} == {"one.overlay.png", "one.labels.png", "one.json"}


def test_shipped_manifests_load_and_photos_have_a_default() -> None:
    for path in sorted((ROOT / "manifests/segment").glob("*.yaml")):
        load(SegmenterManifest, path)
    assert load(SegmenterManifest, PHOTO_SEGMENTER, ["clip_weight=0.5"]).clip_weight == 0.5


def test_wrong_keys_of_a_manifest_are_named(tmp_path: Path) -> None:
    path = tmp_path / "segment.yaml"
    path.write_text("version: 2\nkind: segmenter\nproposer: {kind: magic}\nclip: {}\nwait: 1\n")
    with pytest.raises(UserError, match=r"(?s)unknown kind 'magic'.*clip: expected 'model'.*wait: unknown key"):
        load(SegmenterManifest, path)


def test_the_documentation_names_every_key_with_its_default() -> None:
    text = (ROOT / "docs/segment.md").read_text(encoding="utf-8")
    section = text.partition("\n## Configuration\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE))
    fields = SegmenterConfig.model_fields
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        if isinstance(field.default, bool | int | float | str) or field.default is None:
            assert yaml.safe_load(rows[name].strip().strip("`")) == field.default, name


def test_an_adapted_clip_heeds_the_masks_of_its_regions(clip: str, tmp_path: Path) -> None:
    plain, _ = resolve(ClipSource(model=clip)).load("cpu")
    torch.manual_seed(0)
    adapted = MaskPromptCLIP(plain.clip, 1)
    assert adapted.mask_embedding is not None
    adapted.mask_embedding.data.mul_(50)
    save_adapted(tmp_path / "adapted", adapted, ClipConfig(model=clip), {})
    corner = np.zeros((60, 90), dtype=bool)
    corner[:30, :45] = corner[30:, 45:] = True  # its box is the photo: two of four patches are blank
    image, masks = photo(), Masks.of([Rle.encode(corner)], 60, 90)
    found = {}
    for use_prompts in (True, False):
        keys = {"clip": {"weights": str(tmp_path / "adapted")}, "use_prompts": use_prompts}
        segmenter = Segmenter.load(config(clip, {"kind": "classical"}, **keys))
        found[use_prompts] = segmenter.name(image, masks, segmenter.text(CLASSES))
    without = Segmenter.load(config(clip, {"kind": "classical"}))
    torch.testing.assert_close(found[False], without.name(image, masks, without.text(CLASSES)))
    assert not torch.allclose(found[True], found[False], atol=1e-3)
