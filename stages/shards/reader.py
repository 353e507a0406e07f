"""Samples of a tar: the one rule of keys, all samples from the start, or one sample by its place."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Literal

from stages.common import SampleError, UserError, find_files, read_file
from stages.shards.plain_tar import plain_members
from stages.shards.tar import DamagedTarError, Member, Tell, Trouble, iterate_members, shown

KeyEndsAt = Literal["first_dot", "last_dot"]
"""Where a member's name ends to be its sample's key: webdataset's rule, or the last dot."""
PICTURES = ("jpg", "jpeg", "png", "webp")
"""Extensions of pictures; of a sample with several the first is taken."""
MASK = "mask.png"
"""Extension of a region's mask; as an extension of two parts it is whole under both rules."""
_TEXTS = frozenset({"txt", "json"})


@dataclass(slots=True)
class TarSample:
    """Files of one key that follow each other in a tar.

    Attributes:
        key: a member's name up to the dot, folders included.
        offset, end: from the first file's first header to the next sample's, in bytes.
        members: by extension, in lower case: ``mask.png`` of ``folder/KEY.mask.png``.
        twice: extensions that occur more than once, so that nobody knows which files belong together.
    """

    key: str
    offset: int
    end: int
    members: dict[str, Member] = field(default_factory=dict)
    twice: tuple[str, ...] = ()

    def data(self) -> dict[str, bytes]:
        """Contents by extension."""
        return {extension: member.data for extension, member in self.members.items()}

    def pictures(self) -> list[str]:
        """Extensions of its pictures, the one that is taken first."""
        return [extension for extension in PICTURES if extension in self.members]

    def merged(self) -> dict[str, list[str]]:
        """Samples that a dot in their keys has merged into this one: whole key -> names of the members.

        Such are, among the members with dots in their extensions, a picture and a text with the same beginning.
        """
        parts: dict[str, dict[str, str]] = {}
        for extension, member in self.members.items():
            inner, last = _cut(extension, "last_dot")
            if inner:
                parts.setdefault(f"{self.key}.{inner}", {})[last] = member.name
        is_sample = {key: {*PICTURES} & part.keys() and _TEXTS & part.keys() for key, part in parts.items()}
        return {key: list(part.values()) for key, part in parts.items() if is_sample[key]}

    def is_only_merged(self) -> bool:
        """Whether all that it holds are such samples."""
        return sum(map(len, self.merged().values())) == len(self.members)


def find_tars(pattern: str) -> tuple[dict[str, list[str]], list[str]]:
    """Tars that a folder holds, or that a pattern names.

    Args:
        pattern: a folder, or tars by path or URL, where ``{00000..00099}`` is a range and ``*`` anything.

    Returns:
        The tars of each name, and files whose names begin with a dot, which are left by other programs and no shards.

    Raises:
        UserError: the name of a file is no UTF-8 text.
    """
    found = find_files(pattern, ".tar")
    hidden = [file for files in found.values() for file in files if file.rpartition("/")[2].startswith(".")]
    for file in (file for files in found.values() for file in files):
        if shown(file) != file:
            raise UserError(f"{shown(file)}: the file's name is no UTF-8 text; rename it")
    return {name: [file for file in files if file not in hidden] for name, files in found.items()}, hidden


def key_and_extension(name: str, key_ends_at: KeyEndsAt = "first_dot") -> tuple[str, str] | None:
    """``folder/KEY.mask.png`` is (``folder/KEY``, ``mask.png``); None for a name without a key or an extension.

    A name that begins with a dot, behind its folders, has no key: other programs leave such files (``._photo.jpg``).
    """
    folder, slash, base = name.rpartition("/")
    stem, extension = _cut(base, key_ends_at)
    if not stem or not extension or stem.startswith("."):
        return None
    return folder + slash + stem, extension.lower()


def iterate_samples(
    file: IO[bytes],
    contents: Collection[str] | None = (),
    key_ends_at: KeyEndsAt = "first_dot",
    tell: Tell | None = None,
) -> Iterator[TarSample]:
    """Samples of an uncompressed tar, in its order; memory stays flat however long it is.

    Args:
        file: open for reading, at any place.
        contents: extensions of files whose content is wanted; None for all.
        key_ends_at: where keys end.
        tell: called with what is no part of a sample; without it, damage is an error.

    Raises:
        DamagedTarError: it is no tar; without `tell`, also after the samples before a damaged place.
        OSError: it cannot be read.
    """

    def is_wanted(name: str) -> bool:
        cut = key_and_extension(name, key_ends_at)
        return contents is None or (cut is not None and cut[1] in contents)

    key, run = "", list[tuple[str, Member]]()
    for member in iterate_members(file, is_wanted, tell):
        cut = key_and_extension(member.name, key_ends_at)
        if cut is None:
            if tell is not None:
                tell(Trouble(None, "stray_member", f"{member.name} is no part of a sample"))
            continue
        if cut[0] != key:
            yield from _samples(key, run)
            key, run = cut[0], []
        run.append((cut[1], member))
    yield from _samples(key, run)


def read_sample(
    shard: str, offset: int, nbytes: int, key: str, key_ends_at: KeyEndsAt = "first_dot"
) -> dict[str, bytes]:
    """Contents by extension of one sample, by one ranged read of its shard.

    Args:
        shard: location of the tar. Nothing of it stays open, so that any process may read.
        offset: of the sample's first header, in bytes.
        nbytes: from there to the next sample's first header.
        key: of the sample.
        key_ends_at: where keys end.

    Raises:
        SampleError: unreadable_shard; misplaced_sample, if another sample or none lies there.
    """
    try:
        data = read_file(shard, offset, offset + nbytes)
    except (OSError, TimeoutError) as error:
        raise SampleError("unreadable_shard", f"{type(error).__name__}: {error}") from error
    members = _plain_sample(data, key, key_ends_at)
    if members:
        return members
    try:
        for sample in iterate_samples(io.BytesIO(data), None, key_ends_at, tell=lambda trouble: None):
            members |= sample.data() if sample.key == key else {}
    except DamagedTarError as error:
        raise SampleError("misplaced_sample", f"no tar member at the place that the index names: {error}") from error
    if not members:
        raise SampleError("misplaced_sample", "another sample lies at the place that the index names")
    return members


def _plain_sample(data: bytes, key: str, key_ends_at: KeyEndsAt) -> dict[str, bytes]:
    """Contents by extension, where all that lies there is one plain sample of that key; else nothing."""
    members: dict[str, bytes] = {}
    for name, content in plain_members(data) or ():
        cut = key_and_extension(name, key_ends_at)
        if cut is None or cut[0] != key or cut[1] in members:
            return {}
        members[cut[1]] = content
    return members


def _cut(base: str, key_ends_at: KeyEndsAt) -> tuple[str, str]:
    """A name without folders, in front of a dot and behind it; ("", name) without one."""
    if key_ends_at == "first_dot":
        stem, dot, extension = base.partition(".")
        return (stem, extension) if dot else ("", base)
    if base.lower().endswith(f".{MASK}"):
        return base[: -len(MASK) - 1], base[-len(MASK) :]
    stem, _, extension = base.rpartition(".")
    return stem, extension


def _samples(key: str, run: Sequence[tuple[str, Member]]) -> Iterator[TarSample]:
    """Members of one key that follow each other: one sample, or copies of one with the same extensions each."""
    extensions = [extension for extension, _ in run]
    kinds = set(extensions)
    length = len(kinds)
    starts = range(0, len(run), length or 1)
    if all({*extensions[start : start + length]} == kinds for start in starts):
        for start in starts:
            part = run[start : start + length]
            yield TarSample(key, part[0][1].start, part[-1][1].end, dict(part))
    else:
        twice = tuple(sorted(extension for extension in kinds if extensions.count(extension) > 1))
        yield TarSample(key, run[0][1].start, run[-1][1].end, dict(run), twice)
