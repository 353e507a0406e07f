"""One scene on disk: its picture, its label map, and its part of the annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.world.captions import CaptionWriter, Surroundings
from pipeline.world.groups import Group
from pipeline.world.phrases import Phrase
from pipeline.world.scene import Placed, Renderer, Scene
from pipeline.world.vocabulary import Vocabulary, WorldConfig, load_vocabulary
from stages.common import Rle

# Annotation ids are image_id * 100 + number: things count from 1, stuff from 50.
_IDS_PER_IMAGE = 100
_FIRST_STUFF = 50
_MENTIONED_STUFF_SHARE = 0.03


class ScenePainter:
    """Renders scenes into a folder; holds the art, so that one painter should paint many."""

    def __init__(self, config: WorldConfig) -> None:
        self._config = config
        self._vocabulary = load_vocabulary()
        self._renderer = Renderer(config, self._vocabulary)

    def paint(self, job: tuple[str, int, WorldConfig, int, int]) -> list[dict[str, Any]]:
        """Paints scenes [start, stop) of (folder, seed, config, start, stop).

        Returns:
            For each scene, lists of COCO entries under ``image``, ``captions``, ``instances``, ``stuff``, ``truth``.
        """
        folder, seed, _, start, stop = job
        return [self._paint_scene(Path(folder), seed, index) for index in range(start, stop)]

    def captioned(self, seed: int, index: int) -> tuple[bytes, list[str]]:
        """Scene `index` without annotations: the bytes of its JPEG, and its captions."""
        scene = self._renderer.render(np.random.default_rng([seed, index, 0]))
        ids = list(range(len(scene.placed) + len(scene.stuff)))
        number = len(scene.placed)
        captions, _ = self._captions(
            np.random.default_rng([seed, index, 1]), scene, index + 1, ids[:number], ids[number:]
        )
        return _jpeg(scene), [entry["caption"] for entry in captions]

    def _paint_scene(self, out: Path, seed: int, index: int) -> dict[str, Any]:
        # Captions have numbers of their own, so that the option `mention` leaves the pictures as they are.
        scene = self._renderer.render(np.random.default_rng([seed, index, 0]))
        image_id, name = index + 1, f"{index + 1:07d}"
        (out / "images" / f"{name}.jpg").write_bytes(_jpeg(scene))
        (out / "labels" / f"{name}.png").write_bytes(_encoded(_label_map(scene), ".png", []))
        size = self._config.size_px
        image = {"id": image_id, "file_name": f"{name}.jpg", "height": size, "width": size, "license": 1}
        first_id = image_id * _IDS_PER_IMAGE
        thing_ids = [first_id + 1 + number for number in range(len(scene.placed))]
        stuff_ids = [first_id + _FIRST_STUFF + number for number in range(len(scene.stuff))]
        instances = [
            _annotation(annotation_id, image_id, entry.thing.category_id, entry.mask)
            for annotation_id, entry in zip(thing_ids, scene.placed, strict=True)
        ]
        stuff = [
            _annotation(annotation_id, image_id, entry.category_id, mask)
            for annotation_id, entry, mask in zip(stuff_ids, scene.stuff, scene.stuff_masks, strict=True)
            if mask.any()
        ]
        captions, truth = self._captions(np.random.default_rng([seed, index, 1]), scene, image_id, thing_ids, stuff_ids)
        return {"image": [image], "captions": captions, "instances": instances, "stuff": stuff, "truth": truth}

    def _captions(
        self, rng: np.random.Generator, scene: Scene, image_id: int, thing_ids: list[int], stuff_ids: list[int]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        mention = None if self._config.mention is None else frozenset(self._config.mention)
        groups = [group for group in _groups(scene.placed, thing_ids) if mention is None or group.thing.name in mention]
        least_px = _MENTIONED_STUFF_SHARE * scene.image.shape[0] ** 2
        surroundings = Surroundings(
            tuple(
                (entry, stuff_id) if mask.sum() >= least_px and (mention is None or entry.name in mention) else None
                for entry, stuff_id, mask in zip(scene.stuff, stuff_ids, scene.stuff_masks, strict=True)
            )
        )
        writer = CaptionWriter(rng, groups, surroundings)
        phrases = [writer.write() for _ in range(self._config.captions)]
        captions, truth = [], []
        for number, phrase in enumerate(phrases, start=1):
            caption_id = image_id * 10 + number
            captions.append({"id": caption_id, "image_id": image_id, "caption": phrase.text})
            truth.append({"caption_id": caption_id, "image_id": image_id, **_nouns(phrase, self._vocabulary)})
        return captions, truth


def _groups(placed: tuple[Placed, ...], ids: list[int]) -> list[Group]:
    """Objects by category, the category with the most visible pixels first."""
    members: dict[str, list[int]] = {}
    for number, entry in enumerate(placed):
        members.setdefault(entry.thing.name, []).append(number)
    groups = [
        Group(placed[numbers[0]].thing, tuple(ids[n] for n in numbers), tuple(placed[n] for n in numbers))
        for numbers in members.values()
    ]
    return sorted(groups, key=lambda group: -group.area_px)


def _nouns(phrase: Phrase, vocabulary: Vocabulary) -> dict[str, list[dict[str, Any]]]:
    """The truth about a caption: nouns that mean regions, and nouns that mean none."""
    nouns: list[dict[str, Any]] = []
    junk: list[dict[str, Any]] = []
    for mark in phrase.marks:
        entry: dict[str, Any] = {"start": mark.start, "end": mark.end, "text": phrase.text[mark.start : mark.end]}
        if mark.category is None:
            junk.append(entry)
            continue
        category = vocabulary.thing_by_name.get(mark.category) or vocabulary.stuff_by_name[mark.category]
        nouns.append({**entry, "name": category.name, "category_id": category.category_id, "ids": list(mark.ids)})
    return {"nouns": nouns, "junk": junk}


def _annotation(annotation_id: int, image_id: int, category_id: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    rle = Rle.encode(mask)
    left, top, right, bottom = rle.box_xyxy_px
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": rle.to_coco(),
        "area": rle.area_px,
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
    }


def _label_map(scene: Scene) -> NDArray[np.uint16]:
    """Category id of every pixel, uint16 [S, S]; 0 nowhere."""
    labels = np.zeros(scene.image.shape[:2], np.uint16)
    for entry, mask in zip(scene.stuff, scene.stuff_masks, strict=True):
        labels[mask] = entry.category_id
    for placed in scene.placed:
        labels[placed.mask] = placed.thing.category_id
    return labels


def _jpeg(scene: Scene) -> bytes:
    bgr = np.ascontiguousarray(scene.image[..., ::-1])
    return _encoded(bgr, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality])


def _encoded(image: NDArray[np.uint8] | NDArray[np.uint16], suffix: str, parameters: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, parameters)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture as {suffix}")
    return data.tobytes()
