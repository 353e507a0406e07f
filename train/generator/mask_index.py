"""Pictures with their masks, listed once: what a generator's training draws from, and what it holds out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common import Progress, Rle, UserError, digest, silent
from stages.proposals.coco_truth import TruthFile, TruthImage
from train.evaluate.proposals import TruthMask, TruthSet
from train.generator.config import MaskData, MaskSet

_TRIED = 16
"""Pictures of a set that are read before training starts."""
_REFUSED = {
    "mask_size_mismatch": "give masks of the pictures' sizes, or remove them",
    "no_category": "give each mask the id of a category, and each category a name, or remove the masks",
}
"""Reasons for which no training starts, as they tell of other files than were meant, with the remedy."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, and the number of the set that lists it."""

    set_number: int
    image: TruthImage


@dataclass(slots=True)
class MaskIndex:
    """All pictures of all sets.

    Attributes:
        sets: what they are read from.
        names: of all categories, sorted.
        training: pictures to train on, those of a set together.
        held_out: pictures to score.
        unusable: what a person should know of masks that cannot be used, a sentence each.
        without_masks: how many pictures were left out, since they have no mask but crowds, or none of `taught`.
        taught: names whose masks are trained on.
        left_out: of each set, names whose masks are not used at all.
        one_mask_per_name: a picture's masks of one name are given as one.
    """

    sets: list[TruthSet]
    names: tuple[str, ...]
    training: list[Picture] = field(default_factory=list)
    held_out: list[Picture] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    without_masks: int = 0
    taught: frozenset[str] = frozenset()
    left_out: tuple[frozenset[str], ...] = ()
    one_mask_per_name: bool = False

    def repeats(self, sets: tuple[MaskSet, ...]) -> NDArray[np.float64]:
        """How often an epoch holds each training picture, float64 [N]."""
        return np.array([sets[picture.set_number].weight for picture in self.training])

    def read(self, picture: Picture) -> tuple[Pixels, list[TruthMask]]:
        """Pixels uint8 [H, W, 3], RGB, upright, and masks of one picture.

        Raises:
            UserError: the picture cannot be used, or its masks are of another size; names the file.
        """
        truth = self.sets[picture.set_number]
        pixels = truth.picture(picture.image)
        masks = truth.masks(picture.image, pixels.shape[0], pixels.shape[1])
        masks = [mask for mask in masks if mask.name not in self.left_out[picture.set_number]]
        return pixels, _one_per_name(masks) if self.one_mask_per_name else masks

    def fingerprint(self) -> str:
        """Digest of what is listed: pictures, and the text of their masks."""
        texts = []
        for truth in self.sets:
            for file in truth.files:
                text = hashlib.sha256()
                for segmentation in file.masks["segmentation"]:
                    text.update(segmentation.as_buffer())
                columns = [file.masks[name].to_pylist() for name in ("image_id", "label", "is_crowd")]
                texts.append([text.hexdigest(), digest([*columns, sorted(file.stuff)])])
        pictures = [[one.set_number, one.image.image_id] for one in (*self.training, *self.held_out)]
        return digest([self.names, pictures, texts])


def index_masks(data: MaskData, progress: Progress = silent) -> MaskIndex:
    """Lists all sets, and tries some pictures of each.

    Args:
        data: the sets, and the share that is held out.
        progress: called with what is being done.

    Raises:
        UserError: a file is missing or wrong, a mask is of another size than its picture or has no category with a
            name, no mask of a file can be used, or a set has no picture with masks; names the file, the key and the
            remedy.
    """
    progress("reading masks")
    sets = [_read(one, f"data.sets[{number}]") for number, one in enumerate(data.sets)]
    left_out = tuple(frozenset(one.leave_out) for one in data.sets)
    names = tuple(sorted({name for truth, out in zip(sets, left_out, strict=True) for name in set(truth.names) - out}))
    if unknown := sorted(set(data.names or ()) - set(names)):
        raise UserError(
            f"data.names: {unknown[0]!r} is none of the {len(names)} categories of the sets; mend or remove it"
        )
    taught = frozenset(names if data.names is None else data.names)
    found = MaskIndex(sets, names, taught=taught, left_out=left_out, one_mask_per_name=data.one_mask_per_name)
    for number, truth in enumerate(sets):
        key = f"data.sets[{number}]"
        if odd := sorted(left_out[number] - set(truth.names)):
            raise UserError(f"{key}.leave_out: {odd[0]!r} is none of the set's categories; mend or remove it")
        useful = set[str]().union(*(_with_masks(file, taught - left_out[number]) for file in truth.files))
        pictures = [Picture(number, image) for image in truth.photos if image.image_id in useful]
        if not pictures:
            raise UserError(
                f"{key}: none of its {len(truth.photos)} pictures has a mask to train on; name the files that hold them"
            )
        found.without_masks += len(truth.photos) - len(pictures)
        for picture in pictures:
            (found.held_out if _is_held_out(picture, data.held_out) else found.training).append(picture)
    if not found.training:
        raise UserError("data.held_out: no picture is left to train on; lower it, or give more pictures")
    _try_some(found, progress)
    found.unusable = [sentence for number, truth in enumerate(sets) for sentence in _unusable(truth, number)]
    return found


def _read(config: MaskSet, key: str) -> TruthSet:
    """A set, all of whose files belong to its pictures.

    Raises:
        UserError: as `index_masks`.
    """
    truth = TruthSet(config, key=key)
    for reason, remedy in _REFUSED.items():
        if count := truth.left_out.reasons[reason]:
            notes = "".join(f"\n{note}" for note in truth.left_out.notes)
            raise UserError(f"{key}: {count:,} {reason}, the first: {truth.left_out.firsts[reason]}; {remedy}{notes}")
    return truth


def _unusable(truth: TruthSet, number: int) -> list[str]:
    """What a person should know of masks of a set that are left out: key, file, reason and remedy."""
    told = truth.left_out.sentences(f"data.sets[{number}]")
    if truth.left_out.reasons:
        told[-1] += "; mend the file, or train without them"
    return told


def _with_masks(file: TruthFile, taught: frozenset[str]) -> set[str]:
    """Ids of the pictures that have any mask of these names, but crowds."""
    is_taught = pc.is_in(file.masks["label"], value_set=pa.array(sorted(taught), pa.string()))
    rows = pc.and_(is_taught, pc.invert(file.masks["is_crowd"]))
    return set(pc.unique(file.masks["image_id"].filter(rows)).to_pylist())


def _is_held_out(picture: Picture, share: float) -> bool:
    """Drawn by the id alone: a picture that two sets annotate is held out of both."""
    drawn = hashlib.sha256(f"held out {picture.image.image_id}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2**64


def _one_per_name(masks: list[TruthMask]) -> list[TruthMask]:
    """Masks of one name joined to one, in the order of their first; crowds stay apart."""
    joined: dict[tuple[str, bool], TruthMask] = {}
    for mask in masks:
        key = (mask.name, mask.is_crowd)
        if before := joined.get(key):
            mask = replace(mask, rle=Rle.encode(before.rle.decode() | mask.rle.decode()), area_px=None)
        joined[key] = mask
    return list(joined.values())


def _try_some(found: MaskIndex, progress: Progress) -> None:
    """Reads pictures spread over each set, so that a wrong folder is told now and not after hours."""
    every = [*found.training, *found.held_out]
    for number in range(len(found.sets)):
        mine = [picture for picture in every if picture.set_number == number]
        for at, picture in enumerate(spread(mine, _TRIED)):
            progress("trying pictures", at, min(_TRIED, len(mine)))
            found.read(picture)


def spread(pictures: list[Picture], limit: int | None) -> list[Picture]:
    """At most so many pictures, at even distances, so that all sets have their share."""
    count = len(pictures) if limit is None else min(limit, len(pictures))
    return [pictures[at * len(pictures) // count] for at in range(count)]
