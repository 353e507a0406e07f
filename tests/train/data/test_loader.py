"""Batches: their form, and that they depend on nothing but data, seed and step."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.clip_config import RegionRules
from stages.common import UserError
from stages.regions import normalise
from tests.stages.test_regions import masked_region
from tests.train.data.conftest import CLIP, NOUNS, data_config, drawn, listed, members_of, png, write_index, write_tar
from train.data.loader import Batch, PairLoader
from train.data.pair_index import index_pairs
from train.data.samples import Augmentation, DataConfig, ShardSet

Loader = Callable[..., PairLoader]
LIVELY = Augmentation(crop_scale=(0.4, 1.0), flip=True, mask_noise=0.2)
ROOT = Path(__file__).parents[3]


def same(ours: Batch, others: Batch) -> bool:
    tensors = [(ours.images, others.images), (ours.masks, others.masks), (ours.noun_numbers, others.noun_numbers)]
    texts = (ours.keys, ours.nouns, ours.canonical) == (others.keys, others.nouns, others.canonical)
    return texts and all(torch.equal(one, other) for one, other in tensors)


def all_same(ours: Any, others: Any) -> bool:  # noqa: ANN401
    return all(same(one, other) for one, other in zip(ours, others, strict=True))


def test_a_batch_holds_regions_as_mining_cuts_them_and_their_nouns(shards: Path, loader: Loader) -> None:
    made = loader(data_config(shards, region=RegionRules(expand_ratio=1.3)))
    (batch,) = made.batches(0, 1)
    assert (batch.images.dtype, batch.images.shape) == (torch.float32, (6, 3, 24, 24))
    assert (batch.masks.dtype, batch.masks.shape) == (torch.float32, (6, 1, 24, 24))
    mean_rgb = (CLIP.mean[0] * 255, CLIP.mean[1] * 255, CLIP.mean[2] * 255)
    pair_index = listed(data_config(shards))
    for row, key in enumerate(batch.keys):
        pixels, keep = masked_region(*drawn(int(key)), 24, mean_rgb, RegionRules(expand_ratio=1.3))
        torch.testing.assert_close(batch.images[row], normalise(pixels, CLIP.mean, CLIP.std), rtol=0, atol=1e-5)
        assert torch.equal(batch.masks[row], keep)
        assert batch.nouns[row] == NOUNS[int(key) % 3] == pair_index.nouns[batch.noun_numbers[row]]
        assert batch.canonical[row] == batch.nouns[row].lower() == pair_index.canonicals[batch.canonical_numbers[row]]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(shards: Path, loader: Loader, workers: int) -> None:
    alone = loader(data_config(shards, augment=LIVELY)).batches(0, 8)
    assert all_same(loader(data_config(shards, augment=LIVELY, workers=workers)).batches(0, 8), alone)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("antialias", [False, True])
def test_a_batch_that_is_cut_on_a_device_is_the_batch(
    shards: Path, loader: Loader, workers: int, antialias: bool
) -> None:
    """The CPU stands for the GPU here: the code is the same."""
    config = data_config(shards, augment=LIVELY, region=RegionRules(antialias=antialias), workers=workers)
    found, expected = (loader(config, cut_on=where).batches(0, 8) for where in ("cpu", None))
    for one, other in zip(found, expected, strict=True):
        assert (one.keys, one.nouns) == (other.keys, other.nouns)
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=1e-4)
        assert torch.equal(one.masks, other.masks)


def test_a_run_resumes_in_mid_epoch(shards: Path, loader: Loader) -> None:
    config = data_config(shards, augment=LIVELY)
    whole = list(loader(config).batches(0, 8))
    assert all_same(loader(config).batches(4, 8), whole[4:])


def test_two_ranks_see_the_batches_of_one_process(shards: Path, loader: Loader) -> None:
    config = data_config(shards, augment=LIVELY)
    parts = [list(loader(config, rank=rank, world_size=2).batches(0, 5)) for rank in (0, 1)]
    for whole, first, second in zip(loader(config).batches(0, 5), *parts, strict=True):
        assert whole.keys == first.keys + second.keys
        assert not set(first.keys) & set(second.keys)
        assert torch.equal(whole.images, torch.cat([first.images, second.images]))
        assert torch.equal(whole.masks, torch.cat([first.masks, second.masks]))


def test_an_epoch_gives_each_pair_once_but_for_the_rest(shards: Path, loader: Loader) -> None:
    made = loader(data_config(shards))
    assert (made.steps_per_epoch, made.dropped_per_epoch) == (3, 5)
    keys = [key for batch in made.batches(0, 3) for key in batch.keys]
    assert len(keys) == len(set(keys)) == 18


def test_a_sample_is_augmented_anew_in_each_epoch_and_under_another_seed(shards: Path, loader: Loader) -> None:
    config = data_config(shards, augment=LIVELY)
    seen = [
        loader(config, batch_size=23, seed=seed).batches(first, first + 1) for seed, first in ((0, 0), (0, 1), (1, 0))
    ]
    crops = [
        {key: image for batch in found for key, image in zip(batch.keys, batch.images, strict=True)} for found in seen
    ]
    assert sum(torch.equal(crops[0][key], crops[1][key]) for key in crops[0]) < 5
    assert sum(torch.equal(crops[0][key], crops[2][key]) for key in crops[0]) < 5


def test_the_same_place_of_another_epoch_is_augmented_otherwise(tmp_path: Path, loader: Loader) -> None:
    write_tar(tmp_path / "a.tar", [("0", members_of(0))])
    first, second = loader(data_config(tmp_path, augment=LIVELY), batch_size=1).batches(0, 2)
    assert first.keys == second.keys
    assert not torch.equal(first.images, second.images)


def test_global_generators_are_neither_read_nor_moved(shards: Path, loader: Loader) -> None:
    config = data_config(shards, augment=LIVELY, workers=1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = list(loader(config).batches(0, 2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    assert all_same(loader(config).batches(0, 2), first)


def test_sets_are_mixed_by_their_weights(shards: Path) -> None:
    sets = (
        ShardSet(shards=(str(shards / "00000.tar"),), weight=2),
        ShardSet(shards=(str(shards / "00002.tar"),), weight=0.5),
    )
    config = DataConfig(sets=sets, workers=0)
    made = PairLoader(index_pairs(sets), config, CLIP, batch_size=27, seed=0)
    assert (made.steps_per_epoch, made.dropped_per_epoch) == (1, 0)
    (batch,) = made.batches(0, 1)
    counts = np.bincount([int(key) for key in batch.keys], minlength=23)
    assert counts[:11].tolist() == [2] * 11
    assert sorted(counts[13:]) == [0] * 5 + [1] * 5


@pytest.fixture
def bad_shards(tmp_path: Path) -> Path:
    """Twelve pairs; two have a mask of another size or a broken picture."""
    changes: dict[int, dict[str, bytes]] = {4: {"mask.png": png(np.ones((5, 5), bool))}, 7: {"jpg": b"broken"}}
    write_tar(
        tmp_path / "a.tar", [(f"{number:04d}", members_of(number) | changes.get(number, {})) for number in range(12)]
    )
    return tmp_path


def test_a_bad_sample_stops_with_shard_and_key_and_no_traceback_of_a_worker(bad_shards: Path, loader: Loader) -> None:
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"a\.tar: 000[47]: (mask_size_mismatch|undecodable_image)") as caught:
            list(loader(data_config(bad_shards, workers=workers)).batches(0, 2))
        assert "Traceback" not in str(caught.value)


def test_a_bad_sample_is_replaced_alike_on_any_rank_and_counted(
    bad_shards: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    config = data_config(bad_shards, on_bad="skip", augment=LIVELY)
    made = loader(config)
    with caplog.at_level(logging.WARNING):
        whole = list(made.batches(0, 4))
    assert made.replaced["mask_size_mismatch"] >= 2
    assert made.replaced["undecodable_image"] >= 2
    assert [record.getMessage().count("a.tar: 0004: mask_size") for record in caplog.records].count(1) == 1
    assert all(len(batch) == 6 and not {"0004", "0007"} & set(batch.keys) for batch in whole)
    parts = [list(loader(config, rank=rank, world_size=2).batches(0, 4)) for rank in (0, 1)]
    assert [first.keys + second.keys for first, second in zip(*parts, strict=True)] == [batch.keys for batch in whole]
    assert all_same(loader(config.model_copy(update={"workers": 2})).batches(0, 4), whole)


def test_bad_samples_are_not_all_replaced_by_the_same_one(tmp_path: Path, loader: Loader) -> None:
    broken = {number: {"jpg": b"broken"} for number in range(8)}
    write_tar(
        tmp_path / "a.tar", [(f"{number:02d}", members_of(number) | broken.get(number, {})) for number in range(24)]
    )
    (batch,) = loader(data_config(tmp_path, on_bad="skip"), batch_size=24).batches(0, 1)
    counts = np.bincount([int(key) for key in batch.keys], minlength=24)
    assert counts[:8].sum() == 0
    assert 1 < counts.max() < 8


def test_nothing_but_bad_samples_stop_the_run_even_if_they_may_be_skipped(tmp_path: Path, loader: Loader) -> None:
    write_tar(tmp_path / "a.tar", [(f"{number}", members_of(number) | {"jpg": b"broken"}) for number in range(6)])
    with pytest.raises(UserError, match="10th bad sample in a row"):
        list(loader(data_config(tmp_path, on_bad="skip")).batches(0, 1))


def test_a_shard_that_changed_after_it_was_listed_is_noticed(shards: Path, loader: Loader) -> None:
    made = loader(data_config(shards))
    write_tar(shards / "00000.tar", [(f"x{number}", members_of(number)) for number in range(11)])
    (shards / "00002.tar").unlink()
    with pytest.raises(UserError, match=r"misplaced_sample|unreadable_shard"):
        list(made.batches(0, 3))


@pytest.mark.parametrize("name", ["build", "build/shards", "build/shards/{00000..00002}.tar"])
def test_remote_shards_are_read_by_ranges(shards: Path, loader: Loader, name: str) -> None:
    """In this process: a worker has a memory:// of its own."""
    write_index(shards.parent)
    remote = fsspec.filesystem("memory")
    for file in (*shards.glob("*.tar"), shards.parent / "index.parquet"):
        remote.pipe_file(f"/build/{file.relative_to(shards.parent)}", file.read_bytes())
    try:
        near = loader(data_config(shards.parent if name == "build" else shards)).batches(0, 3)
        assert all_same(loader(data_config(f"memory://{name}", workers=0)).batches(0, 3), near)
    finally:
        remote.rm("/build", recursive=True)


@pytest.mark.parametrize(
    "values",
    [{"crop_scale": (0.0, 1.0)}, {"crop_scale": (0.9, 1.1)}, {"crop_scale": (0.9, 0.8)}, {"crop_ratio": (1.1, 1.2)}],
)
def test_ranges_of_augmentation_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected 0 < least"):
        Augmentation(**values)


def test_the_documented_tool_writes_shards_that_train(tmp_path: Path, loader: Loader) -> None:
    """The snippet of the documentation, on a shard with captions as img2dataset writes it."""
    page = (ROOT / "docs/shards-for-training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    place: dict[str, Any] = {}
    exec(code, place)
    captioned = {
        "jpg": members_of(0)["jpg"],
        "txt": b"a dog and cats",
        "json": b'{"key": "000000000", "status": "success"}',
    }
    old = write_tar(tmp_path / "00000.tar", [(f"{number:09d}", captioned) for number in range(6)])
    keys = [f"{number:09d}" for number in range(6)]
    (tmp_path / "new").mkdir()
    masks, nouns = dict.fromkeys(keys, drawn(0)[1]), dict.fromkeys(keys, "dog")
    place["with_masks"](old, tmp_path / "new" / "00000.tar", masks, nouns)
    (batch,) = loader(data_config(tmp_path / "new")).batches(0, 1)
    assert set(batch.nouns) == {"dog"}
    assert batch.masks.any()


def test_reasons_and_keys_are_documented() -> None:
    page = (ROOT / "docs/shards-for-training.md").read_text(encoding="utf-8")
    words = {word for quoted in re.findall(r"`([^`\n]+)`", page) for word in re.findall(r"\w+", quoted)}
    shards = ROOT / "stages/shards"
    files = [*(ROOT / "train/data").glob("*.py"), shards / "reader.py", shards / "tar.py"]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    reasons = set(re.findall(r"SampleError\(\s*\"(\w+)\"", code)) | {"undecodable_image", "empty_file"}
    reasons |= set(re.findall(r"Trouble\(\s*\"\w+\", \"(\w+)\"", code))
    assert {"empty_noun", "cut_shard"} <= reasons
    assert len(reasons) >= 8
    assert reasons <= words
    for model in (ShardSet, Augmentation, DataConfig):
        assert set(model.model_fields) <= words


def test_a_worker_says_nothing_of_a_training_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    from train.data.loader import _tell_all_but_a_lost_training as tell

    tell(ConnectionResetError, ConnectionResetError("reset"), None)
    tell(BrokenPipeError, BrokenPipeError("broken"), None)
    tell(EOFError, EOFError(), None)
    assert not capsys.readouterr().err
    tell(ValueError, ValueError("of its own"), None)
    assert "of its own" in capsys.readouterr().err
