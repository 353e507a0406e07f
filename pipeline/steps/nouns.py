"""Stage `nouns`: the nouns of every image's captions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.cache import packed, unpacked
from pipeline.unit import BuildSpec, CachedStep, ImageWork, Task, UnitWork
from stages.common import CaptionNouns, DroppedNoun, Noun, clean_text, identity, merge_mentions

Captions = list[tuple[ImageWork, int]]
"""Images with the number of a caption, image by image."""


class FindNouns(CachedStep[Captions, list[CaptionNouns]]):
    """Finds every image's nouns, all captions of a unit at once; bad captions are quarantined one by one."""

    stage = "nouns"
    kind = "nouns"
    statistics = ("captions_read", "captions_from_cache")

    def __init__(self, spec: BuildSpec) -> None:
        self._section = spec.manifest.nouns
        self._models = spec.models["nouns"]
        self._extractor: Any = None
        self._english: Any = None

    @property
    def identity(self) -> list[Any]:
        return [identity(self._section.extractor), self._models]

    def tasks(self, unit: UnitWork) -> Iterator[Task[Captions]]:
        captions = [(image, number) for image in unit.usable() for number in self._good_captions(unit, image)]
        if captions:
            yield Task(captions, len(captions))

    def key(self, content: Captions) -> list[Any]:
        return _texts(content)

    def compute(self, content: Captions, prepared: None = None) -> list[CaptionNouns]:
        if self._extractor is None:
            from stages.nouns import build_extractor

            self._extractor = build_extractor(self._section.extractor)
        found: list[CaptionNouns] = self._extractor.extract(_texts(content))
        return found

    def encode(self, result: list[CaptionNouns]) -> bytes:
        return packed([_to_json(caption) for caption in result])

    def decode(self, entry: bytes) -> list[CaptionNouns]:
        return [_from_json(*value) for value in unpacked(entry)]

    def apply(self, content: Captions, result: list[CaptionNouns]) -> None:
        nouns: dict[int, list[Noun]] = {}
        for (image, number), caption in zip(content, result, strict=True):
            nouns.setdefault(image.row, []).extend(_renumbered(noun, number) for noun in caption.nouns)
            image.dropped.update(f"noun.{dropped.reason}" for dropped in caption.dropped)
        for image in {image.row: image for image, _ in content}.values():
            image.nouns = merge_mentions(nouns[image.row])

    def _good_captions(self, unit: UnitWork, image: ImageWork) -> Iterator[int]:
        most = self._section.max_caption_chars
        for number, caption in enumerate(image.record.captions):
            if not clean_text(caption).strip():
                unit.quarantine_caption(image, number, "empty_caption", "expected a text")
            elif len(caption) > most:
                what = f"{len(caption)} characters; expected at most {most} (nouns.max_caption_chars)"
                unit.quarantine_caption(image, number, "long_caption", what)
            elif (language := self._other_language(caption)) is not None:
                what = f"{language}; expected English, or nouns.language: any"
                unit.quarantine_caption(image, number, "not_english", what)
            else:
                yield number

    def _other_language(self, caption: str) -> str | None:
        if self._section.language == "any":
            return None
        if self._english is None:
            from stages.nouns import EnglishCheck

            self._english = EnglishCheck()
        found: str | None = self._english.other_language(caption)
        return found


def _texts(captions: Captions) -> list[str]:
    return [image.record.captions[number] for image, number in captions]


def _renumbered(noun: Noun, number: int) -> Noun:
    return Noun(noun.surface, noun.canonical, number, noun.start, noun.end, noun.rule)


def _to_json(caption: CaptionNouns) -> list[Any]:
    nouns = [[n.surface, n.canonical, n.caption_number, n.start, n.end, n.rule] for n in caption.nouns]
    dropped = [[d.surface, d.caption_number, d.start, d.end, d.reason] for d in caption.dropped]
    return [nouns, dropped]


def _from_json(nouns: list[list[Any]], dropped: list[list[Any]]) -> CaptionNouns:
    return CaptionNouns(tuple(Noun(*noun) for noun in nouns), tuple(DroppedNoun(*item) for item in dropped))
