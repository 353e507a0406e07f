"""Image-text shards as img2dataset writes them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from pipeline.sources.config import WebdatasetSource, table_of, valid_text
from pipeline.sources.set_aside import SetAside
from stages.common import UserError, find_files, open_file
from stages.shards import iterate_samples

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
    found = {file for files in find_files(source.path, ".tar").values() for file in files}
    if not found:
        raise UserError(
            f"source.path: no shard at {source.path}; expected a tar or a pattern such as DIR/{{00000..00009}}.tar"
        )
    return sorted(found)


def read_webdataset(source: WebdatasetSource, aside: SetAside) -> pa.Table:
    """One row per sample; reads the tars' headers and texts, not the images.

    Raises:
        UserError: a shard is no tar.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("image_id", "file", *_ABSENT)}
    for location in shard_locations(source):
        name = location.rsplit("/", 1)[-1]
        try:
            samples = _samples(location)
        except OSError as error:
            raise UserError(f"source.path: {location} cannot be read as an uncompressed tar: {error}") from error
        for key, sample in samples.items():
            columns["image_id"].append(f"{name.removesuffix('.tar')}/{key}")
            columns["file"].append(name)
            for column, absent in _ABSENT.items():
                columns[column].append(sample.get(column, absent))
    return table_of(columns)


def _samples(location: str) -> dict[str, dict[str, Any]]:
    """What is told of each key; files of one key may stand apart in the tar."""
    samples: dict[str, dict[str, Any]] = {}
    with open_file(location) as file:
        for found in iterate_samples(file, ("txt", "json")):
            sample = samples.setdefault(found.key, {})
            for extension, member in found.members.items():
                if extension in _IMAGES:
                    sample.update(offset=member.offset, nbytes=member.nbytes)
                elif extension == "txt":
                    sample["captions"] = [member.data.decode("utf-8", errors="replace")]
                elif extension == "json":
                    sample.update(_from_json(member.data, sample))
    return samples


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
