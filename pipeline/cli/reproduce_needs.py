"""Where the data and models of `maskmine reproduce` lie, as settings of the manifests that it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.reproduce_plan import (
    BENCHMARKS,
    BUILD_MANIFEST,
    COCO_PAGE,
    MANIFESTS,
    MASKFORMER,
    MODELS,
    BenchmarkName,
    ModelName,
    PublishedModel,
)
from stages.common import LOCAL_DIR, Folder, UnreachableError, UserError, join

if TYPE_CHECKING:
    from pipeline.manifest import BuildManifest
    from train.manifests import AdaptManifest, SemanticManifest

Check = Callable[[], object]


def manifest_file(name: str) -> Path:
    """A manifest that comes with the source.

    Raises:
        UserError: this copy of maskmine has none.
    """
    file = MANIFESTS / name
    if not file.is_file():
        raise UserError(f"{file}: is missing; expected maskmine's source: clone it, and pip install -e . there")
    return file


def given_for(step: str, settings: Sequence[str]) -> list[str]:
    """What --set gives for a step, without the step's name."""
    return [one.removeprefix(f"{step}.") for one in settings if one.startswith(f"{step}.")]


def checkpoint_of(model: ModelName, models: Path) -> Path:
    """The released file, or the folder that it was converted to; the file's path where neither is there."""
    file = models / MODELS[model].checkpoint
    folder = file.with_suffix("")
    return folder if folder.is_dir() and not file.is_file() else file


def check_checkpoint(model: ModelName, models: Path) -> None:
    """Checks that a model's checkpoint is there.

    Raises:
        UserError: it is not; where it is to be had.
    """
    file = checkpoint_of(model, models)
    if not file.exists():
        facts = MODELS[model]
        raise UserError(f"--models: there is no {file}, OVSeg's {facts.title}. {facts.where()}")


def build_manifest(data: str, models: Path, settings: Sequence[str]) -> BuildManifest:
    """The paper's mining, of the photos and by the models that are here.

    Raises:
        UserError: a setting is wrong.
    """
    from pipeline.manifest import BuildManifest
    from stages.common import load

    coco = join(data, "coco")
    places = [
        f"source.images={join(coco, 'train2017')}",
        f"source.captions={join(coco, 'annotations/captions_train2017.json')}",
        *_maskformer("proposals.proposer", models),
        *_clip("matching.clip", "ViT-B-16", models),
    ]
    return load(BuildManifest, manifest_file(BUILD_MANIFEST), [*places, *given_for("build", settings)])


def recipe_settings(model: ModelName, shards: Path, models: Path, settings: Sequence[str]) -> list[str]:
    """Settings of the manifest that adapts a model's CLIP, to shards."""
    sets = json.dumps([{"shards": [str(shards)]}])  # JSON is YAML
    places = [f"data.sets={sets}", *_clip("init", MODELS[model].clip, models)]
    return [*places, *given_for("train", settings)]


def recipe(model: ModelName, settings: Sequence[str]) -> AdaptManifest:
    """What `recipe_settings` give.

    Raises:
        UserError: a setting is wrong.
    """
    from stages.common import load
    from train.manifests import AdaptManifest

    return load(AdaptManifest, manifest_file(MODELS[model].recipe), settings)


def evaluation(
    model: ModelName,
    benchmark: BenchmarkName,
    data: str,
    models: Path,
    settings: Sequence[str],
    adapted: Path | None = None,
    with_maskformer: bool = False,
) -> SemanticManifest:
    """A benchmark scored by the published rules.

    Args:
        model: whose threshold and checkpoint are taken.
        benchmark: which.
        data: folder of the benchmarks.
        models: folder of the checkpoints.
        settings: of --set.
        adapted: folder of a CLIP that takes the place of the checkpoint's own.
        with_maskformer: take a MaskFormer of the hub's for the masks, in place of the checkpoint's generator.

    Raises:
        UserError: a setting is wrong.
    """
    from stages.common import load
    from train.manifests import SemanticManifest

    ovseg = ["segmenter.proposer={kind: ovseg}", f"segmenter.proposer.model={checkpoint_of(model, models)}"]
    maskformer = ["segmenter.proposer={kind: maskformer}", *_maskformer("segmenter.proposer", models)]
    rules = [
        f"set.root={_root(benchmark, data)}",
        *(maskformer if with_maskformer else ovseg),
        *(["segmenter.clip=null"] if adapted is None else ["segmenter.clip={}", f"segmenter.clip.weights={adapted}"]),
        f"segmenter.clip_weight={BENCHMARKS[benchmark].clip_weight}",
        f"segmenter.mask_threshold={MODELS[model].mask_threshold}",
        "segmenter.precision=fp32",
        "segmenter.rules.resize=torch",
        "seen=null",
        "open_metrics=false",
    ]
    return load(
        SemanticManifest, manifest_file(f"evaluate/{benchmark}.yaml"), [*rules, *given_for("evaluate", settings)]
    )


def check_mining(manifest: BuildManifest, models: Path) -> Iterable[Check]:
    """Checks of what mining needs; models of a hub are fetched."""
    from stages.clip_config import clip_files
    from stages.proposals import model_files

    yield lambda: _check_coco(manifest)
    proposer, clip = manifest.proposals.proposer, manifest.matching.clip
    yield lambda: _fetched(lambda: model_files(proposer), models / _name(MASKFORMER))
    yield lambda: _fetched(lambda: clip_files(clip), models / clip.model.removeprefix(LOCAL_DIR))


def check_recipe(manifest: AdaptManifest, model: PublishedModel, models: Path) -> None:
    """Fetches the CLIP that is adapted.

    Raises:
        UserError: it cannot be had.
    """
    from stages.clip_config import clip_files

    plain = manifest.init.plain
    if plain is not None:
        _fetched(lambda: clip_files(plain), models / model.clip)


def check_maskformer(manifest: SemanticManifest, models: Path) -> None:
    """Fetches the MaskFormer that an evaluation takes its masks from.

    Raises:
        UserError: it cannot be had.
    """
    from stages.proposals import model_files

    assert manifest.segmenter is not None
    proposer = manifest.segmenter.proposer
    _fetched(lambda: model_files(proposer), models / _name(MASKFORMER))


class NotHereYetError(UserError):
    """A model of the hub's that no copy of is on this machine, while nothing is to be fetched."""


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """The checks look on this machine alone; what they would fetch raises NotHereYetError."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def problems(checks: Iterable[Check]) -> tuple[list[str], list[str]]:
    """What the checks find missing, and what they would fetch; each thing once, in their order."""
    missing: dict[str, None] = {}
    to_fetch: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except NotHereYetError as error:
            to_fetch[str(error)] = None
        except UserError as error:
            missing[str(error)] = None
    return list(missing), list(to_fetch)


def _root(benchmark: BenchmarkName, data: str) -> str:
    """Where a set lies, or would be expected."""
    roots, tree = BENCHMARKS[benchmark].roots, Folder(data)
    return join(data, next((name for name in roots if tree.is_folder(name)), roots[0]))


def _check_coco(manifest: BuildManifest) -> None:
    source = manifest.source
    places = [getattr(source, name, None) for name in ("images", "captions")]
    lacking = [place for place in places if place is not None and not Folder(place).exists("")]
    if lacking:
        raise UserError(f"COCO: there is no {' and no '.join(lacking)}; get {COCO_PAGE}, and unpack both in DATA/coco")


def _fetched(files: Check, copy: Path) -> None:
    from huggingface_hub import constants

    try:
        files()
    except UnreachableError as error:
        if constants.is_offline_mode():
            raise NotHereYetError(f"{copy.name}, from the hub, or from a copy in {copy}") from error
        raise UserError(f"{error}\nA copy of it may also lie in {copy}: see docs/reproduce.md") from error


def _name(hub_id: str) -> str:
    return hub_id.rpartition("/")[2]


def _maskformer(key: str, models: Path) -> list[str]:
    here = models / _name(MASKFORMER)
    return [f"{key}.model={here.resolve() if here.is_dir() else MASKFORMER}"]


def _clip(key: str, name: str, models: Path) -> list[str]:
    """A copy below --models comes before the hub's."""
    here = models / name
    if here.is_dir():
        return [f"{key}.model={LOCAL_DIR}{here.resolve()}", f"{key}.pretrained=null"]
    return [f"{key}.model={name}", f"{key}.pretrained=openai"]
