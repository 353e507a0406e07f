"""Pictures with their masks, listed once: what a generator's training draws from, and what it holds out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common import Progress, Rle, SampleError, UserError, digest, join, read_file, silent
from stages.images import decode_image
from stages.proposals.coco_truth import TruthFile, TruthImage, decoded_masks, read_truth_file
from train.generator.config import MaskData, MaskSet

_TRIED = 16
"""Pictures of a set that are read before training starts."""
_SIZE = r'"size"\s*:\s*\[\s*(?P<height>\d+)\s*,\s*(?P<width>\d+)\s*\]'
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """A mask of a picture.

    Attributes:
        rle: at the picture's size.
        name: number of its category's name in `MaskIndex.names`.
        is_thing: an object, and not stuff.
        is_crowd: a group of objects, which nobody told apart.
    """

    rle: Rle
    name: int
    is_thing: bool
    is_crowd: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the index lists it: where it is, and which rows of which truth files are its masks."""

    set_number: int
    image: TruthImage
    file: str
    rows: tuple[tuple[int, NDArray[np.int64]], ...]


@dataclass(slots=True)
class MaskIndex:
    """All pictures of all sets.

    Attributes:
        files: truth files of all sets, in order.
        names: of all categories, sorted.
        training: pictures to train on, those of a set together.
        held_out: pictures to score.
        without_masks: how many pictures were left out, since they have no mask but crowds.
    """

    names: tuple[str, ...] = ()
    files: list[tuple[TruthFile, bool | None]] = field(default_factory=list)
    training: list[Picture] = field(default_factory=list)
    held_out: list[Picture] = field(default_factory=list)
    without_masks: int = 0
    _numbers: list[NDArray[np.int64]] = field(default_factory=list)

    def repeats(self, sets: tuple[MaskSet, ...]) -> NDArray[np.float64]:
        """How often an epoch holds each training picture, float64 [N]."""
        return np.array([sets[picture.set_number].weight for picture in self.training])

    def read(self, picture: Picture) -> tuple[Pixels, list[Region]]:
        """Pixels uint8 [H, W, 3], RGB, upright, and masks of one picture.

        Raises:
            UserError: the picture or one of its masks cannot be used; names the file.
        """
        try:
            pixels = decode_image(read_file(picture.file))
        except (OSError, SampleError) as error:
            raise UserError(f"{picture.file}: cannot be read as a picture: {error}; mend it, or take it out") from error
        regions: list[Region] = []
        for number, rows in picture.rows:
            truth, is_thing = self.files[number]
            masks = truth.masks.take(rows)
            where = f"{truth.path}: image {picture.image.image_id} ({picture.file})"
            height, width = pixels.shape[:2]
            rles = decoded_masks(masks["segmentation"].to_pylist(), height, width, where)
            labels, crowds = masks["label"].to_pylist(), masks["is_crowd"].to_pylist()
            for rle, label, name_number, crowd in zip(rles, labels, self._numbers[number][rows], crowds, strict=True):
                thing = is_thing if is_thing is not None else label not in truth.stuff
                regions.append(Region(rle, int(name_number), thing, crowd))
        return pixels, regions

    def fingerprint(self) -> str:
        """Digest of what is listed: pictures, and the text of their masks."""
        texts = [hashlib.sha256() for _ in self.files]
        for text, (truth, _) in zip(texts, self.files, strict=True):
            for segmentation in truth.masks["segmentation"]:
                text.update(segmentation.as_buffer())
        pictures = [[one.set_number, one.image.image_id] for one in (*self.training, *self.held_out)]
        return digest([self.names, pictures, [text.hexdigest() for text in texts]])


def index_masks(data: MaskData, progress: Progress = silent) -> MaskIndex:
    """Lists all sets, and tries some pictures of each.

    Args:
        data: the sets, and the share that is held out.
        progress: called with what is being done.

    Raises:
        UserError: a file is missing or wrong, a mask has another size than its picture, or a set has no picture
            with masks; names the file, the key and the remedy.
    """
    found = MaskIndex()
    for number, one in enumerate(data.sets):
        key = f"data.sets[{number}]"
        first = len(found.files)
        for is_thing, paths in ((True, one.things), (False, one.stuff), (None, one.panoptic)):
            for path in paths:
                progress(f"reading {path.rpartition('/')[2]}")
                truth = read_truth_file(path)
                _check_sizes(truth, key)
                found.files.append((truth, is_thing))
        pictures, without = _pictures(number, one, found.files[first:], first)
        if not pictures:
            raise UserError(f"{key}: none of its {without} pictures has a mask; name the files that hold them")
        found.without_masks += without
        for picture in pictures:
            (found.held_out if _is_held_out(picture, data.held_out) else found.training).append(picture)
    _number_names(found)
    if not found.training:
        raise UserError("data.held_out: no picture is left to train on; lower it, or give more pictures")
    _try_some(found, data, progress)
    return found


def _pictures(
    number: int, one: MaskSet, files: list[tuple[TruthFile, bool | None]], first: int
) -> tuple[list[Picture], int]:
    """Pictures of a set that have a mask which is no crowd, in the order of their ids; and how many have none."""
    images = {image_id: image for truth, _ in files for image_id, image in truth.images.items()}
    pictures, without = [], 0
    masks = [_masks_of(truth) for truth, _ in files]
    for image_id in sorted(images, key=lambda each: (len(each), each)):
        rows = tuple((first + at, of[image_id]) for at, of in enumerate(masks) if image_id in of)
        image = images[image_id]
        if not rows:
            without += 1
            continue
        name = image.file_name
        if name is None:
            raise UserError(f"{files[0][0].path}: image {image_id} has no file_name; add it")
        # LVIS names a picture by its URL; COCO's folders have the last part of it.
        name = name.rpartition("/")[2] if "://" in name else name
        pictures.append(Picture(number, image, join(one.images, name), rows))
    return pictures, without


def _masks_of(truth: TruthFile) -> dict[str, NDArray[np.int64]]:
    """Rows of each picture that has any mask but crowds."""
    ids = truth.masks["image_id"].combine_chunks().dictionary_encode()
    numbers, names = ids.indices.to_numpy(), ids.dictionary.to_pylist()
    useful = set(numbers[~truth.masks["is_crowd"].to_numpy()].tolist())
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    groups = np.split(order, starts[1:])
    return {names[numbers[group[0]]]: group for group in groups if len(group) and int(numbers[group[0]]) in useful}


def _is_held_out(picture: Picture, share: float) -> bool:
    """Drawn by the id alone: a picture that two sets annotate is held out of both."""
    drawn = hashlib.sha256(f"held out {picture.image.image_id}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2**64


def _number_names(found: MaskIndex) -> None:
    found.names = tuple(sorted({name for truth, _ in found.files for name in truth.names}))
    known = pa.array(found.names, pa.string())
    for truth, _ in found.files:
        numbers = pc.index_in(truth.masks["label"], value_set=known)
        found._numbers.append(numbers.to_numpy().astype(np.int64))


def _check_sizes(truth: TruthFile, key: str) -> None:
    """Compares the size in every RLE with its picture's, where both are told.

    Raises:
        UserError: they differ.
    """
    told = pc.extract_regex(truth.masks["segmentation"].cast(pa.large_string()), _SIZE).combine_chunks()
    if isinstance(told, pa.ChunkedArray):
        told = told.chunk(0)
    heights, widths = (pc.struct_field(told, part).to_pylist() for part in ("height", "width"))
    for row, (image_id, height, width) in enumerate(
        zip(truth.masks["image_id"].to_pylist(), heights, widths, strict=True)
    ):
        image = truth.images.get(image_id)
        if image is None:
            raise UserError(f"{truth.path}: mask {row} is of image {image_id}, which the list 'images' lacks")
        if height is None or image.height_px is None or image.width_px is None:
            continue
        if (int(height), int(width)) != (image.height_px, image.width_px):
            raise UserError(
                f"{key}: {truth.path}: mask {row} is of {height} x {width} px (height x width), and its image "
                f"{image_id} of {image.height_px} x {image.width_px} px; give masks of the picture's size"
            )


def _try_some(found: MaskIndex, data: MaskData, progress: Progress) -> None:
    """Reads pictures spread over each set, so that a wrong folder is told now and not after hours."""
    every = [*found.training, *found.held_out]
    for number in range(len(data.sets)):
        mine = [picture for picture in every if picture.set_number == number]
        for at, picture in enumerate(_spread(mine)):
            progress("trying pictures", at, min(_TRIED, len(mine)))
            found.read(picture)


def _spread(pictures: list[Picture]) -> Iterable[Picture]:
    count = min(_TRIED, len(pictures))
    return (pictures[at * len(pictures) // count] for at in range(count))


def held_out_regions(found: MaskIndex, limit: int | None) -> Iterator[tuple[Pixels, list[Region]]]:
    """Pixels and masks of the pictures that are held out, the first `limit` of them."""
    for picture in found.held_out[:limit]:
        yield found.read(picture)
