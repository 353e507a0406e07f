"""A set opened: its pictures, label maps and classes found, and nothing missing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.common import Folder, UserError, escaped, some
from stages.images import files_of_kind
from train.class_names import ClassName
from train.evaluate.benchmark_sets.classes import IGNORED_IDS, StrangeIds, benchmark_classes, parse_class_list
from train.evaluate.benchmark_sets.complete import check_complete, known_keys, not_there
from train.evaluate.benchmark_sets.files import (
    Decoder,
    decode_labels,
    picture_size,
    read_data,
    read_picture,
    shrink,
    stem,
    to_classes,
)
from train.evaluate.benchmark_sets.layouts import FACTS, BenchmarkSet, Facts, LabelFiles, LabelFolder, Layout
from train.evaluate.benchmark_sets.pascal_order import table_of_order

_PICTURE, _MAP = ".jpg", ".png"


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a set.

    Attributes:
        key: its name without folders and ending.
        picture: path or URL of the picture.
        labels: path or URL of its label map.
    """

    key: str
    picture: str
    labels: str


@dataclass(frozen=True)
class SegmentationSet:
    """A set of pictures and label maps. It holds paths and tables alone: any process may have a copy.

    Attributes:
        name: the benchmark's kind, or "folder".
        classes: in the order of their numbers.
        items: in the order of their keys, or of the list that the data set has.
        expected_images: how many pictures the benchmark has; None for a folder of one's own.
        notes: what a person should know who reads figures of this set: that it is a part, or how labels were read.
        decode: reads a label map.
        table: [ids] int32, see files.to_classes.
        short_side_px: larger pictures and maps are resized to this shorter side.
        known: ids that label maps may hold, if it is known; others are counted, see `read`.
        places: of a folder's label maps and list of classes, for notes.
    """

    name: str
    classes: tuple[ClassName, ...]
    items: tuple[Item, ...]
    expected_images: int | None
    notes: tuple[str, ...]
    decode: Decoder
    table: NDArray[np.int32]
    short_side_px: int | None = None
    known: frozenset[int] | None = None
    places: tuple[str, str] = ("", "")

    def __len__(self) -> int:
        return len(self.items)

    def picture(self, item: Item) -> NDArray[np.uint8]:
        """The picture, upright.

        Returns:
            [H, W, 3] RGB, uint8.

        Raises:
            UserError: it cannot be read.
        """
        pixels = read_picture(item.picture)
        return pixels if self.short_side_px is None else shrink(pixels, self.short_side_px, cv2.INTER_LINEAR)

    def truth(self, item: Item) -> NDArray[np.int32]:
        """The class of each pixel of the picture, as `read` gives it."""
        return self.read(item)[0]

    def read(self, item: Item) -> tuple[NDArray[np.int32], StrangeIds]:
        """The class of each pixel of the picture, and the ids among its labels that nobody has named.

        Returns:
            [H, W] int32, 0 to C - 1, or -1 where the pixel is not scored. H and W are the picture's.

        Raises:
            UserError: the label map cannot be read, or is of another size than its picture.
        """
        ids = self.decode(read_data(item.labels), item.labels)
        labels = to_classes(ids, self.table)
        height, width = picture_size(item.picture)
        if labels.shape != (height, width):
            raise UserError(
                f"{item.labels}: is {labels.shape[1]}x{labels.shape[0]}, its picture {width}x{height}; expected one "
                "label for each pixel of the upright picture"
            )
        strange = StrangeIds.of(ids, self.known)
        if self.short_side_px is not None:
            labels = shrink(labels, self.short_side_px, cv2.INTER_NEAREST)
        return labels, strange


def open_set(config: BenchmarkSet | LabelFolder) -> SegmentationSet:
    """Opens a set: its files are listed and counted, none is read but lists of names and classes.

    Raises:
        UserError: a file or folder is missing: which one, what was expected, and where to get it; or there are more or
            fewer pictures than the benchmark has.
    """
    return _open_benchmark(config) if isinstance(config, BenchmarkSet) else open_label_files(config)


def open_label_files(config: LabelFiles, name: str = "folder") -> SegmentationSet:
    """Opens a folder of pictures and one of PNG label maps.

    Args:
        config: where they lie.
        name: of the set.

    Raises:
        UserError: a folder or the list of classes is missing or wrong, or a label map has no picture.
    """
    classes = parse_class_list(read_data(config.classes), config.classes, config.ignore)
    images, labels = Folder(config.images), Folder(config.labels)
    for tree, what in ((images, "pictures"), (labels, "label maps")):
        if not tree.is_folder():
            raise UserError(f"{tree.url}: there is no such folder; expected the {what}")
    maps, no_maps = files_of_kind(labels.files(""), (_MAP,))
    if not maps:
        raise UserError(f"{config.labels}: there are no label maps (*{_MAP})")
    named, no_pictures = files_of_kind(images.files(""))
    pictures = _by_stem(images, named, {stem(file, _MAP) for file in maps})
    items: dict[str, Item] = {}
    for file in maps:
        key = stem(file, _MAP)
        if key not in pictures:
            raise UserError(f"{labels.location(file)}: its picture {key}.* is not in {config.images}")
        if key in items:
            raise UserError(f"{labels.location(file)}: {items[key].labels} has the same name; expected one of each")
        items[key] = Item(key, images.location(pictures[key]), labels.location(file))
    notes = []
    if without := len(named) - len(items):
        notes.append(f"{without:,} files in {config.images} have no label map")
    if no_pictures and config.images != config.labels:
        notes.append(_left_out(no_pictures, config.images, "pictures"))
    if no_maps and config.images != config.labels:
        notes.append(_left_out(no_maps, config.labels, f"label maps (*{_MAP})"))
    table, known = classes.by_id(), frozenset({*classes.of_id, *config.ignore, *IGNORED_IDS})
    places = (config.labels, config.classes)
    found = tuple(items.values())
    return SegmentationSet(name, classes.names, found, None, tuple(notes), decode_labels, table, None, known, places)


def _left_out(files: list[str], folder: str, what: str) -> str:
    listed = some(map(escaped, files), 3)
    return f"{len(files):,} files in {folder} are left out, as they are hidden or no {what}: {listed}"


def _by_stem(images: Folder, files: list[str], wanted: set[str]) -> dict[str, str]:
    """The picture of each name that has a label map."""
    pictures: dict[str, str] = {}
    for file in files:
        key = file.rpartition(".")[0]
        if key in wanted and pictures.setdefault(key, file) != file:
            raise UserError(
                f"{images.location(file)}: {pictures[key]} has the same name; expected one picture for each label map, "
                "and no label maps among the pictures"
            )
    return pictures


def _open_benchmark(config: BenchmarkSet) -> SegmentationSet:
    facts, tree = FACTS[config.kind], Folder(config.root)
    layout = _layout(config, facts, tree)
    items, missing = _items(layout, tree, known_keys(facts))
    expected, notes = check_complete(config, facts, layout, tree, len(items), missing)
    classes = benchmark_classes(config.kind)
    table = classes.by_id() if layout.numbers == "ids" else classes.by_number(1 if layout.numbers == "from 1" else 0)
    if layout.class_order is not None:
        table, note = table_of_order(tree, layout.class_order, classes)
        notes += (note,)
    return SegmentationSet(
        name=config.kind,
        classes=classes.names,
        items=items,
        expected_images=expected,
        notes=notes,
        decode=layout.decode,
        table=table,
        short_side_px=layout.short_side_px,
    )


def _layout(config: BenchmarkSet, facts: Facts, tree: Folder) -> Layout:
    """The first layout that has label maps, and its list, if it needs one."""
    without_list = None
    for layout in facts.layouts:
        if not files_of_kind(tree.files(layout.labels, layout.nested), (layout.ending,))[0]:
            continue
        if not layout.lists or any(tree.is_file(name) for name in layout.lists):
            return layout
        without_list = without_list or layout
    raise not_there(config, facts, tree, without_list)


def _items(layout: Layout, tree: Folder, known: tuple[str, ...]) -> tuple[tuple[Item, ...], list[str]]:
    """Pictures that have a label map, and paths that are missing."""
    files = tree.files(layout.pictures, layout.nested)
    pictures = {stem(file, _PICTURE): file for file in files_of_kind(files, (_PICTURE,))[0]}
    found = files if layout.labels == layout.pictures else tree.files(layout.labels, layout.nested)
    maps = {stem(file, layout.ending): file for file in files_of_kind(found, (layout.ending,))[0]}
    if layout.lists:
        keys = _listed(layout, tree)
    else:
        keys = sorted(maps.keys() | (set() if layout.shared else pictures.keys()))
    items = tuple(
        Item(key, tree.location(pictures[key]), tree.location(maps[key]))
        for key in keys
        if key in pictures and key in maps
    )
    inside = "**/" if layout.nested else ""
    missing = []
    for key in known or keys:
        missing += [] if key in pictures else [f"{layout.pictures}/{inside}{key}.jpg"]
        missing += [] if key in maps else [f"{layout.labels}/{inside}{key}{layout.ending}"]
    return items, missing


def _listed(layout: Layout, tree: Folder) -> list[str]:
    file = next(tree.location(name) for name in layout.lists if tree.is_file(name))
    keys = read_data(file).decode("utf-8", errors="replace").split()
    if len(set(keys)) != len(keys) or not keys:
        raise UserError(f"{file}: expected the name of each picture of the split once, one per line")
    return keys
