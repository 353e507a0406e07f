"""Captioned WebDataset shards as a data set with random access: pictures cropped at random, a caption each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from stages.common import UserError, clean_text, open_file, read_file
from stages.shards import KeyEndsAt, Trouble, read_captioned_pictures
from train.data.order import Draw
from train.data.pair_index import LeftOut, tars_of


@dataclass(frozen=True, slots=True)
class Captioned:
    """Where a picture lies, and its captions: at least one."""

    shard: str
    offset: int
    nbytes: int
    captions: tuple[str, ...]


def read_captioned(
    shards: Sequence[str], key_ends_at: KeyEndsAt = "first_dot", left_out: dict[str, int] | None = None
) -> list[Captioned]:
    """Lists the captioned pictures of shards, as `stages.shards.read_captioned_pictures` reads them.

    What cannot be used is left out: it is counted, and warned of once for a shard and reason.

    Args:
        shards: uncompressed tars, by path or URL, or patterns of them; see train.data.pair_index.tars_of.
        key_ends_at: where keys end.
        left_out: gets how much is left out, by reason.

    Raises:
        UserError: there are none, a file is no tar, or no picture has a caption.
    """
    counts: dict[str, int] = {} if left_out is None else left_out
    tars = [tar for pattern in shards for tar in tars_of(pattern, "shards", "")]
    found = [sample for tar in tars for sample in _samples_of(tar, key_ends_at, counts)]
    if not found:
        lost = ", ".join(f"{count} times {reason}" for reason, count in counts.items()) or "they hold no samples"
        raise UserError(
            f"shards: {', '.join(shards)} have no picture with a caption: {lost}; expected KEY.jpg with KEY.txt, or "
            "with a KEY.json that has captions"
        )
    return found


def _samples_of(shard: str, key_ends_at: KeyEndsAt, counts: dict[str, int]) -> list[Captioned]:
    left, samples = LeftOut(shard), []
    try:
        with open_file(shard) as file:
            for found in read_captioned_pictures(file, key_ends_at, left.tell):
                captions = tuple(filter(None, (clean_text(text).strip() for text in found.captions)))
                if captions:
                    samples.append(Captioned(shard, found.offset, found.nbytes, captions))
                else:
                    message = f"{found.key} has a picture but no caption; expected it in KEY.txt or KEY.json"
                    left.tell(Trouble("image", "no_captions", message, found.key))
    except OSError as error:
        raise UserError(f"{shard}: cannot be read as a WebDataset shard: {error}") from error
    left.add_to(counts)
    return samples


class Pictures(NamedTuple):
    """N pictures, uint8 [N, 3, size, size]; and of each the number of its sample, and of the caption drawn.

    Of pictures that cannot be read there is the problem alone: an error of a worker would arrive as a traceback.
    """

    pixels: Tensor
    numbers: list[int]
    captions: list[int]
    problem: str = ""


class CaptionedPictures(Dataset[Pictures]):
    """Pictures by their draws: what is drawn depends on the seed and on the place in the order alone.

    Args:
        samples: what there is.
        size_px: side of the pictures given.
        crop_scale: least share of a picture's area that a random crop keeps; its aspect ratio is 3:4 to 4:3.
        seed: of crops and choices of captions.
    """

    def __init__(self, samples: Sequence[Captioned], size_px: int, crop_scale: float, seed: int) -> None:
        self._samples = samples
        self._size_px = size_px
        self._crop_scale = crop_scale
        self._seed = seed

    def __getitem__(self, draw: Draw) -> Pictures:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw]) -> Pictures:
        try:
            pixels, captions = zip(*(self._drawn(draw) for draw in draws), strict=True)
        except UserError as error:
            return Pictures(torch.empty(0), [], [], str(error))
        return Pictures(torch.from_numpy(np.stack(pixels)), [draw.number for draw in draws], list(captions))

    def _drawn(self, draw: Draw) -> tuple[NDArray[np.uint8], int]:
        """A crop, [3, size, size], and the number of a caption."""
        sample = self._samples[draw.number]
        rng = np.random.default_rng([self._seed, draw.epoch, draw.position])
        try:
            data = read_file(sample.shard, sample.offset, sample.offset + sample.nbytes)
        except (OSError, TimeoutError) as error:
            raise UserError(f"{sample.shard}: cannot be read: {error}") from error
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = self._crop(image.convert("RGB"), rng)
        except OSError as error:
            raise UserError(f"{sample.shard}, byte {sample.offset}: not a picture: {error}") from error
        return pixels.transpose(2, 0, 1), int(rng.integers(len(sample.captions)))

    def _crop(self, image: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A random crop, squashed to the size."""
        width, height = image.size
        area = rng.uniform(self._crop_scale, 1.0)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, high = min(1.0, float(np.sqrt(area * aspect))), min(1.0, float(np.sqrt(area / aspect)))
        left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
        box = (left * width, top * height, (left + wide) * width, (top + high) * height)
        return np.array(image.resize((self._size_px, self._size_px), Image.Resampling.BICUBIC, box=box))
