"""The region encoder gives open_clip's own embeddings, the same whatever else is asked; wrong models are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.tiny_clip import save_tiny_clip
from stages.clip import RegionEncoder, load_clip
from stages.clip_config import ClipConfig, RegionRules, clip_files
from stages.common import Rle, UserError
from tests.stages.test_regions import masked_region
from tests.train.tiny_clips import adapted, tiny

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
TEMPLATES = ("a photo of a {}.", "There is a {} in the scene.", "{}")
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Regions = list[tuple[NDArray[np.uint8], Rle]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def regions() -> Regions:
    generator = np.random.default_rng(0)
    made: Regions = []
    for _ in range(7):
        height, width = (int(side) for side in generator.integers(40, 90, 2))
        mask = np.zeros((height, width), bool)
        mask[5 : height - 9, 3 : width // 2] = True
        mask[8:20, width // 2 :] = True
        photo = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
        made.append((photo, Rle.encode(mask)))
    return made


def encoder(folder: Path, batch_size: int = 4, rules: RegionRules | None = None) -> RegionEncoder:
    config = ClipConfig(model=f"local-dir:{folder}", batch_size=batch_size)
    return RegionEncoder.load(config, rules or RegionRules(), TEMPLATES)


def test_regions_are_encoded_as_open_clip_does(folder: Path, regions: Regions) -> None:
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    mean_255 = (MEAN[0] * 255, MEAN[1] * 255, MEAN[2] * 255)
    inputs = []
    for photo, rle in regions:
        pixels, _ = masked_region(photo, rle.decode(), 64, mean_255, RegionRules())
        inputs.append((pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    with torch.no_grad():
        expected = model.encode_image(torch.stack(inputs), normalize=True)
    encoded = encoder(folder).encode_regions(regions)
    assert encoded.shape == (7, 64)
    assert encoded.dtype == torch.float32
    assert (encoded - expected).abs().max() < 1e-5


def test_the_models_own_mean_and_deviation_are_used(folder: Path, regions: Regions, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    config = json.loads((other / CONFIG).read_text())
    config["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (other / CONFIG).write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{other}").eval()
    pixels = [masked_region(photo, rle.decode(), 64, (127.5,) * 3, RegionRules())[0] for photo, rle in regions]
    with torch.no_grad():
        expected = model.encode_image(torch.stack(pixels) / 127.5 - 1, normalize=True)
    assert (encoder(other).encode_regions(regions) - expected).abs().max() < 1e-5


def test_rules_of_regions_are_followed(folder: Path, regions: Regions) -> None:
    masked, photo = (encoder(folder, rules=RegionRules(fill=fill)) for fill in ("mean", "photo"))
    assert (masked.encode_regions(regions) - photo.encode_regions(regions)).abs().max() > 1e-3


def test_batch_size_makes_no_difference_but_rounding(folder: Path, regions: Regions) -> None:
    one_by_one = encoder(folder, batch_size=1).encode_regions(regions)
    for batch_size in (2, 3, 7, 64):
        assert (encoder(folder, batch_size).encode_regions(regions) - one_by_one).abs().max() < 1e-5


def test_regions_come_out_in_their_order(folder: Path, regions: Regions) -> None:
    forwards, backwards = (encoder(folder, 1).encode_regions(order) for order in (regions, regions[::-1]))
    assert torch.equal(forwards, backwards.flip(0))


def test_no_regions_give_no_vectors(folder: Path) -> None:
    assert len(encoder(folder).encode_regions([])) == 0


def test_embeddings_have_unit_length(folder: Path, regions: Regions) -> None:
    tiny = encoder(folder)
    assert tiny.encode_regions(regions).norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert float(tiny.encode_noun("dog").norm()) == pytest.approx(1, abs=1e-5)


def test_a_noun_is_the_normalised_mean_over_the_templates(folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        each = torch.cat([model.encode_text(tokenize([text.format("hot dog")])) for text in TEMPLATES])
    mean = (each / each.norm(dim=1, keepdim=True)).mean(dim=0)
    assert (encoder(folder).encode_noun("hot dog") - mean / mean.norm()).abs().max() < 1e-5


def test_a_nouns_bits_do_not_depend_on_what_was_asked_before(folder: Path, regions: Regions) -> None:
    fresh, used = encoder(folder), encoder(folder)
    for noun in ("cat", "a very long noun of many words that fills the whole context of the model", "sky"):
        used.encode_noun(noun)
    used.encode_regions(regions)
    assert torch.equal(fresh.encode_noun("dog"), used.encode_noun("dog"))
    assert torch.equal(used.encode_noun("dog"), used.encode_noun("dog"))


def test_braces_in_a_noun_are_no_template(folder: Path) -> None:
    assert encoder(folder).encode_noun("{0} {x}").shape == (64,)


def test_half_precision_is_near_full_precision(folder: Path, regions: Regions) -> None:
    config = ClipConfig(model=f"local-dir:{folder}")
    half = RegionEncoder.load(config, RegionRules(), TEMPLATES, precision="bf16").encode_regions(regions)
    full = encoder(folder).encode_regions(regions)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.05


def test_a_model_that_gives_nan_is_refused(folder: Path, regions: Regions, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    state = load_file(broken / WEIGHTS)
    state["visual.proj"][:] = float("nan")
    save_file(state, broken / WEIGHTS)
    with pytest.raises(UserError, match=r"^clip: the image tower gives NaN.* in fp32.*Check the weights\.$"):
        encoder(broken).encode_regions(regions)
    half = RegionEncoder.load(ClipConfig(model=f"local-dir:{broken}"), RegionRules(), TEMPLATES, precision="bf16")
    with pytest.raises(UserError, match=r"NaN.* in bf16.*Check the weights, or set its precision to bf16 or fp32"):
        half.encode_regions(regions)


def test_a_model_whose_texts_are_nan_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    state = load_file(broken / WEIGHTS)
    state["text_projection"][0, 0] = float("nan")
    save_file(state, broken / WEIGHTS)
    with pytest.raises(UserError, match=r"clip: the text tower gives NaN"):
        encoder(broken).encode_noun("dog")


def test_a_model_that_is_given_needs_no_file(regions: Regions) -> None:
    clip = tiny()

    def tokenize(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[len(text) % 60] * 8 for text in texts])

    given = RegionEncoder(clip, tokenize, RegionRules(), TEMPLATES, batch_size=3)
    assert given.encode_regions(regions).shape == (7, 16)
    assert torch.equal(given.encode_batch(regions[:3]), given.encode_regions(regions[:3]))
    assert (given.encode_names(["dog", "sky"])[1] - given.encode_noun("sky")).abs().max() < 1e-6


def test_masks_are_given_to_a_model_that_takes_them(regions: Regions) -> None:
    model = adapted(tiny(), 2)
    plain, blind, heeding = (
        RegionEncoder(clip, list, RegionRules(), TEMPLATES, with_masks=with_masks).encode_regions(regions)
        for clip, with_masks in ((model.clip, False), (model, False), (model, True))
    )
    assert torch.equal(plain, blind)
    assert (heeding - blind).abs().max() > 1e-3


def _narrow(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["embed_dim"] = 32
    (folder / CONFIG).write_text(json.dumps(config))


def _odd_heads(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["heads"] = 3
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS),
        (lambda folder: (folder / CONFIG).unlink(), CONFIG),
        (lambda folder: (folder / CONFIG).write_text("{"), "line 1 column 2"),
        (lambda folder: (folder / CONFIG).write_text("{}"), "model_cfg"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "header"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000]), "header"),
        (_narrow, "size mismatch"),
        (_odd_heads, "num_heads"),
        (shutil.rmtree, "no folder"),
    ],
    ids=["weights", "config", "bad JSON", "no model", "empty", "truncated", "other shapes", "impossible", "folder"],
)
def test_a_damaged_folder_is_named_with_what_is_wrong(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], named: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    damage(copy)
    with pytest.raises(UserError, match=r"^clip") as caught:
        load_clip(ClipConfig(model=f"local-dir:{copy}"), "cpu")
    assert str(copy) in str(caught.value)
    assert named in str(caught.value)


def test_an_unknown_name_is_refused_with_what_is_expected() -> None:
    with pytest.raises(UserError, match=r"clip\.model: 'ViT-Z' is unknown; expected .*local-dir:FOLDER"):
        load_clip(ClipConfig(model="ViT-Z", pretrained="openai"), "cpu")


@pytest.mark.parametrize(
    ("tag", "words"), [(None, "ViT-B-16 alone names no weights"), ("nobody", "'nobody' is no weights file, and no tag")]
)
def test_an_unknown_tag_is_refused_with_some_of_those_that_there_are(tag: str | None, words: str) -> None:
    with pytest.raises(
        UserError, match=rf"clip\.pretrained: {words}.*one of its 15 tags, such as openai, laion400m_e31$"
    ):
        load_clip(ClipConfig(model="ViT-B-16", pretrained=tag), "cpu")


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"cannot load 'ViT-B-32'.*open_clip_model\.safetensors") as caught:
        load_clip(ClipConfig(model="ViT-B-32", pretrained=str(folder / WEIGHTS)), "cpu")
    assert len(str(caught.value)) < 1000  # of 300 tensors the first ones


def test_a_weights_file_goes_with_a_built_in_name(
    folder: Path, regions: Regions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny architecture stands in for one of open_clip's, which take long to build.
    model_cfg = json.loads((folder / CONFIG).read_text())["model_cfg"]
    (tmp_path / "tiny-arch.json").write_text(json.dumps(model_cfg))
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIG_PATHS", [tmp_path])
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"tiny-arch": model_cfg})
    weights = shutil.copy(folder / WEIGHTS, tmp_path / "mine.safetensors")
    config = ClipConfig(model="tiny-arch", pretrained=str(weights), batch_size=4)
    assert clip_files(config) == [Path(weights)]
    by_file = RegionEncoder.load(config, RegionRules(), TEMPLATES)
    assert torch.equal(by_file.encode_regions(regions), encoder(folder).encode_regions(regions))


def test_a_folders_config_and_weights_are_hashed(folder: Path) -> None:
    assert clip_files(ClipConfig(model=f"local-dir:{folder}")) == [folder / CONFIG, folder / WEIGHTS]


def test_a_hub_models_config_is_hashed_beside_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(repo: str, filename: str | None = None) -> str:
        return f"/hub/{repo}/{filename or WEIGHTS}"

    monkeypatch.setattr("open_clip.pretrained.download_pretrained_from_hf", fetch)
    files = clip_files(ClipConfig(model="hf-hub:org/repo"))
    assert files == [Path("/hub/org/repo") / CONFIG, Path("/hub/org/repo") / WEIGHTS]


def test_a_hub_that_cannot_be_reached_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(repo: str, filename: str | None = None) -> str:
        raise FileNotFoundError("no connection\nlong story")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained_from_hf", fetch)
    with pytest.raises(UserError, match=r"cannot fetch 'hf-hub:org/repo'.*no connection\n.*local-dir:FOLDER"):
        clip_files(ClipConfig(model="hf-hub:org/repo"))


def test_quick_gelu_follows_the_tag(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: dict[str, object] = {}

    def create(name: str, **options: object) -> torch.nn.Module:
        asked.update(options)
        return torch.nn.Identity()

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", lambda _: str(folder / WEIGHTS))
    monkeypatch.setattr("open_clip.create_model", create)
    for tag, expected in (("openai", True), ("laion2b_s34b_b88k", False)):
        load_clip(ClipConfig(model="ViT-B-16", pretrained=tag), "cpu")
        assert asked["force_quick_gelu"] is expected


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(folder: Path) -> None:
    model, _ = load_clip(ClipConfig(model=f"local-dir:{folder}"), "cpu")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
