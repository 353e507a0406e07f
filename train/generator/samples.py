"""From a picture with masks to what a network trains on: scaled, cropped, mirrored and coloured at random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from stages.common import UserError
from train.data.loader import load_batches
from train.data.order import Batches, Draw
from train.evaluate.proposals import TruthMask
from train.generator.config import MaskAugmentation, MaskData
from train.generator.mask_index import MaskIndex, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class MaskSample:
    """One picture of a batch, on a square of side S.

    Attributes:
        masks: bool [n, S, S]; no crowd, none empty.
        is_thing: bool [n].
        names: int64 [n], numbers in `MaskIndex.names`.
        ignored: bool [S, S], what crowds cover, and what nobody knows: neither object nor background.
        valid_hw_px: the part that shows the picture: the upper left corner.
        seed: for what the loss draws, so that it depends on the sample alone.
    """

    masks: Tensor
    is_thing: Tensor
    names: Tensor
    ignored: Tensor
    valid_hw_px: tuple[int, int]
    seed: int

    def on_picture(self, shape: Sequence[int]) -> Tensor:
        """Which cells of a grid over the square show a part of the picture, bool `shape`; the others are padding."""
        side = self.ignored.shape[-1]
        height, width = (-(-length * cells // side) for length, cells in zip(self.valid_hw_px, shape, strict=True))
        on = torch.zeros(tuple(shape), dtype=torch.bool)
        on[:height, :width] = True
        return on


@dataclass(frozen=True, slots=True, eq=False)
class MaskBatch:
    """N pictures.

    Attributes:
        pixels: uint8 [N, 3, S, S], RGB; padding is 0.
        samples: their masks.
    """

    pixels: Tensor
    samples: list[MaskSample]

    def pin_memory(self) -> MaskBatch:
        """For torch's loader."""
        return MaskBatch(self.pixels.pin_memory(), self.samples)


class MaskLoader:
    """Batches of one rank, by step: they depend on index, configuration, batch size, seed and step alone.

    Args:
        index: the pictures.
        config: of the data.
        batch_size: of all ranks together.
        seed: of orders and augmentation.
        steps: of the whole run: the last ones have another size.
        rank, world_size: of this process among those that train together.
        pin_memory: whether batches are put where a GPU copies from quickly.

    Raises:
        UserError: an epoch is shorter than a batch, or a batch is no multiple of the ranks.
    """

    def __init__(
        self,
        index: MaskIndex,
        config: MaskData,
        batch_size: int,
        seed: int,
        steps: int,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self._config, self._pin = config, pin_memory
        self._order = (index.repeats(config.sets), batch_size, seed)
        self._place = (rank, world_size)
        per_epoch = self._batches(0, 0).steps_per_epoch
        self._samples = _Samples(index, config, batch_size, per_epoch, seed, steps)

    def batches(self, first: int, last: int) -> Iterator[MaskBatch]:
        """Batches of the steps from `first` up to but without `last`, counted over all epochs.

        Raises:
            UserError: a picture or a mask cannot be read.
        """
        for found in load_batches(self._samples, self._batches(first, last), self._config.workers, self._pin):
            if isinstance(found, str):
                raise UserError(found)
            yield found

    def _batches(self, first: int, last: int) -> Batches:
        return Batches(*self._order, first, last, *self._place)


class _Samples(Dataset["MaskBatch | str"]):
    """Pictures by their draws, a batch at once; or, where one cannot be read, what is to be said of it.

    An error that a process for reading raises would reach the user as a traceback.
    """

    def __init__(
        self, index: MaskIndex, config: MaskData, batch_size: int, steps_per_epoch: int, seed: int, steps: int
    ) -> None:
        self._index, self._config, self._seed = index, config, seed
        self._numbers = {name: number for number, name in enumerate(index.names)}
        self._batch_size, self._steps_per_epoch, self._steps = batch_size, steps_per_epoch, steps

    def __getitem__(self, draw: Draw) -> MaskBatch | str:
        return self.__getitems__([draw])

    def __getitems__(self, draws: list[Draw]) -> MaskBatch | str:
        try:
            return self._batch(draws)
        except UserError as error:
            return str(error)

    def _batch(self, draws: list[Draw]) -> MaskBatch:
        side = self._side_px(draws[0])
        pixels = torch.empty((len(draws), 3, side, side), dtype=torch.uint8)
        samples = []
        for row, draw in enumerate(draws):
            rng = np.random.default_rng([self._seed, draw.epoch, draw.position, 3])
            picture, regions = self._index.read(self._index.training[draw.number])
            known = [region for region in regions if region.name in self._index.taught]
            image, sample = augmented(picture, known, self._numbers, side, self._config.augment, rng)
            if self._config.unlabelled == "ignored":
                sample = replace(sample, ignored=sample.ignored | ~sample.masks.any(dim=0))
            pixels[row] = torch.from_numpy(image).permute(2, 0, 1)
            samples.append(sample)
        return MaskBatch(pixels, samples)

    def _side_px(self, draw: Draw) -> int:
        """The side of the step that a draw belongs to: the same for all of its batch, in all processes."""
        number = draw.position // self._batch_size
        config, step = self._config, draw.epoch * self._steps_per_epoch + number
        if step >= (1 - config.final_share) * self._steps:
            return config.last_side_px
        return int(np.random.default_rng([self._seed, draw.epoch, number, 4]).choice(config.sides_px))


def augmented(
    picture: Pixels,
    regions: list[TruthMask],
    numbers: Mapping[str, int],
    side: int,
    config: MaskAugmentation,
    rng: np.random.Generator,
) -> tuple[Pixels, MaskSample]:
    """A random view of a picture.

    Args:
        picture: uint8 [H, W, 3].
        regions: its masks, crowds included.
        numbers: of the names.
        side: of the square, in pixels.
        config: what is drawn.
        rng: draws it.

    Returns:
        Pixels uint8 [side, side, 3], and the masks on them.
    """
    masks = [region.rle.decode().view(np.uint8) * np.uint8(255) for region in regions]
    scale = side / max(picture.shape[:2]) * float(np.exp(rng.uniform(*np.log(config.scale))))
    size_hw = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    top, left = (int(rng.integers(max(0, length - side) + 1)) for length in size_hw)
    mirrored = config.flip and bool(rng.random() < 0.5)

    def view(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if plane.shape[:2] != size_hw:
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            plane = cv2.resize(plane, size_hw[::-1], interpolation=how).astype(np.uint8, copy=False)
        plane = plane[top : top + side, left : left + side]
        return plane[:, ::-1] if mirrored else plane

    def padded(plane: NDArray[Any]) -> NDArray[Any]:
        gap_h, gap_w = side - plane.shape[0], side - plane.shape[1]
        return np.pad(plane, ((0, gap_h), (0, gap_w), (0, 0))[: plane.ndim]) if gap_h or gap_w else plane

    pixels = np.ascontiguousarray(view(picture))
    if config.color:
        pixels = _recoloured(pixels, config.color, rng)
    pixels = np.ascontiguousarray(padded(pixels))
    seen = [padded(view(mask) > 127) for mask in masks]  # resized as the picture is: nearest pixels would lie beside it
    kept = [
        (mask, region)
        for mask, region in zip(seen, regions, strict=True)
        if not region.is_crowd and np.count_nonzero(mask) >= config.min_area_px
    ]
    ignored = np.zeros((side, side), bool)
    for mask, region in zip(seen, regions, strict=True):
        if region.is_crowd:
            ignored |= mask
    sample = MaskSample(
        masks=torch.from_numpy(np.stack([mask for mask, _ in kept]))
        if kept
        else torch.zeros((0, side, side), dtype=torch.bool),
        is_thing=torch.tensor([region.is_thing for _, region in kept], dtype=torch.bool),
        names=torch.tensor([numbers[region.name] for _, region in kept], dtype=torch.int64),
        ignored=torch.from_numpy(ignored),
        valid_hw_px=(min(side, size_hw[0]), min(side, size_hw[1])),
        seed=int(rng.integers(2**62)),
    )
    return pixels, sample


def _recoloured(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast, saturation and cast, each changed by up to `strength`; a table or a matrix per picture."""
    brightness, contrast, saturation = 1 + rng.uniform(-strength, strength, 3)
    cast = 1 + rng.uniform(-strength, strength, 3) / 2
    grey = np.full((3, 3), 1 / 3)
    matrix = np.diag(cast) @ (saturation * np.eye(3) + (1 - saturation) * grey) * (brightness * contrast)
    middle = float(pixels.mean())
    shift = np.full((3, 1), middle * brightness * (1 - contrast))
    changed: Any = cv2.transform(pixels, np.hstack([matrix, shift]))
    return np.asarray(changed, dtype=np.uint8)
