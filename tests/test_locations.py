"""Every location of every manifest may be a URL: what lies on S3 is what lies on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import SwinConfig, SwinForImageClassification

from benchmarks.tiny_clip import MODEL_CFG, save_tiny_clip
from pipeline.cache import Cache
from pipeline.manifest import BuildManifest, Run
from pipeline.sources.config import CocoSource, TableSource, WebdatasetSource, to_record
from pipeline.sources.photos import ImageReader
from pipeline.sources.scan import read_rows
from pipeline.sources.set_aside import SetAside
from pipeline.world import WorldConfig, write_captioned_shards
from stages.clip import load_clip
from stages.clip_config import ClipConfig, clip_files
from stages.common import Config, UserError, hash_files
from stages.nouns import NltkNouns, build_extractor
from stages.proposals import OvsegProposals, model_files
from stages.proposals.annotations import read_precomputed
from stages.proposals.grid import GridConfig, GridGenerator, save_grid
from stages.proposals.local_model import LocalModel
from stages.proposals.models import GroundTruthProposals, MaskFormerProposals, PrecomputedProposals
from stages.proposals.provided import ProvidedProposer
from tests import tiny_models
from tests.photos import write_photos
from tests.places import places_in
from tests.s3 import FileSystem, new_bucket, s3_server
from tests.tiny_ovseg import write_ovseg
from tests.train.data.conftest import members_of, write_tar
from tests.train.generator.conftest import TINY
from tests.train.generator.query_sets import MASKFORMER, SWIN
from tests.train.tiny_clips import adapted
from train.adapt import AdaptManifest
from train.clip.checkpoint.folder import save_adapted
from train.clip.source import ClipSource, resolve
from train.data.pair_index import index_pairs
from train.data.samples import DataConfig, ShardSet
from train.evaluate.benchmark_sets import BenchmarkSet, open_set
from train.evaluate.benchmark_sets.layouts import LabelFolder
from train.evaluate.classify.run import ClassifyManifest, CocoRegions, GroundTruth
from train.evaluate.proposals import ProposalsManifest
from train.evaluate.proposals.truth import MaskTruth, TruthSet
from train.evaluate.semantic.scorer import LabelMaps, SemanticManifest, TuneManifest, read_prediction
from train.generator.config import GeneratorManifest, GridNetwork, QueryNetwork
from train.generator.networks import TrainableGrid
from train.generator.query_init import first_model
from train.loop import Processes
from train.pretrain import PretrainManifest
from train.pretrain.shards import read_captioned
from train.segmenter.config import SegmenterConfig

MANIFESTS: tuple[type[Config], ...] = (
    BuildManifest,
    AdaptManifest,
    GeneratorManifest,
    PretrainManifest,
    ClassifyManifest,
    ProposalsManifest,
    SemanticManifest,
    TuneManifest,
    SegmenterConfig,
)
SET = {"kind": "folder", "images": "$/set/images", "labels": "$/set/labels", "classes": "$/set/classes.json"}


class Case(NamedTuple):
    """A model's values, in which ``$`` is where all files lie, and what reads them and gives something of it."""

    model: type[Config]
    values: dict[str, Any]
    read: Callable[[Any], Any]


def images_of(source: CocoSource | TableSource | WebdatasetSource) -> list[Any]:
    records = [to_record(row) for row in read_rows(source, SetAside()).to_pylist()]
    reader = ImageReader(source)
    return [(record.image_id, record.captions, reader.read(record)) for record in records]


def masks_of(source: CocoSource) -> list[Any]:
    """Decoded, as the reference into a panoptic PNG holds its place."""
    records = [to_record(row) for row in read_rows(source, SetAside()).to_pylist()]
    proposer = ProvidedProposer(GroundTruthProposals())
    image = np.zeros((72, 96, 3), np.uint8)
    return [proposal.rle.to_coco() for record in records for proposal in proposer.propose(record, image)]


def nouns_of(config: NltkNouns) -> Any:  # noqa: ANN401
    extractor = build_extractor(config)
    return extractor.extract(["the dog runs"])


def pairs_of(config: ShardSet) -> Any:  # noqa: ANN401
    return index_pairs(DataConfig(sets=(config,)).sets).digest()


def bytes_of(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def clip_of(config: ClipSource) -> dict[str, bytes]:
    return bytes_of(resolve(config).load("cpu")[0])


def labels_of(config: BenchmarkSet | LabelFolder) -> list[Any]:
    opened = open_set(config)
    items = [(item.key, opened.picture(item).tobytes(), opened.truth(item).tobytes()) for item in opened.items]
    return [[names.name for names in opened.classes], items]


def regions_of(config: CocoRegions) -> list[Any]:
    return [(one.file, one.pixels.tobytes(), one.regions) for one in GroundTruth(config).pictures()]


def true_masks_of(config: MaskTruth) -> list[Any]:
    truth = TruthSet(config)
    return [(truth.picture(photo).tobytes(), truth.masks(photo, 72, 96)) for photo in truth.photos]


def prediction_of(config: LabelMaps) -> bytes:
    item = open_set(LabelFolder.model_validate(located(SET, HERE[0]))).items[0]
    return read_prediction(config, item, np.zeros((6, 8), np.int32), 2).tobytes()


COCO = {"images": "$/photos/images", "captions": "$/photos/captions.json", "masks": ["$/photos/instances.json"]}
PANOPTIC = {**COCO, "masks": ["$/photos/panoptic.json"], "panoptic_folder": "$/photos/pngs"}
TABLE = {"path": "$/photos/table.jsonl", "root": "$/photos/images"}
REGIONS = {"images": "$/photos/images", "annotations": ["$/photos/instances.json"]}
TRUTH = {**REGIONS, "stuff": ["$/photos/instances.json"]}
GENERATOR = GeneratorManifest.model_validate(
    {"kind": "generator", "network": {"kind": "grid"}, "data": {"sets": [REGIONS]}, "steps": 1}
)
CASES: dict[tuple[str, str], Case] = {
    ("CocoSource", "images"): Case(CocoSource, COCO, images_of),
    ("CocoSource", "captions"): Case(CocoSource, COCO, images_of),
    ("CocoSource", "masks"): Case(CocoSource, COCO, masks_of),
    ("CocoSource", "panoptic_folder"): Case(CocoSource, PANOPTIC, masks_of),
    ("TableSource", "path"): Case(TableSource, TABLE, images_of),
    ("TableSource", "root"): Case(TableSource, TABLE, images_of),
    ("WebdatasetSource", "path"): Case(WebdatasetSource, {"path": "$/captioned/{00000..00000}.tar"}, images_of),
    ("PrecomputedProposals", "path"): Case(
        PrecomputedProposals,
        {"path": "$/masks.json"},
        lambda config: read_precomputed(config.path, lambda *_: None).to_pylist(),
    ),
    ("NltkNouns", "tagger"): Case(NltkNouns, {"tagger": "$/tagger"}, nouns_of),
    ("ShardSet", "shards"): Case(ShardSet, {"shards": ["$/pairs"]}, pairs_of),
    ("PretrainManifest", "shards"): Case(
        PretrainManifest,
        {"kind": "pretrain", "shards": ["$/captioned"], "model": MODEL_CFG, "steps": 1},
        lambda config: [sample.captions for sample in read_captioned(config.shards)],
    ),
    ("ClipSource", "weights"): Case(ClipSource, {"weights": "$/adapted"}, lambda config: clip_of(config)),
    ("CocoRegions", "images"): Case(CocoRegions, REGIONS, regions_of),
    ("CocoRegions", "annotations"): Case(CocoRegions, REGIONS, regions_of),
    ("MaskTruth", "images"): Case(MaskTruth, REGIONS, true_masks_of),
    ("MaskTruth", "annotations"): Case(MaskTruth, TRUTH, true_masks_of),
    ("MaskTruth", "stuff"): Case(MaskTruth, TRUTH, true_masks_of),
    ("LabelFiles", "images"): Case(LabelFolder, SET, labels_of),
    ("LabelFiles", "labels"): Case(LabelFolder, SET, labels_of),
    ("LabelFiles", "classes"): Case(LabelFolder, SET, labels_of),
    ("BenchmarkSet", "root"): Case(BenchmarkSet, {"kind": "pas20", "root": "$/voc", "partial": True}, labels_of),
    ("Run", "cache"): Case(Run, {"cache": "$/cache"}, lambda config: Cache(config.cache_url).get("nouns", "abcd")),
    ("LabelMaps", "folder"): Case(LabelMaps, {"folder": "$/predictions"}, prediction_of),
}
NAMED: dict[tuple[str, str], Case] = {
    ("ClipConfig", "model"): Case(
        ClipConfig, {"model": "local-dir:$/clip"}, lambda config: bytes_of(load_clip(config, "cpu")[0])
    ),
    ("ClipConfig", "pretrained"): Case(
        ClipConfig,
        {"model": "tiny-by-name", "pretrained": "$/clip/open_clip_model.safetensors"},
        lambda config: (bytes_of(load_clip(config, "cpu")[0]), hash_files(clip_files(config))),
    ),
    ("ClipSource", "model"): Case(ClipSource, {"model": "local-dir:$/clip"}, lambda config: clip_of(config)),
    ("ClipSource", "pretrained"): Case(
        ClipSource,
        {"model": "tiny-by-name", "pretrained": "$/clip/open_clip_model.safetensors"},
        lambda config: clip_of(config),
    ),
    ("ModelConfig", "model"): Case(
        MaskFormerProposals, {"model": "$/maskformer"}, lambda config: hash_files(LocalModel.find(config).files)
    ),
    ("GridNetwork", "init"): Case(
        GridNetwork,
        {"kind": "grid", "init": "$/grid"},
        lambda config: bytes_of(TrainableGrid(config, GENERATOR, (), Processes(0, 1, "cpu")).module),
    ),
    ("QueryNetwork", "init"): Case(
        QueryNetwork,
        {"kind": "maskformer", "init": "$/maskformer"},
        lambda config: first_model(config, ("object",), 64)[2],
    ),
    ("QueryNetwork", "backbone_weights"): Case(
        QueryNetwork,
        {"kind": "maskformer", "config": MASKFORMER, "backbone_weights": "$/swin"},
        lambda config: first_model(config, ("object",), 64)[2],
    ),
    ("OvsegProposals", "model"): Case(
        OvsegProposals, {"model": "$/ovseg.pth"}, lambda config: hash_files(model_files(config))
    ),
}
"""Fields that hold a name, or else a location."""
HERE: list[str] = []


def located(values: Any, root: str) -> Any:  # noqa: ANN401 - any YAML value
    if isinstance(values, dict):
        return {name: located(value, root) for name, value in values.items()}
    if isinstance(values, list):
        return [located(value, root) for value in values]
    return values.replace("$", root) if isinstance(values, str) else values


def write_set(folder: Path, pictures: str, labels: str) -> None:
    for name in (pictures, labels):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        Image.fromarray(np.full((6, 8, 3), 40 * number, np.uint8)).save(folder / f"{pictures}/{number}.jpg")
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 3 + number).save(
            folder / f"{labels}/{number}.png"
        )


def write_photo_files(photos: Path) -> None:
    """A table and a panoptic file beside the photos."""
    write_photos(photos, 2)
    listed = json.loads((photos / "instances.json").read_text())
    with (photos / "table.jsonl").open("w") as table:
        for image in listed["images"]:
            table.write(json.dumps({"image": image["file_name"], "caption": "a ball"}) + "\n")
    (photos / "pngs").mkdir()
    annotations = []
    for image in listed["images"]:
        ids = np.zeros((72, 96, 3), np.uint8)
        ids[20:40, 10:50, 0] = 5
        Image.fromarray(ids).save(photos / f"pngs/{image['id']}.png")
        segments = [{"id": 5, "category_id": 1}]
        annotations.append({"image_id": image["id"], "file_name": f"{image['id']}.png", "segments_info": segments})
    (photos / "panoptic.json").write_text(json.dumps({**listed, "annotations": annotations}))


def write_models(root: Path) -> None:
    clip = ClipConfig(model=f"local-dir:{save_tiny_clip(root / 'clip')}")
    save_adapted(root / "adapted", adapted(load_clip(clip, "cpu")[0], 1), clip, {})
    tiny_models.tiny_maskformer(root / "maskformer")
    SwinForImageClassification(SwinConfig(**SWIN)).save_pretrained(root / "swin")
    save_grid(GridGenerator(GridConfig.model_validate(TINY)), root / "grid")
    write_ovseg(root / "ovseg.pth", vocabulary=30)
    (root / "tagger").mkdir()
    for part, content in {"weights": '{"bias": {"NN": 1.0}}', "tagdict": "{}", "classes": '["NN"]'}.items():
        (root / f"tagger/averaged_perceptron_tagger_eng.{part}.json").write_text(content)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a thing of each kind."""
    root = tmp_path_factory.mktemp("here")
    write_photo_files(root / "photos")
    write_models(root)
    write_captioned_shards(root / "captioned", 3, 5, WorldConfig(size_px=64))
    write_tar(root / "pairs/0.tar", [(f"{number}", members_of(number)) for number in range(3)])
    mask = {"size": [4, 4], "counts": [4, 8, 4]}
    (root / "masks.json").write_text(json.dumps([{"image_id": 1, "segmentation": mask, "score": 0.5}]))
    write_set(root / "set", "images", "labels")
    (root / "set/classes.json").write_text(json.dumps([{"id": 1, "name": "cat"}, {"id": 2, "name": "sky"}]))
    write_set(root / "voc", "JPEGImages", "SegmentationClass")
    (root / "voc/ImageSets/Segmentation").mkdir(parents=True)
    (root / "voc/ImageSets/Segmentation/val.txt").write_text("0\n1\n")
    Cache(str(root / "cache")).put("nouns", "abcd", b"kept")
    write_set(root / "predicted", "unused", "maps")
    (root / "predicted/maps").rename(root / "predictions")
    (root / "tiny-by-name.json").write_text(json.dumps(MODEL_CFG))
    open_clip.add_model_config(root / "tiny-by-name.json")
    HERE[:] = [str(root)]
    return str(root)


@pytest.fixture(scope="module")
def s3() -> Iterator[FileSystem]:
    with s3_server() as files:
        yield files


@pytest.fixture(scope="module")
def there(s3: FileSystem, here: str) -> str:
    """URL of a copy of the folder."""
    bucket = new_bucket(s3)
    s3.put(f"{here}/", f"{bucket}/all/", recursive=True)
    return f"s3://{bucket}/all"


def test_every_location_of_every_manifest_has_a_case() -> None:
    assert set().union(*map(places_in, MANIFESTS)) == CASES.keys()


@pytest.mark.parametrize("field", [*CASES, *NAMED], ids=".".join)
def test_a_location_behind_a_url_gives_what_a_path_gives(field: tuple[str, str], here: str, there: str) -> None:
    """This field alone names S3; all others of its model stay on the disk."""
    case = {**CASES, **NAMED}[field]
    local = located(case.values, here)
    remote = {**local, field[1]: located(case.values[field[1]], there)}
    assert "s3://" in str(remote[field[1]])
    found = case.read(case.model.model_validate(remote))
    assert found
    assert found == case.read(case.model.model_validate(local))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (NAMED["ModelConfig", "model"], "s3://.*/none: there is no such file or folder"),
        (NAMED["OvsegProposals", "model"], "s3://.*/none: there is no such file or folder"),
        (NAMED["ClipConfig", "pretrained"], "s3://.*/none: there is no such file or folder"),
        (CASES["NltkNouns", "tagger"], r"tagger: cannot read s3://.*/none/averaged"),
        (CASES["PrecomputedProposals", "path"], "s3://.*/none: does not exist"),
        (CASES["PretrainManifest", "shards"], "shards: no shard at s3://.*/none"),
    ],
    ids=lambda value: value.model.__name__ if isinstance(value, Case) else "",
)
def test_what_is_not_there_is_told_by_its_url(case: Case, message: str, here: str, there: str) -> None:
    (field,) = (name for name, value in case.values.items() if "$" in str(value))
    missing: Any = f"{there}/none"
    values = {**case.values, field: [missing] if isinstance(case.values[field], list) else missing}
    with pytest.raises(UserError, match=message):
        case.read(case.model.model_validate(values))


def test_a_damaged_model_behind_a_url_is_told_by_its_url(s3: FileSystem, there: str) -> None:
    s3.pipe_file(f"{there}/damaged/config.json", b"{}")
    with pytest.raises(UserError, match=f"proposer.model: {there}/damaged"):
        LocalModel.find(MaskFormerProposals(model=f"{there}/damaged"))
