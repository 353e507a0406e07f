"""Proposals of models with one mask per query: MaskFormer, Mask2Former, OneFormer, EoMT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from transformers import AutoConfig

from stages.common import ImageRecord, Proposal, SampleError, UserError, hash_files
from stages.proposals import AnyProposals, ProposalsConfig, build_proposer, model_files
from stages.proposals.local_model import LocalModel
from stages.proposals.models import EomtProposals, Mask2FormerProposals, MaskFormerProposals, OneFormerProposals
from stages.proposals.queries import QueryModel, QueryProposer, load_query_model
from tests import tiny_models

KINDS = ("maskformer", "mask2former", "oneformer", "eomt")
RECORD = ImageRecord("1", "1.jpg", ("a cat",))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    makers: dict[str, Callable[[Path], Path]] = {kind: getattr(tiny_models, f"tiny_{kind}") for kind in KINDS}
    return {kind: maker(root / kind) for kind, maker in makers.items()}


def config_of(kind: str, folder: Path, **keys: object) -> AnyProposals:
    config: AnyProposals = TypeAdapter(ProposalsConfig).validate_python({"kind": kind, "model": str(folder), **keys})
    return config


def photo(height_px: int, width_px: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def as_bytes(proposals: list[Proposal]) -> str:
    return repr(proposals)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height_px", "width_px"), [(77, 131), (131, 77), (50, 50), (9, 70)])
def test_each_query_gives_a_mask_of_the_photos_size(
    folders: dict[str, Path], kind: str, height_px: int, width_px: int
) -> None:
    proposer = build_proposer(config_of(kind, folders[kind]))
    image = photo(height_px, width_px)
    proposals = proposer.propose(RECORD, image)
    assert len(proposals) == tiny_models.NUM_QUERIES
    for proposal in proposals:
        assert (proposal.rle.height, proposal.rle.width) == (height_px, width_px)
        assert 0.0 <= proposal.score <= 1.0
        assert proposal.source == kind
        assert proposal.label in tiny_models.CLASS_NAMES.values()
    assert as_bytes(proposals) == as_bytes(proposer.propose(RECORD, image))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sliver_is_a_bad_sample_and_a_pixel_is_a_photo(folders: dict[str, Path], kind: str) -> None:
    proposer = build_proposer(config_of(kind, folders[kind]))
    with pytest.raises(SampleError, match=r"unusable_shape: .* 1 x 500 px"):
        proposer.propose(RECORD, photo(1, 500))
    assert {(p.rle.height, p.rle.width) for p in proposer.propose(RECORD, photo(1, 1))} == {(1, 1)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_load_gives_the_same_masks(folders: dict[str, Path], kind: str) -> None:
    first, second = (build_proposer(config_of(kind, folders[kind])) for _ in range(2))
    assert as_bytes(first.propose(RECORD, photo(60, 90))) == as_bytes(second.propose(RECORD, photo(60, 90)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs_on_a_cpu(folders: dict[str, Path], kind: str, precision: Any) -> None:  # noqa: ANN401
    proposer = build_proposer(config_of(kind, folders[kind]), "cpu", precision)
    assert len(proposer.propose(RECORD, photo(60, 90))) == tiny_models.NUM_QUERIES


def test_class_probabilities_and_masks_are_there_for_other_uses(folders: dict[str, Path]) -> None:
    config = config_of("mask2former", folders["mask2former"])
    assert isinstance(config, Mask2FormerProposals)
    model = load_query_model(config, "cpu")
    queries = model.queries(photo(60, 90))
    assert queries.class_probs.shape == (tiny_models.NUM_QUERIES, len(model.class_names) + 1)
    torch.testing.assert_close(queries.class_probs.sum(1), torch.ones(tiny_models.NUM_QUERIES))
    torch.testing.assert_close(queries.objectness, 1 - queries.class_probs[:, -1])
    assert queries.logits_on_photo(0, 60, 90).shape == (60, 90)


class FakeModel:
    """Answers with logits whose masks show the bright part of its own input: the photo tells where they must land."""

    device = "cpu"

    def __init__(self, config: Any, stride: int) -> None:  # noqa: ANN401
        self.config, self.stride = config, stride

    def __call__(self, pixel_values: torch.Tensor, **_: object) -> SimpleNamespace:
        grey = torch.nn.functional.avg_pool2d(pixel_values.mean(1), self.stride)
        masks = torch.where(grey > 0.5, 8.0, -8.0)[:, None]  # [windows, 1, h, w]
        logits = torch.tensor([0.0, 3.0, 0.0, 1.0]).expand(len(masks), 1, 4)
        return SimpleNamespace(masks_queries_logits=masks, class_queries_logits=logits)


def bright_corner(height_px: int, width_px: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A black photo with a white rectangle in its lower right, and the rectangle's mask."""
    mask = np.zeros((height_px, width_px), dtype=bool)
    mask[height_px // 2 : height_px * 7 // 8, width_px * 5 // 8 : width_px * 15 // 16] = True
    return np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=-1), mask


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def proposer_with_fake_model(config: Any, stride: int) -> QueryProposer:  # noqa: ANN401
    local = LocalModel.find(config)
    model = FakeModel(AutoConfig.from_pretrained(local.folder), stride)
    is_oneformer, is_eomt = config.kind == "oneformer", config.kind == "eomt"
    processor = local.image_processor(**({"class_info_file": None} if is_oneformer else {}))
    return QueryProposer(config, QueryModel(model, processor, windowed=is_eomt))


@pytest.mark.parametrize(
    ("kind", "processor"),
    [
        ("maskformer", {"size_divisor": 0}),
        ("maskformer", {"size_divisor": 32}),
        ("maskformer", {"pad_size": {"height": 128, "width": 160}}),
        ("mask2former", {"size_divisor": 32}),
        ("mask2former", {"pad_size": {"height": 160, "width": 128}}),
        ("oneformer", {}),
        ("eomt", {}),
        ("eomt", {"do_split_image": True, "do_pad": False, "size": {"shortest_edge": 64, "longest_edge": None}}),
    ],
)
@pytest.mark.parametrize(("height_px", "width_px"), [(210, 301), (301, 210), (256, 256)])
def test_a_mask_lands_where_the_model_saw_it(
    tmp_path: Path, kind: str, processor: dict[str, Any], height_px: int, width_px: int
) -> None:
    folder = getattr(tiny_models, f"tiny_{kind}")(tmp_path / kind, **processor)
    image, expected = bright_corner(height_px, width_px)
    proposals = proposer_with_fake_model(config_of(kind, folder), stride=2).propose(RECORD, image)
    together = np.zeros_like(expected)
    for proposal in proposals:  # one per window: each has its own part of the rectangle
        together |= proposal.rle.decode()
    # A frame of about 64 pixels, with a logit for every second, is as sharp as this.
    assert iou(together, expected) > 0.88
    windows = 2 if processor.get("do_split_image") and height_px != width_px else 1
    assert len(proposals) == windows


def test_empty_masks_stay_and_scores_are_objectness(folders: dict[str, Path]) -> None:
    config = config_of("mask2former", folders["mask2former"], weigh_by_mask_confidence=True)
    proposer = proposer_with_fake_model(config, stride=4)
    black, image = np.zeros((60, 90, 3), np.uint8), bright_corner(60, 90)[0]
    objectness = 1 - float(torch.tensor([0.0, 3.0, 0.0, 1.0]).softmax(0)[-1])
    (empty,), (full,) = proposer.propose(RECORD, black), proposer.propose(RECORD, image)
    assert empty.rle.area_px == 0
    assert empty.score == pytest.approx(objectness)
    assert full.label == tiny_models.CLASS_NAMES[1]
    assert 0.5 * objectness < full.score < objectness  # times the mean probability inside the mask


def test_a_higher_threshold_gives_a_smaller_mask(folders: dict[str, Path]) -> None:
    areas = []
    for threshold in (0.1, 0.4, 0.9):
        config = config_of("maskformer", folders["maskformer"], mask_threshold=threshold)
        areas.append(proposer_with_fake_model(config, 8).propose(RECORD, bright_corner(90, 131)[0])[0].rle.area_px)
    assert areas[0] > areas[1] > areas[2] > 0


def test_published_thresholds_are_the_defaults() -> None:
    assert MaskFormerProposals(model="x").mask_threshold == 0.4
    assert Mask2FormerProposals(model="x").mask_threshold == 0.5


def test_oneformer_reads_its_task_and_no_class_file(tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "oneformer"
    shutil.copytree(folders["oneformer"], folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"class_info_file": "ade20k_panoptic.json", "repo_path": "nobody/nothing"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    scores = {}
    for task in ("panoptic", "semantic"):
        config = config_of("oneformer", folder, task=task)
        assert isinstance(config, OneFormerProposals)
        scores[task] = [proposal.score for proposal in build_proposer(config).propose(RECORD, photo(60, 90))]
    assert scores["panoptic"] != scores["semantic"]


def test_hashes_follow_the_weights_and_not_the_place(tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "eomt"
    shutil.copytree(folders["eomt"], folder)
    before = hash_files(model_files(config_of("eomt", folders["eomt"])))
    assert hash_files(model_files(config_of("eomt", folder))) == before
    assert set(before) == {"config.json", "preprocessor_config.json", "model.safetensors"}
    blob = bytearray((folder / "model.safetensors").read_bytes())
    blob[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(blob))
    changed = hash_files(model_files(config_of("eomt", folder)))
    assert {name for name in before if changed[name] != before[name]} == {"model.safetensors"}


def refusal(config: AnyProposals) -> str:
    with pytest.raises(UserError) as planned:
        model_files(config)
    with pytest.raises(UserError) as built:
        build_proposer(config)
    assert str(planned.value) == str(built.value)
    return str(built.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "neither a folder" in refusal(config_of("maskformer", tmp_path / "none"))


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("config.json", "config.json does not exist"),
        ("preprocessor_config.json", "no preprocessor_config.json"),
        ("model.safetensors", "no model.safetensors"),
    ],
)
def test_a_missing_file_is_refused(tmp_path: Path, folders: dict[str, Path], gone: str, told: str) -> None:
    folder = tmp_path / "eomt"
    shutil.copytree(folders["eomt"], folder)
    (folder / gone).unlink()
    assert told in refusal(config_of("eomt", folder))


def test_weights_in_shards_count_and_a_missing_shard_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    from transformers import EomtForUniversalSegmentation

    folder = tmp_path / "eomt"
    shutil.copytree(folders["eomt"], folder)
    (folder / "model.safetensors").unlink()
    model: Any = EomtForUniversalSegmentation.from_pretrained(folders["eomt"])
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    names = [path.name for path in model_files(config_of("eomt", folder))]
    assert names == sorted(["config.json", "model.safetensors.index.json", "preprocessor_config.json", *shards])
    whole, sharded = (build_proposer(config_of("eomt", path)) for path in (folders["eomt"], folder))
    assert as_bytes(whole.propose(RECORD, photo(60, 90))) == as_bytes(sharded.propose(RECORD, photo(60, 90)))
    (folder / shards[0]).unlink()
    assert shards[0] in refusal(config_of("eomt", folder))


def test_pickled_weights_are_refused_and_never_read(tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "eomt"
    shutil.copytree(folders["eomt"], folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(config_of("eomt", folder))
    assert "pytorch_model.bin" in message
    assert "save_pretrained" in message


def test_a_model_of_another_kind_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    message = refusal(config_of("maskformer", tiny_models.tiny_sam(tmp_path / "sam")))
    assert "'sam'" in message
    assert "maskformer" in message
    assert "mask2former" in refusal(config_of("sam", folders["mask2former"]))


def test_weights_that_leave_a_part_without_values_are_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "eomt"
    shutil.copytree(folders["eomt"], folder)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("class_predictor.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors .* class_predictor.weight"):
        build_proposer(EomtProposals(model=str(folder)))


def test_broken_weights_are_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "eomt"
    shutil.copytree(folders["eomt"], folder)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be loaded"):
        build_proposer(EomtProposals(model=str(folder)))


def test_an_unreachable_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    config = MaskFormerProposals(model="nobody/nothing", revision="0" * 40)
    assert "hub cannot be reached" in refusal(config)


def test_a_hub_id_is_downloaded_at_its_revision(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def download(model: str, **keys: object) -> str:
        asked.update(keys, model=model)
        return str(folders["eomt"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    files = model_files(EomtProposals(model="owner/name", revision="0" * 40))
    assert [path.name for path in files] == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert asked["model"] == "owner/name"
    assert asked["revision"] == "0" * 40
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert not any("bin" in pattern or pattern == "*" for pattern in patterns)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("maskformer", {"feature_extractor_type": "MaskFormerFeatureExtractor", "max_size": 96, "size": 64}),
        ("mask2former", {"image_processor_type": "Mask2FormerImageProcessor", "size": {"height": 96, "width": 96}}),
        ("eomt", {"image_processor_type": "EomtImageProcessorFast", "do_pad": True}),
    ],
)
def test_preprocessing_as_older_checkpoints_spell_it_is_read(
    tmp_path: Path, folders: dict[str, Path], kind: str, settings: dict[str, Any]
) -> None:
    folder = tmp_path / kind
    shutil.copytree(folders[kind], folder)
    old = json.loads((folder / "preprocessor_config.json").read_text())
    del old["image_processor_type"]
    (folder / "preprocessor_config.json").write_text(json.dumps({**old, **settings}))
    image, expected = bright_corner(150, 210)
    (proposal,) = proposer_with_fake_model(config_of(kind, folder), stride=2).propose(RECORD, image)
    assert iou(proposal.rle.decode(), expected) > 0.85
