"""Shards have one form, byte for byte, and open with the tools that people have."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import sys
import tarfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.tiny_clip import MODEL_CFG
from stages.common import ImageRecord, Match, Noun, Proposal, Rle, canonical_json
from stages.shards import IndexRow, Sample, ShardRules, build_sample, write_shard

HEIGHT_PX, WIDTH_PX = 60, 80
NOUNS = ("red ball", "dog", "café", "tree", "sky")
BLOCK_BYTES = 512


def photo() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    return np.stack([rows * 4, columns * 3, (rows + columns) % 64 * 4], axis=-1).astype(np.uint8)


def mask_of(number: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    mask[10 + number : 30, 20 : 41 + 3 * number] = True
    mask[12:16, 25:30] = False
    return mask


def made(number: int, rules: ShardRules | None = None, **record: Any) -> Sample:  # noqa: ANN401 - fields of ImageRecord
    noun = NOUNS[number % len(NOUNS)]
    given = ImageRecord("17", "photos/17.jpg", ("a caption", f"some {noun} here"), license="CC0")
    return build_sample(
        f"{number:09d}-000",
        replace(given, **record),
        photo(),
        Proposal(Rle.encode(mask_of(number)), 0.7512345678, "classical"),
        Noun(noun, noun, 1, 5, 5 + len(noun), "head"),
        [(1, 5, 5 + len(noun))],
        Match(number, number, 0.123456789, 0.05, None),
        rules or ShardRules(),
    )


def written(samples: list[Sample]) -> tuple[bytes, list[IndexRow]]:
    buffer = io.BytesIO()
    rows = write_shard(samples, buffer, "shards/000000.tar")
    return buffer.getvalue(), rows


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "00000.tar"
    path.write_bytes(written([made(number) for number in range(5)])[0])
    return path


def test_the_same_pairs_give_the_same_bytes() -> None:
    first, second = (written([made(number) for number in range(3)]) for _ in range(2))
    assert first == second


def test_the_order_of_a_samples_members_makes_no_difference() -> None:
    sample = made(0)
    turned = replace(sample, members=dict(reversed(sample.members.items())))
    assert written([sample])[0] == written([turned])[0]


def test_headers_hold_nothing_of_who_wrote_and_when(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert all(member.isreg() and not member.pax_headers for member in members)
    assert shard.read_bytes()[257:265] == b"ustar\x0000"
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert [member.name.partition(".")[2] for member in members[:4]] == ["jpg", "json", "mask.png", "txt"]


def test_one_ranged_read_gives_one_sample() -> None:
    samples = [made(number) for number in range(4)]
    data, rows = written(samples)
    for sample, row in zip(samples, rows, strict=True):
        part = data[row.offset : row.offset + row.nbytes]
        with tarfile.open(fileobj=io.BytesIO(part + bytes(2 * BLOCK_BYTES))) as tar:
            found = {member.name: tar.extractfile(member) for member in tar}
            contents = {name: file.read() for name, file in found.items() if file}
        assert contents == {f"{sample.key}.{extension}": content for extension, content in sample.members.items()}
    assert [row.offset for row in rows[1:]] == [row.offset + row.nbytes for row in rows[:-1]]


def test_index_rows_are_the_samples_own_with_their_place() -> None:
    samples = [made(0), made(1)]
    for sample, row in zip(samples, written(samples)[1], strict=True):
        assert sample.row == replace(row, shard="", offset=0, nbytes=0)
        assert (row.key, row.shard) == (sample.key, "shards/000000.tar")
        assert row.nbytes > 0


def test_samples_without_a_row_give_none() -> None:
    data, rows = written([Sample("0", {"txt": b"a"})])
    assert rows == []
    assert b"0.txt" in data


@pytest.mark.parametrize("numbers", [(1, 0), (2, 2)])
def test_keys_must_ascend(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        written([made(number) for number in numbers])


def test_no_samples_give_an_empty_tar() -> None:
    data, rows = written([])
    assert rows == []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmembers() == []


def test_crop_and_mask_are_the_same_part_of_the_photo() -> None:
    sample = made(0, ShardRules(context_margin=0.25))
    # the mask's box is 20..41 x 10..30; a quarter of its longer side, 21, is 5
    left, top, right, bottom = 15, 5, 46, 35
    values = json.loads(sample.members["json"])
    assert values["box_xyxy_px"] == [20, 10, 41, 30]
    assert values["crop_xyxy_px"] == [left, top, right, bottom]
    crop = Image.open(io.BytesIO(sample.members["jpg"]))
    assert (crop.format, crop.mode, crop.size) == ("JPEG", "RGB", (right - left, bottom - top))
    assert np.abs(np.asarray(crop).astype(int) - photo()[top:bottom, left:right]).mean() < 3
    mask = Image.open(io.BytesIO(sample.members["mask.png"]))
    assert (mask.format, mask.mode) == ("PNG", "1")
    np.testing.assert_array_equal(np.asarray(mask), mask_of(0)[top:bottom, left:right])


def test_the_crop_ends_at_the_photo() -> None:
    sample = made(0, ShardRules(context_margin=10))
    assert Image.open(io.BytesIO(sample.members["jpg"])).size == (WIDTH_PX, HEIGHT_PX)
    assert Image.open(io.BytesIO(sample.members["mask.png"])).size == (WIDTH_PX, HEIGHT_PX)


def test_json_is_canonical_and_tells_all() -> None:
    sample = made(2)
    values = json.loads(sample.members["json"])
    assert canonical_json(values) == sample.members["json"]
    np.testing.assert_array_equal(Rle.from_coco(values.pop("mask_rle"), HEIGHT_PX, WIDTH_PX).decode(), mask_of(2))
    assert values.pop("mask_id")
    assert values == {
        "area_px": int(mask_of(2).sum()),
        "box_xyxy_px": [20, 12, 47, 30],
        "caption": "some café here",
        "caption_number": 1,
        "crop_xyxy_px": [13, 5, 54, 37],
        "file": "photos/17.jpg",
        "image_height_px": HEIGHT_PX,
        "image_id": "17",
        "image_width_px": WIDTH_PX,
        "license": "CC0",
        "margin_mask": None,
        "margin_noun": 0.05,
        "noun": "café",
        "noun_canonical": "café",
        "noun_end": 9,
        "noun_mentions": [[1, 5, 9]],
        "noun_rule": "head",
        "noun_start": 5,
        "proposal_label": None,
        "proposal_score": 0.751235,
        "proposal_source": "classical",
        "score_cosine": 0.123457,
    }


def test_the_text_is_the_noun_as_it_is() -> None:
    assert made(2).members["txt"] == "café".encode()


def test_a_lone_surrogate_in_a_caption_breaks_nothing() -> None:
    sample = made(0, captions=("x", "some \ud83d red ball"))
    assert json.loads(sample.members["json"])["caption"] == "some ? red ball"


def test_one_mask_has_one_id_and_another_mask_another() -> None:
    ids = [sample.row.mask_id for sample in (made(0), made(0, file="elsewhere.jpg"), made(1)) if sample.row]
    assert ids[0] == ids[1] != ids[2]


def test_stock_webdataset_opens_a_shard(shard: Path) -> None:
    import webdataset as wds

    samples = list(wds.WebDataset(str(shard), shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [f"{number:09d}-000" for number in range(5)]
    for number, sample in enumerate(samples):
        assert {name for name in sample if not name.startswith("_")} == {"jpg", "mask.png", "txt", "json"}
        assert sample["txt"] == NOUNS[number]
        assert sample["json"]["noun"] == NOUNS[number]
        assert sample["jpg"].size == sample["mask.png"].size
        left, top, right, bottom = sample["json"]["crop_xyxy_px"]
        channels = np.asarray(sample["mask.png"])  # webdataset's "pil" makes RGB of everything
        np.testing.assert_array_equal(channels[..., 0] > 0, mask_of(number)[top:bottom, left:right])


@pytest.fixture
def wds_dataset() -> Callable[..., Any]:
    """open_clip's own function that makes its loader of training data."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("pandas") is None:
            # It is imported for CSV files, which no one reads here.
            patch.setitem(sys.modules, "pandas", ModuleType("pandas"))
        data: Any = importlib.import_module("open_clip_train.data")
    function: Callable[..., Any] = data.get_wds_dataset
    return function


def first_batch(wds_dataset: Callable[..., Any], shard: Path, preprocess: Any, tokenizer: Any) -> Any:  # noqa: ANN401
    """As open_clip's command line would load it."""
    args = Namespace(
        train_data=str(shard),
        train_num_samples=4,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=4,
        workers=0,
        world_size=1,
    )
    return next(iter(wds_dataset(args, preprocess, is_train=True, tokenizer=tokenizer).dataloader))


def test_open_clips_loader_takes_the_crop_and_the_noun(wds_dataset: Callable[..., Any], shard: Path) -> None:
    sizes = set()

    def preprocess(image: Image.Image) -> torch.Tensor:
        sizes.add((image.mode, image.size))
        return torch.zeros(1)

    _, texts = first_batch(wds_dataset, shard, preprocess, lambda text: [text])
    assert len(texts) == 4
    assert set(texts) < set(NOUNS)
    crops = {Image.open(io.BytesIO(made(number).members["jpg"])).size for number in range(5)}
    assert {size for _, size in sizes} <= crops
    assert {mode for mode, _ in sizes} == {"RGB"}


def test_open_clips_loader_takes_the_photo_and_not_the_mask(wds_dataset: Callable[..., Any], shard: Path) -> None:
    seen: list[NDArray[np.uint8]] = []

    def preprocess(image: Image.Image) -> torch.Tensor:
        seen.append(np.asarray(image))
        return torch.zeros(1)

    first_batch(wds_dataset, shard, preprocess, lambda text: [text])
    assert seen
    assert all(len(np.unique(image)) > 2 for image in seen)  # a mask has two values at most


def test_open_clip_trains_on_a_shard(wds_dataset: Callable[..., Any], shard: Path) -> None:
    torch.manual_seed(0)
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL_CFG)), output_dict=True)
    preprocess = open_clip.image_transform(64, is_train=True)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    images, texts = first_batch(wds_dataset, shard, preprocess, tokenizer)
    assert (images.shape, texts.shape) == ((4, 3, 64, 64), (4, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    before = open_clip.ClipLoss()(**model(images, texts))
    before.backward()
    optimizer.step()
    with torch.no_grad():
        after = open_clip.ClipLoss()(**model(images, texts))
    assert 0 < after.item() < before.item()
