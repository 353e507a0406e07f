"""Proposals of SAM and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.common import ImageRecord, Precision, Proposal, SampleError
from stages.proposals import sam as sam_module
from stages.proposals.local_model import LocalModel
from stages.proposals.models import SamProposals
from stages.proposals.sam import SamProposer, load_sam
from tests import tiny_models

KINDS: dict[str, Callable[[Path], Path]] = {
    "sam": tiny_models.tiny_sam,
    "sam_hq": tiny_models.tiny_sam_hq,
    "sam2": tiny_models.tiny_sam2,
    "sam3": tiny_models.tiny_sam3,
    "edgetam": tiny_models.tiny_edgetam,
}
RECORD = ImageRecord("1", "1.jpg", ("a cat",))
EVERYTHING: dict[str, Any] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sams")
    return {kind: maker(root / kind) for kind, maker in KINDS.items()}


def proposer_of(folder: Path, precision: Precision = "fp32", model: Any = None, **keys: Any) -> SamProposer:  # noqa: ANN401
    """With the folder's model, or another one."""
    config = SamProposals(model=str(folder), **{"points_per_side": 3, "points_per_batch": 4, **EVERYTHING, **keys})
    if model is None:
        return load_sam(config, "cpu", precision)
    return SamProposer(config, model, LocalModel.find(config).image_processor(), precision)


def photo(height_px: int, width_px: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height_px", "width_px"), [(77, 131), (131, 77), (50, 50), (9, 70)])
def test_each_point_gives_masks_of_the_photos_size(
    folders: dict[str, Path], kind: str, height_px: int, width_px: int
) -> None:
    proposer = proposer_of(folders[kind])
    proposals = proposer.propose(RECORD, photo(height_px, width_px))
    assert len(proposals) == 3 * 3 * 3  # points, three masks each
    for proposal in proposals:
        assert (proposal.rle.height, proposal.rle.width) == (height_px, width_px)
        assert 0.0 <= proposal.score <= 1.0
        assert proposal.source == "sam"
    scores = [proposal.score for proposal in proposals]
    assert scores == sorted(scores, reverse=True)
    assert proposals == proposer.propose(RECORD, photo(height_px, width_px))
    assert proposals == (proposer_of(folders[kind])).propose(RECORD, photo(height_px, width_px))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs_on_a_cpu(folders: dict[str, Path], kind: str, precision: str) -> None:
    proposer = proposer_of(folders[kind], precision)
    assert len(proposer.propose(RECORD, photo(60, 90))) == 27


def pipelined(proposer: SamProposer, image: NDArray[np.uint8], **keys: Any) -> list[tuple[float, bytes]]:  # noqa: ANN401
    from transformers import pipeline

    generate: Any = pipeline("mask-generation", model=proposer._model, image_processor=proposer._processor)
    out = generate(Image.fromarray(image), **keys)
    return sorted(
        (min(float(score), 1.0), np.asarray(mask).tobytes())
        for score, mask in zip(out["scores"], out["masks"], strict=True)
    )


def plain(proposals: list[Proposal]) -> list[tuple[float, bytes]]:
    return sorted((proposal.score, proposal.rle.decode().tobytes()) for proposal in proposals)


@pytest.mark.parametrize(
    ("kind", "height_px", "width_px"),
    [("sam", 120, 200), ("sam_hq", 200, 120), ("sam2", 150, 150), ("sam3", 150, 150), ("edgetam", 150, 150)],
)
@pytest.mark.parametrize("crops_n_layers", [0, 1])
def test_masks_are_those_of_the_pipeline(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    height_px: int,
    width_px: int,
    crops_n_layers: int,
) -> None:
    monkeypatch.setattr(sam_module, "_CHUNK_PX", 2 * height_px * width_px)  # chunks must make no difference
    keys: dict[str, Any] = {"crops_n_layers": crops_n_layers, "stability_score_thresh": 0.3, "crops_nms_thresh": 0.95}
    proposer = proposer_of(folders[kind], **keys)
    image = photo(height_px, width_px)
    found = plain(proposer.propose(RECORD, image))
    expected = pipelined(proposer, image, points_per_crop=3, points_per_batch=4, pred_iou_thresh=0.0, **keys)
    assert len(found) == len(expected) > 0
    assert [mask for _, mask in found] == [mask for _, mask in expected]
    np.testing.assert_allclose([score for score, _ in found], [score for score, _ in expected], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shown_hw_px"), [("sam", (32, 64)), ("sam2", (64, 64)), ("sam3", (112, 112)), ("edgetam", (64, 64))]
)
def test_points_cover_what_the_model_sees(folders: dict[str, Path], kind: str, shown_hw_px: tuple[int, int]) -> None:
    """SAM pads a photo of 2:1 to a square, and SAM2 squashes it: its points go down to the lower edge."""
    proposer = proposer_of(folders[kind], points_per_side=4)
    model, forward, seen = proposer._model, proposer._model.forward, []

    def spy(*args: Any, **keys: Any) -> Any:  # noqa: ANN401
        seen.append(keys["input_points"].reshape(-1, 2))
        return forward(*args, **keys)

    model.forward = spy
    proposer.propose(RECORD, photo(100, 200))
    points = torch.cat(seen)
    height_px, width_px = shown_hw_px
    assert sorted(set(points[:, 0].tolist())) == [width_px * step / 8 for step in (1, 3, 5, 7)]
    assert sorted(set(points[:, 1].tolist())) == [height_px * step / 8 for step in (1, 3, 5, 7)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crops_n_layers", [0, 1])
def test_a_mask_lands_where_the_model_saw_it(folders: dict[str, Path], kind: str, crops_n_layers: int) -> None:
    expected = np.zeros((280, 480), dtype=bool)
    expected[30:105, 50:160] = True
    image = np.repeat((expected * 255).astype(np.uint8)[..., None], 3, axis=-1)

    class FakeModel:
        """Gives the bright part of its own input as the only mask."""

        device = "cpu"

        def get_image_embeddings(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean(1, keepdim=True)

        def __call__(self, image_embeddings: torch.Tensor, **_: object) -> SimpleNamespace:
            masks = torch.where(image_embeddings > 0.5, 8.0, -8.0)[None]  # [1, 1 point, 1 mask, h, w]
            return SimpleNamespace(pred_masks=masks, iou_scores=torch.ones(1, 1, 1))

    proposer = proposer_of(folders[kind], model=FakeModel(), points_per_side=1, crops_n_layers=crops_n_layers)
    proposals = [proposal for proposal in proposer.propose(RECORD, image) if proposal.rle.area_px]
    # The whole photo shows the rectangle, and so does the first crop alone, off its borders.
    assert len(proposals) == 1 + crops_n_layers
    for proposal in proposals:
        mask = proposal.rle.decode()
        assert (mask & expected).sum() / (mask | expected).sum() > 0.9


@pytest.mark.parametrize("crops_n_layers", [0, 1])
def test_a_sliver_is_a_bad_sample(folders: dict[str, Path], crops_n_layers: int) -> None:
    with pytest.raises(SampleError, match="unusable_shape"):
        proposer_of(folders["sam"], crops_n_layers=crops_n_layers).propose(RECORD, photo(1, 500))


def test_thresholds_and_nms_drop_masks(folders: dict[str, Path]) -> None:
    image = photo(60, 90)
    everything = (proposer_of(folders["sam"])).propose(RECORD, image)
    scores = sorted(proposal.score for proposal in everything)
    sure = (proposer_of(folders["sam"], pred_iou_thresh=scores[10])).propose(RECORD, image)
    assert 0 < len(sure) < len(everything)
    assert min(proposal.score for proposal in sure) > scores[10]
    assert len((proposer_of(folders["sam"], crops_nms_thresh=0.5)).propose(RECORD, image)) < len(everything)
    assert (proposer_of(folders["sam"], pred_iou_thresh=1.0, stability_score_thresh=1.0)).propose(RECORD, image) == []


def test_a_mask_that_moves_with_the_cutoff_is_dropped(folders: dict[str, Path]) -> None:
    sharp = torch.full((64, 64), -8.0)
    sharp[20:40, 20:40] = 8.0
    vague = torch.linspace(-2, 2, 64).expand(64, 64)  # a quarter of it lies above 1, three quarters above -1

    class FakeModel:
        device = "cpu"

        def get_image_embeddings(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

        def __call__(self, **_: object) -> SimpleNamespace:
            return SimpleNamespace(pred_masks=torch.stack([sharp, vague])[None, None], iou_scores=torch.ones(1, 1, 2))

    found = {}
    for threshold in (0.0, 0.5):
        keys = {"points_per_side": 1, "stability_score_thresh": threshold}
        proposer = proposer_of(folders["sam2"], model=FakeModel(), **keys)
        found[threshold] = [proposal.rle.area_px for proposal in proposer.propose(RECORD, photo(64, 64))]
    assert found == {0.0: [400, 2048], 0.5: [400]}


def test_crops_are_asked_for_as_configured(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    proposer = proposer_of(folders["sam"], points_per_side=1, crops_n_layers=1, crop_overlap_ratio=0.2)
    sizes, embed = [], proposer._processor.__class__.__call__

    def spy(self: object, images: torch.Tensor, **keys: object) -> object:
        sizes.append(tuple(images.shape[-2:]))
        return embed(self, images=images, **keys)

    monkeypatch.setattr(proposer._processor.__class__, "__call__", spy)
    proposer.propose(RECORD, photo(100, 200))
    # Half the side plus half of the overlap, which is 0.2 of the shorter side.
    assert sizes == [(100, 200), (60, 110), (60, 110), (60, 110), (60, 110)]
