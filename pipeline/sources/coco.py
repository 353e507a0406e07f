"""COCO's layout: captions JSON, and instances, stuff or panoptic JSON for masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.sources.config import CocoSource, attach_known_masks, table_of
from pipeline.sources.names import normal_name
from pipeline.sources.set_aside import Item, SetAside
from stages.common import SampleError, UserError, escaped
from stages.proposals import read_coco_masks
from stages.proposals.coco_values import (
    entry_of,
    id_text,
    is_text,
    place_of,
    required_id,
    shown,
    whole_number,
)
from stages.proposals.json_stream import Element, read_elements

_BAD_IMAGE, _BAD_ANNOTATION = "bad_image", "bad_annotation"


def read_coco(source: CocoSource, aside: SetAside) -> pa.Table:
    """One row per image of the captions JSON; captions in the order of the file.

    Args:
        source: where the files are.
        aside: gets images, captions and annotations that cannot be used.

    Raises:
        UserError: a file cannot be read, or none of its entries can be used; names the file and what it lacks.
    """
    try:
        captioned = _read_captions(source.captions, source.images, aside)
    except UserError as error:
        raise UserError(f"source.captions: {error}") from error
    take = 1 if source.use_captions == "first" else None
    images = captioned.images
    columns: dict[str, list[Any]] = {
        "image_id": list(images),
        "file": [image.file for image in images.values()],
        "captions": [captioned.captions.get(image_id, [])[:take] for image_id in images],
        "license": [captioned.licenses.get(image.license or "") for image in images.values()],
        "mask_height": [image.height_px for image in images.values()],
        "mask_width": [image.width_px for image in images.values()],
    }
    rows = table_of(columns)
    if not source.masks:
        return rows
    masks = [read_coco_masks(file, aside, source.panoptic_folder) for file in source.masks]
    return attach_known_masks(rows, pa.concat_tables(masks), "source.masks", aside.note)


@dataclass(frozen=True, slots=True)
class _Image:
    """An entry of the images list; a size that is not told, or no number, is None."""

    file: str
    height_px: int | None
    width_px: int | None
    license: str | None


@dataclass(slots=True)
class _Captioned:
    """What a captions JSON holds: images, licences and captions by id; and how many images have sizes that are none."""

    images: dict[str, _Image] = field(default_factory=dict)
    captions: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    licenses: dict[str, str] = field(default_factory=dict)
    odd_sizes: int = 0


def _read_captions(path: str, root: str, aside: SetAside) -> _Captioned:
    """Reads a captions JSON; lists may stand in any order, so that captions find their images at the end."""
    found, reader = _Captioned(), _Reader(path, aside)
    spoken: list[tuple[int, str, str]] = []
    arrays: set[str] = set()

    def take_caption(element: Element) -> None:
        image_id, texts = _caption(element.value)
        for text in texts:
            part = Element(element.key, element.index, {**element.value, "caption": text}, "")
            reader.take("annotation", part, lambda part: spoken.append((part.index, image_id, _text(part.value))))

    for element in read_elements(path, arrays):
        if element.key == "images":
            reader.take("image", element, lambda element: _take_image(found, element.value, root))
        elif element.key == "annotations":
            reader.take("annotation", element, take_caption)
        elif element.key == "licenses":
            _take_license(found.licenses, element.value)
    if missing := [key for key in ("images", "annotations") if key not in arrays]:
        raise UserError(
            f"{path}: expected COCO captions, an object with the lists 'images' and 'annotations'; it has no list "
            f"{missing[0]!r}"
        )
    reader.check()
    if found.odd_sizes:
        count = f"{found.odd_sizes:,} image{'s' * (found.odd_sizes != 1)}"
        aside.note(f"{path}: {count} with a height or width that is no number of pixels; taken for not told")
    known = found.images.keys() | reader.bad_images  # captions go with their image
    unknown = [entry for entry in spoken if entry[1] not in known]
    if unknown and len(unknown) == len(spoken):
        raise UserError(f"{path}: none of its {len(spoken):,} captions is of one of its images, e.g. {unknown[0][1]}")
    for index, image_id, _ in unknown:
        message = f"annotations[{index}]: image_id {image_id} is none of the file's images"
        aside.add("annotation", path, "unknown_image", message, image_id)
    for _, image_id, text in spoken:
        if image_id in found.images:
            found.captions[image_id].append(text)
    return found


@dataclass(slots=True)
class _Reader:
    """Takes entries one by one; what cannot be used is set aside.

    Attributes:
        read: how many entries of each kind could be used.
        first: of each kind, what is wrong with the first that could not.
        bad_images: ids of images that could not.
    """

    path: str
    aside: SetAside
    read: set[Item] = field(default_factory=set)
    first: dict[Item, str] = field(default_factory=dict)
    bad_images: set[str] = field(default_factory=set)

    def take(self, item: Item, element: Element, use: Callable[[Element], None]) -> None:
        try:
            entry_of(element.value, _BAD_IMAGE if item == "image" else _BAD_ANNOTATION)
            use(element)
            self.read.add(item)
        except SampleError as error:
            message = f"{place_of(element.key, element.index, element.value)}: {error.message}"
            self.first.setdefault(item, message)
            entry = element.value if isinstance(element.value, dict) else {}
            image_id = id_text(entry.get("id" if item == "image" else "image_id")) or ""
            if item == "image":
                self.bad_images.add(image_id)
            is_caption = error.reason == "bad_caption"
            self.aside.add("caption" if is_caption else item, self.path, error.reason, message, image_id)

    def check(self) -> None:
        """That not all entries of a kind are bad: this is another kind of file then.

        Raises:
            UserError: they are; names the first.
        """
        for item, message in self.first.items():
            if item not in self.read:
                hint = "" if item == "image" else " (instances files belong under source.masks)"
                raise UserError(f"{self.path}: no {item} can be used; the first: {message}{hint}")


def _take_image(found: _Captioned, entry: dict[str, Any], root: str) -> None:
    image_id = required_id(entry, "id", _BAD_IMAGE)
    name = entry.get("file_name")
    if name is None and isinstance(entry.get("coco_url"), str):
        name = "/".join(entry["coco_url"].split("/")[-2:])  # LVIS has URLs alone, whose ends are COCO's folder and file
    if not isinstance(name, str) or not name.strip():
        raise SampleError(_BAD_IMAGE, f"expected a text 'file_name', got {shown(name)}")
    if not is_text(name):
        raise SampleError(_BAD_IMAGE, f"expected a 'file_name' that a file can have, got {shown(name)}")
    name = normal_name(name, root)
    before = found.images.get(image_id)
    if before is not None and before.file != name:
        raise SampleError(
            "duplicate_id", f"id {image_id} is that of {shown(before.file)} already; this is {shown(name)}"
        )
    told = entry.get("height"), entry.get("width")
    height_px, width_px = map(whole_number, told)
    found.odd_sizes += any(side is not None and whole_number(side) is None for side in told)
    found.images[image_id] = _Image(name, height_px, width_px, id_text(entry.get("license")))


def _caption(entry: dict[str, Any]) -> tuple[str, list[Any]]:
    """Image id and captions of an annotation."""
    image_id = required_id(entry, "image_id", _BAD_ANNOTATION)
    if "caption" not in entry:
        raise SampleError(_BAD_ANNOTATION, f"expected a key 'caption'; it has {', '.join(map(shown, entry))}")
    given = entry["caption"]
    return image_id, given if isinstance(given, list) and given else [given]


def _text(entry: dict[str, Any]) -> str:
    """The one caption of an annotation; null is an empty one."""
    text = entry["caption"]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise SampleError("bad_caption", f"expected a text as 'caption', got {shown(text)}")
    if not is_text(text):
        raise SampleError("bad_caption", f"'caption' holds half a character, or bytes that are no UTF-8: {shown(text)}")
    return text


def _take_license(licenses: dict[str, str], value: Any) -> None:  # noqa: ANN401 - any JSON value
    entry = value if isinstance(value, dict) else {}
    own, text = id_text(entry.get("id")), entry.get("url") or entry.get("name")
    if own is not None and isinstance(text, str):
        licenses[own] = escaped(text)
