"""Mask classification: ground-truth regions of COCO files or label maps, named by a CLIP, and what was right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from stages.clip import RegionEncoder, in_batches
from stages.clip_config import VILD_TEMPLATES, RegionRules, Templates
from stages.common import DOES_NOT_COUNT, Config, Location, Manifest, Name, Rle, UserError, join, resolve_device
from stages.proposals.coco_truth import LeftOut, TruthFile, images_of, read_truth_file, usable_masks
from train.clip.source import ClipSource, resolve
from train.evaluate.benchmark_sets import IGNORED, LabelFiles, StrangeIds, open_label_files, read_picture
from train.evaluate.classify.scores import score


class CocoRegions(Config):
    """Ground truth of COCO's form; crowds are left out.

    Attributes:
        images: folder of the pictures.
        annotations: instances, stuff, or both.
    """

    kind: Literal["coco"] = "coco"
    images: Location
    annotations: tuple[Location, ...] = Field(min_length=1)


class LabelMapRegions(LabelFiles):
    """Semantic label maps: every class of a picture is one region."""

    kind: Literal["labels"]


RegionsConfig = Annotated[CocoRegions | LabelMapRegions, Field(discriminator="kind")]
RegionInput = Literal["picture", "crop", "masked", "prompted"]


class ClassifyManifest(Manifest):
    """What is classified by which CLIP, among which classes.

    Attributes:
        clip: which CLIP.
        regions: ground truth.
        classes: names to choose from; those of the ground truth if not given. Regions of other classes are left out
            and counted.
        seen: names that training has met, for the seen / unseen split; none if not given.
        region_input: what CLIP sees: the whole picture; the region's box, as it is (`crop`), or with the rest of it
            filled (`masked`); or that, and the mask for its prompts (`prompted`). A CLIP without prompts takes
            `prompted` as `masked`.
        rules: how regions are cut.
        templates: prompts with one ``{}`` each.
        min_area_px: smaller regions are left out and counted.
        limit: at most so many regions, the first ones in the order of pictures' ids and annotations.
    """

    kind: Literal["mask_classification"]
    clip: ClipSource
    regions: RegionsConfig
    classes: tuple[Name, ...] | None = None
    seen: tuple[Name, ...] | None = None
    region_input: RegionInput = "prompted"
    rules: RegionRules = RegionRules()
    templates: Templates = VILD_TEMPLATES
    min_area_px: int = Field(1, ge=1)
    limit: int | None = Field(None, ge=1)
    batch_size: int = Field(64, ge=1)
    device: Annotated[str, DOES_NOT_COUNT] = "cpu"


_TOP = 5


def classify(manifest: ClassifyManifest, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Classifies all regions of a ground truth.

    Args:
        manifest: what, and by which CLIP.
        progress: called with the number of regions done so far.

    Returns:
        Scores (see train.evaluate.classify.scores), ``left_out``: how many regions were left out, by reason, and
        ``notes`` of what a person should know of the ground truth.

    Raises:
        UserError: the CLIP or the ground truth cannot be read, or no region is left to name.
    """
    truth = GroundTruth(manifest.regions)
    names = _names(manifest, truth)
    numbers = {name: number for number, name in enumerate(names)}
    encoder = _encoder(manifest)
    text = encoder.encode_names(names)
    left_out = {"other_class": 0, "below_min_area": 0}
    labels: list[int] = []
    ranked: list[Tensor] = []
    for batch in in_batches(_regions(manifest, truth, numbers, left_out), manifest.batch_size):
        features = encoder.encode_batch((pixels, rle) for pixels, rle, _ in batch)
        ranked.append((features @ text.T).topk(min(_TOP, len(text)), dim=1).indices)  # [n, 5] or fewer columns
        labels += [number for _, _, number in batch]
        if progress is not None:
            progress(len(labels))
    if not labels:
        told = f"no region is left to name ({left_out}); check 'classes' against the names of the ground truth"
        raise UserError(". ".join([told, *truth.notes()]))
    top = torch.cat(ranked).cpu().numpy()
    seen = None if manifest.seen is None else np.array([name in set(manifest.seen) for name in names])
    return {
        **score(top, np.array(labels), len(names), seen),
        "left_out": {**left_out, **truth.left_out.reasons},
        "notes": truth.notes(),
    }


def _names(manifest: ClassifyManifest, truth: GroundTruth) -> tuple[str, ...]:
    """What is chosen among."""
    names = manifest.classes or truth.names
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise UserError(f"classes: {twice[0]!r} stands twice; name each class once")
    if unknown := sorted(set(manifest.seen or ()) - set(names)):
        raise UserError(f"seen: {unknown[0]!r} is none of the {len(names)} classes")
    return names


def _encoder(manifest: ClassifyManifest) -> RegionEncoder:
    """The CLIP, which sees a region as the manifest wants it."""
    model, tokenize = resolve(manifest.clip).load(resolve_device(manifest.device))
    rules = manifest.rules
    if manifest.region_input in ("picture", "crop"):
        rules = rules.model_copy(update={"fill": "photo"})
    with_masks = manifest.region_input == "prompted"
    return RegionEncoder(model, tokenize, rules, manifest.templates, manifest.batch_size, with_masks=with_masks)


def _regions(
    manifest: ClassifyManifest, truth: GroundTruth, numbers: dict[str, int], left_out: dict[str, int]
) -> Iterator[tuple[NDArray[np.uint8], Rle, int]]:
    """Photo, mask and number of the class of each region that is named; the others are counted."""
    count = 0
    for picture in truth.pictures():
        for name, rle in picture.regions:
            if name not in numbers:
                left_out["other_class"] += 1
            elif rle.area_px < manifest.min_area_px:
                left_out["below_min_area"] += 1
            elif count == manifest.limit:
                return
            else:
                count += 1
                whole = manifest.region_input == "picture"
                yield picture.pixels, _all_of(picture.pixels) if whole else rle, numbers[name]


def _all_of(pixels: NDArray[np.uint8]) -> Rle:
    """The mask of a whole photo [H, W, 3]."""
    return Rle.encode(np.ones(pixels.shape[:2], dtype=bool))


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and its regions: (name of the class, mask)."""

    file: str
    pixels: NDArray[np.uint8]
    regions: tuple[tuple[str, Rle], ...]


class GroundTruth:
    """All regions of a data set; pictures are read when asked for.

    Args:
        config: where it lies.

    Attributes:
        names: of the classes, in the files' order.
        left_out: what of COCO's files cannot be used.

    Raises:
        UserError: a file is missing or not of its format.
    """

    def __init__(self, config: CocoRegions | LabelMapRegions) -> None:
        self._config = config
        self.left_out = LeftOut()
        self._entries: list[tuple[str, str, list[tuple[str, str]]]] = []
        if isinstance(config, CocoRegions):
            self.names = self._read_coco(config)
        else:
            self._labelled, self._strange = open_label_files(config), StrangeIds()
            self.names = tuple(names.name for names in self._labelled.classes)

    def pictures(self) -> Iterator[LabelledPicture]:
        """Pictures with at least one region, in the order of their ids or file names.

        Raises:
            UserError: a picture or label map is missing or damaged.
        """
        if isinstance(self._config, LabelMapRegions):
            yield from self._label_maps()
            return
        for image_id, file, found in self._entries:
            pixels = read_picture(join(self._config.images, file))
            names, segmentations = zip(*found, strict=True)
            rles = usable_masks(segmentations, pixels.shape[0], pixels.shape[1], file, image_id, self.left_out)
            regions = ((name, rle) for name, rle in zip(names, rles, strict=True) if rle is not None)
            yield LabelledPicture(file, pixels, tuple(regions))

    def notes(self) -> list[str]:
        """What a person should know of the pictures that were given so far."""
        if isinstance(self._config, CocoRegions):
            return self.left_out.sentences()
        return [*self._labelled.notes, *self._strange.notes(*self._labelled.places)]

    def _read_coco(self, config: CocoRegions) -> tuple[str, ...]:
        files: list[TruthFile] = []
        names: dict[str, None] = {}
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for path in config.annotations:
            truth = read_truth_file(path, self.left_out)
            truth.check_masks()
            files.append(truth)
            names |= dict.fromkeys(truth.names)
            rows = truth.masks.filter(pc.invert(truth.masks["is_crowd"]))
            columns = (rows[name].to_pylist() for name in ("image_id", "label", "segmentation"))
            for image_id, name, segmentation in zip(*columns, strict=True):
                found[image_id].append((name, segmentation))
        images = images_of(files)
        for image_id in sorted(found, key=_as_number):
            file = images[image_id].file_name
            if file is None:
                raise UserError(f"annotations name image {image_id}, for which 'images' has no file_name")
            self._entries.append((image_id, file, found[image_id]))
        return tuple(names)

    def _label_maps(self) -> Iterator[LabelledPicture]:
        for item in self._labelled.items:
            truth, strange = self._labelled.read(item)
            self._strange.add(strange)
            present = [int(number) for number in np.unique(truth) if number != IGNORED]
            if present:
                regions = tuple((self.names[number], Rle.encode(truth == number)) for number in present)
                yield LabelledPicture(Path(item.picture).name, self._labelled.picture(item), regions)


def _as_number(image_id: str) -> tuple[bool, int, str]:
    """Orders ids by number where they are numbers, and these before all others."""
    is_number = image_id.isdecimal()
    return not is_number, int(image_id) if is_number else 0, image_id
