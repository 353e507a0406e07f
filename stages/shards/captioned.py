"""Captioned pictures of image-text tars, as img2dataset writes them: one reader for mining and for pretraining."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from stages.common import wide_encoding
from stages.shards.reader import PICTURES, KeyEndsAt, TarSample, iterate_samples
from stages.shards.tar import Tell, Trouble, shown

_LICENSE_KEYS = ("license", "LICENSE", "License")
_CAPTION_KEYS = ("captions", "caption")
_NAMED = 6  # members that a message names


@dataclass(frozen=True, slots=True)
class CaptionedPicture:
    """A picture in a tar, and what is said of it.

    Attributes:
        key: of its sample.
        offset, nbytes: place of the encoded picture in the tar.
        captions: in their order; maybe none.
        license: of the picture, if the JSON has one.
    """

    key: str
    offset: int
    nbytes: int
    captions: tuple[str, ...]
    license: str | None


def read_captioned_pictures(file: IO[bytes], key_ends_at: KeyEndsAt, tell: Tell) -> Iterator[CaptionedPicture]:
    """All pictures of a tar; reads headers and texts, not the pictures.

    A sample is KEY.jpg (.jpeg, .png, .webp) with KEY.txt, KEY.json, or both. Several captions are a list in the JSON,
    under ``captions`` or ``caption``; else the txt is the caption; else, or if it is blank, the JSON's text there.
    Members of a sample may stand apart. What cannot be used is told, and the rest is read.

    Args:
        file: the tar, open for reading.
        key_ends_at: where keys end.
        tell: called with what is not used.

    Raises:
        DamagedTarError: it is no tar.
        OSError: it cannot be read.
    """
    samples: dict[str, TarSample] = {}
    for found in iterate_samples(file, ("txt", "json"), key_ends_at, tell):
        before = samples.get(found.key)
        if before is None:
            samples[found.key] = found
        elif before.members.keys() & found.members.keys() or (before.pictures() and found.pictures()):
            message = (
                f"{_sample(found)} come again at byte {found.offset}, after byte {before.offset}; the first are used"
            )
            tell(Trouble("image", "duplicate_key", message, found.key))
        else:
            before.members |= found.members
            before.twice += found.twice
    for sample in samples.values():
        if picture := _picture_of(sample, tell):
            place = sample.members[picture]
            captions, license_name = _texts_of(sample, tell)
            yield CaptionedPicture(sample.key, place.offset, place.nbytes, captions, license_name)


def tell_merged(sample: TarSample, tell: Tell) -> None:
    """Tells of samples that are lost in another one, as a key ends at its first dot."""
    for key, names in sample.merged().items():
        message = (
            f"a key ends at the first dot of a name, and so these belong to the key {sample.key}: {_listed(names)}; "
            f"if {key} is a sample of its own, set key_ends_at: last_dot"
        )
        tell(Trouble("image", "dotted_key", message, key))


def _picture_of(sample: TarSample, tell: Tell) -> str | None:
    """Extension of the picture to use, if there is one."""
    tell_merged(sample, tell)
    pictures = sample.pictures()
    if sample.twice:
        message = (
            f"{_sample(sample)} hold more than one of {', '.join(sample.twice)}: which belong together is not known"
        )
        tell(Trouble("image", "duplicate_key", message, sample.key))
        return None
    if len(pictures) > 1:
        message = f"{_sample(sample)} hold several pictures; of {', '.join(PICTURES)} the first is used"
        tell(Trouble(None, "several_pictures", message, sample.key))
    if not pictures and not sample.is_only_merged():
        dotted = any("." in extension for extension in sample.members)
        message = f"{_sample(sample)} hold no picture; expected {', '.join(f'KEY.{each}' for each in PICTURES)}" + (
            "; a key ends at the first dot of a name, unless key_ends_at is last_dot" if dotted else ""
        )
        tell(Trouble("image", "no_image", message, sample.key))
    return pictures[0] if pictures else None


def _texts_of(sample: TarSample, tell: Tell) -> tuple[tuple[str, ...], str | None]:
    """Captions and licence."""
    values, text = _json_of(sample, tell), _text_of(sample, tell)
    license_name = next((shown(str(values[key])) for key in _LICENSE_KEYS if values.get(key)), None)
    said = [values[key] for key in _CAPTION_KEYS if values.get(key) not in (None, "", [])]
    listed = next((value for value in said if isinstance(value, list)), None)
    if listed is not None:
        captions = listed
    elif text is not None and (text.strip() or not said):
        captions = [text]
    else:
        captions = said[:1]
    return tuple(each for each in captions if _is_caption(each, sample, tell)), license_name


def _json_of(sample: TarSample, tell: Tell) -> dict[str, Any]:
    member = sample.members.get("json")
    if member is None:
        return {}
    try:
        values = json.loads(member.data)
        if isinstance(values, dict):
            return values
        what = f"is a {type(values).__name__}"
    except (ValueError, RecursionError) as error:
        what = f"cannot be read: {error}"
    message = f"{member.name} at byte {member.offset} {what}; expected a JSON object"
    has_text = "txt" in sample.members
    tell(Trouble(None, "bad_json", message, sample.key) if has_text else _bad_caption(message, sample))
    return {}


def _text_of(sample: TarSample, tell: Tell) -> str | None:
    """The txt without a byte order mark; None without one that can be read."""
    member = sample.members.get("txt")
    if member is None:
        return None
    looks, problem = wide_encoding(member.data), "its bytes are those of another encoding"
    try:
        text = member.data.decode("utf-8-sig")
        if looks is None:
            return text
    except UnicodeDecodeError as error:
        problem = f"{error.reason}, byte {error.start} of it"
    seems = f" (it looks like {looks.upper()})" if looks else ""
    message = f"{member.name} at byte {member.offset} is no UTF-8 text{seems}: {problem}"
    tell(_bad_caption(message, sample))
    return None


def _is_caption(value: object, sample: TarSample, tell: Tell) -> bool:
    if not isinstance(value, str):
        message = f"{sample.key}.json: a caption is {str(value)[:60]!r}; expected a text"
        tell(_bad_caption(message, sample))
        return False
    if shown(value) != value:
        message = (
            f"{sample.key}.json: the caption {shown(value)[:200]!r} has half of a surrogate pair, which no text holds"
        )
        tell(_bad_caption(message, sample))
        return False
    return True


def _bad_caption(message: str, sample: TarSample) -> Trouble:
    return Trouble("caption", "bad_caption", message, sample.key)


def _sample(sample: TarSample) -> str:
    return f"{sample.key}: {_listed([member.name for member in sample.members.values()])}"


def _listed(names: list[str]) -> str:
    short = [name if len(name) <= 60 else f"{name[:28]}...{name[-28:]}" for name in names[:_NAMED]]
    more = len(names) - _NAMED
    return ", ".join(short) + (f" and {more:,} more" if more > 0 else "")
