"""Plans: identity comes from content and configuration, never from where things lie or how a build runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.manifest import BuildManifest
from pipeline.plan import Plan, differences, make_plan, read_unit, write_plan
from pipeline.records import read_plan, unit_key
from pipeline.sources.config import to_record
from stages.common import Folder, UserError
from tests.photos import write_photos
from tests.pipeline.conftest import manifest_values

Make = Callable[..., BuildManifest]


def ids_of(plan: Plan) -> list[str]:
    return list(plan.rows["image_id"].to_pylist())


def plan_at(folder: Path, photos: Path, clip: str, **changes: Any) -> Plan:  # noqa: ANN401
    """A plan over copies of photos and CLIP in another folder."""
    shutil.copytree(photos, folder / "photos")
    shutil.copytree(clip.removeprefix("local-dir:"), folder / "clip")
    values = manifest_values(folder / "photos", f"local-dir:{folder / 'clip'}", **changes)
    return make_plan(BuildManifest.model_validate(values))


def test_digest_does_not_depend_on_where_data_and_models_lie(
    manifest: Make, photos: Path, tiny_clip: str, tmp_path: Path
) -> None:
    here, there = make_plan(manifest()), plan_at(tmp_path, photos, tiny_clip)
    assert differences(here.document.values(), there.document.values()) == []
    assert here.digest == there.digest


def test_digest_of_a_table_does_not_depend_on_where_its_root_lies(manifest: Make, photos: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        shutil.copytree(photos / "images", tmp_path / name / "images")
        (tmp_path / name / "t.csv").write_text("image,caption\n000100.jpg,a ball\n")
        source = {"kind": "table", "path": str(tmp_path / name / "t.csv"), "root": str(tmp_path / name / "images")}
        digests.add(make_plan(manifest(source=source, proposals__proposer={"kind": "classical"})).digest)
    assert len(digests) == 1


def test_digest_of_given_masks_is_that_of_their_file(manifest: Make, photos: Path, tmp_path: Path) -> None:
    result = {"image_id": 100, "segmentation": {"size": [72, 96], "counts": "0"}, "score": 0.5, "label": "x"}
    digests = []
    for name, score in (("a.json", 0.5), ("b.json", 0.5), ("c.json", 0.25)):
        (tmp_path / name).write_text(json.dumps([{**result, "score": score}]))
        proposer = {"kind": "precomputed", "path": str(tmp_path / name)}
        digests.append(make_plan(manifest(proposals__proposer=proposer)).digest)
    assert digests[0] == digests[1] != digests[2]


def test_digest_of_panoptic_masks_does_not_depend_on_their_folder(manifest: Make, photos: Path, tmp_path: Path) -> None:
    annotation = {"image_id": 100, "file_name": "000100.png", "segments_info": [{"id": 1, "category_id": 1}]}
    data = {"annotations": [annotation], "categories": [{"id": 1, "name": "ball"}]}
    digests = set()
    for name in ("a", "b"):
        folder = tmp_path / name
        (folder / "panoptic").mkdir(parents=True)
        (folder / "panoptic.json").write_text(json.dumps(data))
        Image.fromarray(np.ones((72, 96, 3), np.uint8)).save(folder / "panoptic/000100.png")
        digests.add(make_plan(manifest(source__masks=[str(folder / "panoptic.json")])).digest)
    assert len(digests) == 1


def test_digest_does_not_depend_on_how_the_build_runs(manifest: Make) -> None:
    run = {"runner": "ray", "workers": 3, "window": 5, "cache": "/elsewhere"}
    assert make_plan(manifest()).digest == make_plan(manifest(run=run)).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"matching__rules__min_score_cosine": 0.1},
        {"matching__templates": ["{}"]},
        {"nouns__extractor": {"kind": "nltk"}},
        {"proposals__refine": {"min_area_px": 17}},
        {"proposals__proposer": {"kind": "classical"}},
        {"shards__images_per_shard": 4},
        {"source__use_captions": "first"},
        {"source__exclude": ["107"]},
        {"source__masks": []},
        {"compute__threads": 2},
    ],
)
def test_digest_depends_on_the_configuration(manifest: Make, changes: dict[str, Any]) -> None:
    if changes == {"source__masks": []}:
        changes = {**changes, "proposals__proposer": {"kind": "classical"}}
        assert (
            make_plan(manifest(**changes)).digest
            != make_plan(manifest(proposals__proposer={"kind": "classical"})).digest
        )
        return
    assert make_plan(manifest(**changes)).digest != make_plan(manifest()).digest


@pytest.mark.parametrize("changed", ["captions", "masks", "image", "weights"])
def test_digest_depends_on_the_inputs(
    manifest: Make, photos: Path, tiny_clip: str, tmp_path: Path, changed: str
) -> None:
    plan = plan_at(tmp_path, photos, tiny_clip)
    files = {
        "captions": "photos/captions.json",
        "masks": "photos/instances.json",
        "image": "photos/images/000107.jpg",
        "weights": "clip/open_clip_model.safetensors",
    }
    file = tmp_path / files[changed]
    data = file.read_bytes()
    at = len(data) - 10
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if changed == "weights" else data + b" ")
    values = manifest_values(tmp_path / "photos", f"local-dir:{tmp_path / 'clip'}")
    again = make_plan(BuildManifest.model_validate(values))
    (difference,) = differences(plan.document.values(), again.document.values())
    expected = {"captions": "inputs.captions", "masks": "inputs.masks.0", "image": "rows", "weights": "models.matching"}
    assert difference.startswith(expected[changed])


def test_unit_has_the_rows_of_its_number(manifest: Make, tmp_path: Path) -> None:
    plan = make_plan(manifest())
    assert (plan.units, len(plan.rows), plan.missing) == (4, 10, 0)
    for url in (str(tmp_path / "out"), "memory://plans/out"):
        store = Folder(url)
        write_plan(plan, store)
        units = [read_unit(store, unit) for unit in range(4)]
        assert [record for unit in units for record in unit] == [to_record(row) for row in plan.rows.to_pylist()]
        assert [len(unit) for unit in units] == [3, 3, 3, 1]
        assert read_plan(store) == plan.document
    assert len({unit_key(plan.digest, unit) for unit in range(4)}) == 4


def test_missing_images_are_counted(manifest: Make, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    (photos / "images/000107.jpg").unlink()
    assert make_plan(manifest(photos)).missing == 1
    assert make_plan(manifest(photos, source__scan="names")).missing == 0


def test_seed_draws_subset_and_order(manifest: Make) -> None:
    everything = ids_of(make_plan(manifest()))
    drawn = ids_of(make_plan(manifest(source__limit=4)))
    assert len(drawn) == 4
    assert drawn == [one for one in everything if one in drawn]
    assert ids_of(make_plan(manifest(source__limit=4, seed=1))) != drawn
    assert ids_of(make_plan(manifest(source__limit=99))) == everything
    shuffled = ids_of(make_plan(manifest(shards__shuffle=True)))
    assert shuffled != everything
    assert sorted(shuffled) == sorted(everything)
    assert set(ids_of(make_plan(manifest(shards__shuffle=True, source__limit=4)))) == set(drawn)
    # One image's lot does not depend on the others.
    assert set(ids_of(make_plan(manifest(source__limit=5)))) > set(drawn)


def test_excluded_id_that_no_image_has_is_refused(manifest: Make) -> None:
    with pytest.raises(UserError, match=r"source\.exclude: no image has the id '000107'; ids look like 100"):
        make_plan(manifest(source__exclude=[107, "000107"]))


def test_ground_truth_without_masks_is_refused(manifest: Make) -> None:
    with pytest.raises(UserError, match=r"source\.masks"):
        make_plan(manifest(source__masks=[]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source__captions": "/none/c.json"}, r"source\.captions: there is no file /none/c\.json"),
        ({"source__masks": ["/none/m.json"]}, r"source\.masks.* /none/m\.json"),
        (
            {"proposals__proposer": {"kind": "precomputed", "path": "/none/p.json"}},
            r"proposals\.proposer\.path.*/none/p\.json",
        ),
        ({"matching__clip": {"model": "local-dir:/none"}}, r"clip\.model: there is no folder /none"),
        ({"matching__clip": {"model": "ViT-B-166"}}, r"clip\.model: 'ViT-B-166' is unknown"),
        ({"proposals__proposer": {"kind": "sam", "model": "/none/sam"}}, "/none/sam"),
        ({"source": {"kind": "table", "path": "/none/t.csv"}}, r"source\.path: there is no file /none/t\.csv"),
        ({"source__captions": "gopher://x/c.json"}, "expected a path or a URL that fsspec knows"),
    ],
)
def test_input_or_model_that_is_not_there_is_named(manifest: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(manifest(**changes))
