"""`maskmine reproduce` on tiny stand-ins of every file: checkpoints, a benchmark, COCO, and the models of a hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.tiny_clip import save_tiny_clip
from pipeline.cli import reproduce_needs as needs
from pipeline.cli import reproduce_steps as steps
from pipeline.cli.app import app
from pipeline.cli.reproduce_plan import MODELS, BenchmarkName
from pipeline.terminal import terminal
from stages.common import UserError
from tests.photos import write_photos
from tests.tiny_models import tiny_maskformer
from tests.tiny_ovseg import CLIP, CONFIG, write_ovseg

RUNNER = CliRunner()
PARTIAL = ("--set", "evaluate.set.partial=true")
CLIP_CONFIG = {
    "embed_dim": CLIP,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 16, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
TINY_MINING = (
    *("build.run.runner=loop", "build.run.cache=none", "train.batch_size=2", "train.data.workers=0"),
    *("train.tensorboard=false", "train.phases=[{train: tower, steps: 1}, {train: prompts, steps: 1}]"),
)


def run(*arguments: object) -> Any:  # noqa: ANN401 - click's Result
    result = RUNNER.invoke(app, [str(one) for one in ("reproduce", *arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def last_row(printed: str, system: str) -> str:
    return [line for line in printed.splitlines() if line.startswith(system)][-1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of ADE20K's, and COCO with four, as their archives unpack."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    ade = root / "ADEChallengeData2016"
    for name in ("images", "annotations"):
        (ade / name / "validation").mkdir(parents=True)
    for number in (1, 2):
        key = f"ADE_val_{number:08d}"
        pixels = rng.integers(0, 256, (40, 52, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(ade / f"images/validation/{key}.jpg")
        Image.fromarray(rng.integers(0, 4, (40, 52), dtype=np.uint8)).save(ade / f"annotations/validation/{key}.png")
    photos = write_photos(root / "coco", 4)
    (photos / "images").rename(photos / "train2017")
    (photos / "annotations").mkdir()
    (photos / "captions.json").rename(photos / "annotations/captions_train2017.json")
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """R101c + ViT-B/16 as a converted folder whose settings suit small photos, a MaskFormer, and a CLIP."""
    root = tmp_path_factory.mktemp("models")
    folder = root / "ovseg_R101c_vitB16_ft_mpt"
    file = write_ovseg(root / "tiny.pth", swin=False)
    RUNNER.invoke(app, ["export", str(file), "--layout", "ovseg_folder", "--out", str(folder)], catch_exceptions=False)
    about = json.loads((folder / "ovseg.json").read_text())
    about["config"] |= CONFIG
    (folder / "ovseg.json").write_text(json.dumps(about))
    tiny_maskformer(root / "maskformer-swin-base-coco")
    save_tiny_clip(root / "ViT-B-16", model_cfg=CLIP_CONFIG)
    return root


@pytest.fixture
def no_more_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, a picture that is segmented, an image that is mined or a step of training fails."""

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("this was done before")

    def forbid() -> None:
        monkeypatch.setattr("train.evaluate.semantic.scorer.Scorer.predict", refuse)
        monkeypatch.setattr("train.adapt.objective.Objective.backward", refuse)
        monkeypatch.setattr("pipeline.steps.StepAdapter.run", refuse)

    return forbid


def test_measured_stands_beside_published_and_is_not_computed_again(
    data: Path, models: Path, tmp_path: Path, no_more_work: Callable[[], None]
) -> None:
    out = tmp_path / "out"
    command = ("a-150", "--data", data, "--models", models, "--out", out, "--json", tmp_path / "rows.json", *PARTIAL)
    first = run(*command)
    assert "1. OVSeg R101c + ViT-B/16 on A-150, as published" in first.output, "the model whose file is there"
    assert "only a part of a150: 2 of 2,000 pictures" in first.output
    [row] = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert row["published"] == 24.8
    assert row["images"] == row["pictures"] == 2
    assert row["miou_gt"] >= row["miou_gt_or_predicted"] >= 0
    assert row["seconds"] > 0
    assert row["peak_bytes"] > 1 << 20
    assert last_row(first.output, "OVSeg R101c + ViT-B/16").split()[-4:] == [
        *("A-150", f"{row['miou_gt']:.1f}", f"{row['miou_gt_or_predicted']:.1f}", "24.8")
    ]
    assert "OVSeg R101c + ViT-B/16 on A-150: 2 pictures in " in first.output
    no_more_work()
    run(*command)
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == [row]


def test_the_published_rules_are_those_of_the_evaluation(data: Path, models: Path) -> None:
    names: tuple[BenchmarkName, ...] = ("a-847", "pc-59", "pas-20")
    rules = {name: needs.evaluation("r101c", name, str(data), models, []).segmenter for name in names}
    assert {name: one.clip_weight for name, one in rules.items() if one} == {"a-847": 0.7, "pc-59": 0.6, "pas-20": 0.45}
    swin = needs.evaluation("swin-b", "a-150", str(data), models, []).segmenter
    assert swin is not None
    assert (swin.mask_threshold, swin.clip, swin.precision) == (0.4, None, "fp32")
    assert {one.mask_threshold for one in rules.values() if one} == {0.5}


def test_mine_goes_from_captions_to_a_row_and_is_not_done_again(
    data: Path, models: Path, tmp_path: Path, no_more_work: Callable[[], None]
) -> None:
    settings = [part for one in TINY_MINING for part in ("--set", one)]
    command = ("a-150", "--mine", "--data", data, "--models", models, "--out", tmp_path / "out", *PARTIAL, *settings)
    first = run(*command)
    titles = ("mine pairs", "adapt ViT-B-16", "the masks of OVSeg R101c + ViT-B/16, named by the adapted ViT-B-16")
    for number, title in enumerate(titles, start=1):
        assert f"{number}. {title}" in first.output
        assert f"Step {number} of 3: {title}" in first.output
    row = last_row(first.output, "mined here, ViT-B-16")
    assert "24.8" in row
    provenance = json.loads((tmp_path / "out/adapted-r101c/last/maskmine.json").read_text())
    assert provenance["prompts"]["depth"] == 3
    no_more_work()
    again = run(*command)
    assert row in again.output


def test_two_processes_adapt_what_was_mined(data: Path, models: Path, tmp_path: Path) -> None:
    asked = list(TINY_MINING)
    shards, console = tmp_path / "mined", terminal()
    steps.mine(needs.build_manifest(str(data), models, asked), shards, console)
    settings = needs.recipe_settings("r101c", shards, models, asked)
    recipe = needs.manifest_file(MODELS["r101c"].recipe)
    steps.adapt_by_torchrun(recipe, settings, tmp_path / "adapted", 2)
    assert (tmp_path / "adapted/last/maskmine.json").is_file()
    with pytest.raises(UserError, match="the training ended with status"):
        steps.adapt_by_torchrun(recipe, [*settings, "batch_size=none"], tmp_path / "other", 2)


def test_a_maskformer_may_give_the_masks(data: Path, models: Path, tmp_path: Path) -> None:
    places = ("--data", data, "--models", models, "--out", tmp_path / "out", *PARTIAL)
    shown = run("a-150", "--mine", "--generator", "maskformer", "--model", "r101c", "--check", *places).output
    assert "the masks of a MaskFormer, named by the adapted ViT-B-16" in shown
    assert "All of it is there." in shown
    assert not (tmp_path / "out").exists()


def test_a_check_asks_no_hub_and_names_what_would_be_fetched(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*given: object, **named: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("httpx.Client.send", asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    places = ("--data", data, "--models", tmp_path / "models", "--out", tmp_path / "out", *PARTIAL)
    shown = run("a-150", "--mine", "--generator", "maskformer", "--model", "r101c", "--check", *places).output
    assert "All the rest is there." in shown
    for model in ("maskformer-swin-base-coco", "ViT-B-16"):
        line = f"Not here yet, fetched when the command runs: {model}, from the hub, or from a copy in"
        assert shown.replace("\n", " ").count(line) == 1


def test_all_that_is_missing_is_told_at_once_with_where_it_is_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*given: object, **named: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    monkeypatch.setattr("open_clip.pretrained.download_pretrained", no_network)
    places = ("--data", tmp_path / "data", "--models", tmp_path / "models")
    with pytest.raises(UserError) as told:
        run("a-150", "pas-20", "--mine", "--model", "swin-b", *places)
    for part in (
        f"{tmp_path}/data/coco/train2017",
        "https://cocodataset.org/#download",
        "'facebook/maskformer-swin-base-coco' is no folder, and the hub cannot be reached",
        f"may also lie in {tmp_path}/models/maskformer-swin-base-coco",
        "cannot fetch 'ViT-B-16' ('openai')",
        "cannot fetch 'ViT-L-14' ('openai')",
        f"root {tmp_path}/data/ADEChallengeData2016 is no folder",
        "http://sceneparsing.csail.mit.edu/",
        f"{tmp_path}/models/ovseg_swinbase_vitL14_ft_mpt.pth",
        "GETTING_STARTED.md",
        f"root {tmp_path}/data/VOCdevkit/VOC2012 is no folder",
    ):
        assert part in str(told.value)
    assert "7 thing(s) are missing" in str(told.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("ade",), "BENCHMARK: 'ade' is unknown; expected a-847, pc-459, a-150, pc-59, pas-20 or all"),
        (("all", "--model", "swin"), "--model: 'swin' is unknown; expected swin-b or r101c"),
        (("all", "--set", "seed=1"), "expected the name of a step before the key"),
    ],
)
def test_a_mistake_is_told_before_anything_is_looked_for(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match="expected") as told:
        run(*given, "--data", "nowhere", "--models", "nowhere")
    assert message in str(told.value)
