"""Shards of coloured discs, written by hand as a third tool would."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from train.data.loader import ClipInput, PairLoader
from train.data.pair_index import PairIndex, index_pairs
from train.data.samples import NO_AUGMENTATION, DataConfig, ShardSet

CLIP = ClipInput(24, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NOUNS = ("dog", "Cats", "hot dog")


def png(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def drawn(number: int, height: int = 30, width: int = 40) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A noisy picture and a mask off its centre, different for each number."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:height, :width]
    mask = ((rows - 12 - number % 5) / 8) ** 2 + ((columns - 15 - number % 7) / 11) ** 2 < 1
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8), np.asarray(mask, dtype=bool)


def members_of(number: int) -> dict[str, bytes]:
    """A sample of the minimal format; its picture is a PNG in disguise, so that its pixels are known exactly."""
    image, mask = drawn(number)
    return {"jpg": png(image), "mask.png": png(mask), "txt": NOUNS[number % len(NOUNS)].encode()}


def write_tar(path: Path, samples: Sequence[tuple[str, dict[str, bytes]]]) -> Path:
    """Members with fractional times, as img2dataset's writer leaves them: each has a PAX header before its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, members in samples:
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size, info.mtime = len(data), 1700000000.25
                tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of three unequal tars with 23 pairs in all."""
    for shard, numbers in enumerate((range(11), range(11, 13), range(13, 23))):
        samples = [(f"{number:05d}", members_of(number)) for number in numbers]
        write_tar(tmp_path / "shards" / f"{shard:05d}.tar", samples)
    return tmp_path / "shards"


def described(members: dict[str, bytes], **values: Any) -> dict[str, bytes]:  # noqa: ANN401 - JSON
    return {**members, "json": json.dumps(values).encode()}


def data_config(*locations: Path | str, **options: Any) -> DataConfig:  # noqa: ANN401
    """One set, no workers, no augmentation."""
    values = {"workers": 0, "augment": NO_AUGMENTATION, **options}
    return DataConfig(sets=(ShardSet(shards=tuple(map(str, locations))),), **values)


def listed(config: DataConfig) -> PairIndex:
    return index_pairs(config.sets, config.on_bad)


def write_index(folder: Path, **changes: Any) -> None:  # noqa: ANN401
    """A folder of tars as a build has it; the index's nouns are not those of the tars, to tell them apart."""
    found = listed(data_config(folder / "shards"))
    columns = {
        "key": found.key.to_pylist(),
        "shard": [f"shards/{Path(found.shards[number]).name}" for number in found.shard],
        "offset": found.offset,
        "nbytes": found.nbytes,
        "noun": ["indexed"] * len(found),
        "noun_canonical": ["canonical"] * len(found),
        **changes,
    }
    pq.write_table(
        pa.table({name: column for name, column in columns.items() if column is not None}), folder / "index.parquet"
    )


@pytest.fixture
def loader() -> Callable[..., PairLoader]:
    def make(config: DataConfig, batch_size: int = 6, seed: int = 3, **place: Any) -> PairLoader:  # noqa: ANN401
        return PairLoader(listed(config), config, CLIP, batch_size, seed, **place)

    return make
