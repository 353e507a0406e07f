"""Captioned WebDataset shards as a data set with random access: pictures cropped at random, a caption each."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from stages.common import SampleError, UserError, open_location
from train.data.files import read_range


@dataclass(frozen=True, slots=True)
class Captioned:
    """Where a picture lies, and its captions: at least one."""

    shard: str
    offset: int
    nbytes: int
    captions: tuple[str, ...]


def read_captioned(shards: Sequence[str]) -> list[Captioned]:
    """Lists the samples of shards: KEY.jpg (or .jpeg, .png, .webp) with KEY.json's ``captions``, or else KEY.txt.

    Args:
        shards: uncompressed tars, by path or URL.

    Raises:
        UserError: a file is no tar, or a picture has no caption.
    """
    return [sample for shard in shards for sample in _samples_of(shard)]


def _samples_of(shard: str) -> list[Captioned]:
    pictures: dict[str, tuple[int, int]] = {}
    captions: dict[str, tuple[str, ...]] = {}
    fs, path = open_location(shard)
    try:
        with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if extension in ("jpg", "jpeg", "png", "webp"):
                    pictures[key] = (member.offset_data, member.size)
                elif extension in ("json", "txt"):
                    found = _captions_of(_bytes_of(tar, member), extension)
                    if found and (extension == "json" or key not in captions):
                        captions[key] = found
    except (OSError, tarfile.TarError, ValueError) as error:
        raise UserError(f"{shard}: cannot be read as a WebDataset shard: {error}") from error
    if bare := sorted(pictures.keys() - captions.keys()):
        raise UserError(f"{shard}: {bare[0]} has a picture but no caption; expected {bare[0]}.txt, or .json 'captions'")
    return [Captioned(shard, *place, captions[key]) for key, place in pictures.items()]


def _bytes_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file is not None else b""


def _captions_of(data: bytes, extension: str) -> tuple[str, ...]:
    if extension == "txt":
        text = data.decode("utf-8", errors="replace").strip()
        return (text,) if text else ()
    found = json.loads(data)
    listed = found.get("captions", ()) if isinstance(found, dict) else ()
    return tuple(text for text in listed if isinstance(text, str) and text.strip())


class CaptionedPictures(Dataset[tuple[Tensor, int, int]]):
    """Pictures by (epoch, number of the sample): what is drawn depends on the seed and on these two alone.

    An item is the picture, uint8 [3, size, size], the number of its sample, and that of the caption drawn.

    Args:
        samples: what there is.
        size_px: side of the pictures given.
        crop_scale: least share of the picture's area that a random crop keeps; its aspect ratio is 3:4 to 4:3.
        seed: of crops and choices of captions.
    """

    def __init__(self, samples: Sequence[Captioned], size_px: int, crop_scale: float, seed: int) -> None:
        self._samples = samples
        self._size_px = size_px
        self._crop_scale = crop_scale
        self._seed = seed

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, int]:
        epoch, number = key
        sample = self._samples[number]
        rng = np.random.default_rng([self._seed, epoch, number])
        try:
            data = read_range(sample.shard, sample.offset, sample.nbytes)
        except SampleError as error:
            raise UserError(f"{sample.shard}: cannot be read: {error.message}") from error
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = self._crop(image.convert("RGB"), rng)
        except OSError as error:
            raise UserError(f"{sample.shard}, byte {sample.offset}: not a picture: {error}") from error
        return torch.from_numpy(pixels).permute(2, 0, 1), number, int(rng.integers(len(sample.captions)))

    def _crop(self, image: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A random crop, squashed to the size."""
        width, height = image.size
        area = rng.uniform(self._crop_scale, 1.0)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, high = min(1.0, float(np.sqrt(area * aspect))), min(1.0, float(np.sqrt(area / aspect)))
        left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
        box = (left * width, top * height, (left + wide) * width, (top + high) * height)
        return np.array(image.resize((self._size_px, self._size_px), Image.Resampling.BICUBIC, box=box))


class Batches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, number of the sample) from step `first` up to step `last`.

    Each epoch is a permutation drawn from (seed, epoch); a batch never crosses epochs, the rest of one is left out.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, first: int, last: int) -> None:
        if samples < batch_size:
            raise UserError(f"the shards hold {samples} pictures, fewer than a batch of {batch_size}")
        self._samples, self._batch_size, self._seed = samples, batch_size, seed
        self._first, self._last = first, last

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        in_epoch = self._samples // self._batch_size
        order: NDArray[np.int64] | None = None
        for step in range(self._first, self._last):
            epoch, number = divmod(step, in_epoch)
            if order is None or number == 0:
                order = np.random.default_rng([self._seed, epoch]).permutation(self._samples)
            start = number * self._batch_size
            yield [(epoch, int(index)) for index in order[start : start + self._batch_size]]
