"""OVSeg's file as a folder that needs no unpickling, and back; what detectron2 needs is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.tiny_clip import save_tiny_clip
from stages.clip import load_clip
from stages.clip_config import ClipConfig
from stages.common import UserError
from stages.proposals import OvsegProposals, model_files
from stages.proposals.ovseg_file import OvsegFile
from tests.tiny_ovseg import CLIP, ovseg_state, write_ovseg
from tests.train.tiny_clips import adapted
from train.clip.checkpoint.folder import save_adapted
from train.clip.checkpoint.published import read_published, save_published
from train.clip.export import export
from train.clip.ovseg import clip_of
from train.segmenter.published import load_ovseg


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_ovseg(tmp_path / "ovseg.pth", vocabulary=30)


def test_a_converted_folder_is_the_file(tmp_path: Path, file: Path) -> None:
    notes = export(file, "ovseg_folder", tmp_path / "folder")
    assert "released file of this backbone" in notes[0]
    read, original = OvsegFile.read(tmp_path / "folder"), ovseg_state(vocabulary=30)
    assert read.state.keys() == original.keys()
    assert all(torch.equal(read.state[name], value) for name, value in original.items())
    assert read.versions == original._metadata  # type: ignore[attr-defined]
    assert read.settings == OvsegFile.read(file).settings
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    text = np.eye(3, CLIP, dtype=np.float32)
    small = {"input": {"MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 96}}
    ours, theirs = (load_ovseg(path, small).score_maps(photo, text) for path in (tmp_path / "folder", file))
    assert torch.equal(ours, theirs)
    assert [one.name for one in model_files(OvsegProposals(model=str(tmp_path / "folder")))] == [
        "ovseg.json",
        "ovseg.safetensors",
    ]


def test_settings_of_the_folder_can_be_corrected_there(tmp_path: Path, file: Path) -> None:
    export(file, "ovseg_folder", tmp_path / "folder")
    about = json.loads((tmp_path / "folder/ovseg.json").read_text())
    about["config"]["input"]["MIN_SIZE_TEST"] = 96
    (tmp_path / "folder/ovseg.json").write_text(json.dumps(about))
    assert OvsegFile.read(tmp_path / "folder").settings.input.MIN_SIZE_TEST == 96
    about["config"]["input"]["MIN_SIZE_TEST"] = 0
    (tmp_path / "folder/ovseg.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"folder: input\.MIN_SIZE_TEST"):
        OvsegFile.read(tmp_path / "folder")


def test_the_folder_written_as_a_file_again_loads_wholly_in_detectron2(tmp_path: Path, file: Path) -> None:
    """Names and versions, by which its loader goes, are those of the published file."""
    export(file, "ovseg_folder", tmp_path / "folder")
    whole = read_published(tmp_path / "folder")
    clip, _ = clip_of(OvsegFile.read(file))
    save_published(tmp_path / "again.pth", clip, "segmenter", segmenter=whole)
    again, original = torch.load(tmp_path / "again.pth", weights_only=True)["model"], ovseg_state(vocabulary=30)
    assert again.keys() == original.keys()
    assert all(torch.equal(again[name], value) for name, value in original.items())
    assert again._metadata == original._metadata  # type: ignore[attr-defined]


def test_the_references_keep_their_version_when_written_again(tmp_path: Path, shared_data: Path) -> None:
    npz = shared_data / "golden/ovseg_two_stage_dev.npz"
    if not npz.is_file():
        pytest.skip(f"reference numbers not found at {npz}")
    data = np.load(npz)
    state = {key.removeprefix("state/"): torch.from_numpy(data[key]) for key in data if key.startswith("state/")}
    torch.save({"model": state}, tmp_path / "plain.pth")
    clip, _ = clip_of(OvsegFile.read(tmp_path / "plain.pth", json.loads(str(data["config_json"]))))
    save_published(tmp_path / "again.pth", clip, "segmenter", segmenter=read_published(tmp_path / "plain.pth"))
    again = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    assert again._metadata["sem_seg_head"]["version"] == 2
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_a_converted_folder_gives_an_export_its_generator(tmp_path: Path, file: Path) -> None:
    export(file, "ovseg_folder", tmp_path / "folder")
    base = ClipConfig(model=f"local-dir:{save_tiny_clip(tmp_path / 'base')}")
    save_adapted(tmp_path / "run", adapted(load_clip(base, "cpu")[0], 2), base, {})
    export(tmp_path / "run", "ovseg", tmp_path / "tuned.pth", segmenter=tmp_path / "folder")
    tuned = torch.load(tmp_path / "tuned.pth", weights_only=True)["model"]
    name = "sem_seg_head.pixel_decoder.layer_1.weight"
    assert torch.equal(tuned[name], ovseg_state(vocabulary=30)[name])


def test_what_stands_there_is_kept(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/note.txt").write_text("mine")
    with pytest.raises(UserError, match="this holds other things"):
        export(file, "ovseg_folder", tmp_path / "mine", force=True)
    with pytest.raises(UserError, match="this holds other things"):
        export(file, "ovseg_folder", file)
    export(file, "ovseg_folder", tmp_path / "folder")
    with pytest.raises(UserError, match="exists; remove it, or replace it by force"):
        export(file, "ovseg_folder", tmp_path / "folder")
    export(file, "ovseg_folder", tmp_path / "folder", force=True)


def test_options_that_mean_nothing_and_other_files_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UserError, match="layout ovseg_folder holds the file's own tensors"):
        export(file, "ovseg_folder", tmp_path / "folder", precision="fp16")
    torch.save({"model": {"visual.proj": torch.zeros(2)}}, tmp_path / "clip.pth")
    with pytest.raises(UserError, match=r"clip\.pth: has no backbone\.\*; expected a whole OVSeg"):
        export(tmp_path / "clip.pth", "ovseg_folder", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
