"""Image-text shards as img2dataset writes them."""

from __future__ import annotations

import json
import tarfile
from typing import Any

import pyarrow as pa
from braceexpand import braceexpand

from pipeline.sources.coco import table_of, valid_text
from pipeline.sources.config import WebdatasetSource
from stages.common import UserError, open_location

_IMAGES = {"jpg", "jpeg", "png", "webp"}
# A sample without an image is read as 0 bytes, and so ends in quarantine as an empty file.
_ABSENT: dict[str, Any] = {"captions": [], "offset": 0, "nbytes": 0, "license": None}
_LICENSE_KEYS = ("license", "LICENSE", "License")


def shard_locations(source: WebdatasetSource) -> list[str]:
    """The tars that the pattern names, sorted.

    Raises:
        UserError: there is none.
    """
    if any(sign in source.path.rpartition("/")[0] for sign in "*?[{}"):
        raise UserError(f"source.path: {source.path}: a pattern may stand in the file name alone, not in its folder")
    found: set[str] = set()
    for pattern in braceexpand(source.path):
        fs, path = open_location(pattern)
        matches = fs.glob(path) if any(sign in path for sign in "*?[") else [path] if fs.exists(path) else []
        found.update(fs.unstrip_protocol(match) if "://" in pattern else match for match in matches)
    if not found:
        raise UserError(
            f"source.path: no shard at {source.path}; expected a tar or a pattern such as DIR/{{00000..00009}}.tar"
        )
    return sorted(found)


def read_webdataset(source: WebdatasetSource) -> pa.Table:
    """One row a sample; reads the tars' headers and texts, not the images.

    Raises:
        UserError: a shard is no tar.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("image_id", "file", *_ABSENT)}
    for location in shard_locations(source):
        name = location.rsplit("/", 1)[-1]
        fs, path = open_location(location)
        try:
            with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for key, sample in _samples(tar):
                    columns["image_id"].append(f"{name.removesuffix('.tar')}/{key}")
                    columns["file"].append(name)
                    for column, absent in _ABSENT.items():
                        columns[column].append(sample.get(column, absent))
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"source.path: {location} cannot be read as an uncompressed tar: {error}") from error
    return table_of(columns)


def _samples(tar: tarfile.TarFile) -> list[tuple[str, dict[str, Any]]]:
    samples: dict[str, dict[str, Any]] = {}
    for member in tar:
        if not member.isfile():
            continue
        folder, _, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        sample = samples.setdefault(key, {})
        if extension.lower() in _IMAGES:
            sample.update(offset=member.offset_data, nbytes=member.size)
        elif extension == "txt":
            sample["captions"] = [_read(tar, member).decode("utf-8", errors="replace")]
        elif extension == "json":
            sample.update(_from_json(_read(tar, member), sample))
        tar.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header of a shard of any size
    return list(samples.items())


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _from_json(data: bytes, sample: dict[str, Any]) -> dict[str, Any]:
    """Licence, and the caption where there is no txt; a damaged JSON says nothing."""
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    license_name = next((str(values[key]) for key in _LICENSE_KEYS if values.get(key)), None)
    caption = values.get("caption")
    return {
        "license": license_name,
        **({"captions": [valid_text(str(caption))]} if caption and "captions" not in sample else {}),
    }
