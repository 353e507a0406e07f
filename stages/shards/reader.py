"""The one reader of tars: sample by sample from the start, or one sample by its place."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from stages.common import SampleError, read_file

_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")


class DamagedTarError(OSError):
    """A file is no uncompressed tar, or is cut off or damaged: samples behind that place cannot be found."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a sample.

    Attributes:
        offset, nbytes: place of its content in the tar.
        is_canonical: its header has the fixed owner, mode and time of a shard that `write_shard` wrote.
        data: its content, where it was asked for; else empty.
    """

    offset: int
    nbytes: int
    is_canonical: bool
    data: bytes = b""


@dataclass(slots=True)
class TarSample:
    """Files of one key that follow each other in a tar.

    Attributes:
        key: as webdataset has it: the name up to the first dot behind the folders, which are part of it.
        offset, end: from the first file's first header to the next sample's, in bytes.
        members: by extension, in lower case: ``mask.png`` of ``folder/KEY.mask.png``.
    """

    key: str
    offset: int
    end: int
    members: dict[str, Member] = field(default_factory=dict)

    def data(self) -> dict[str, bytes]:
        """Contents by extension."""
        return {extension: member.data for extension, member in self.members.items()}


def key_and_extension(name: str) -> tuple[str, str] | None:
    """``folder/KEY.mask.png`` is (``folder/KEY``, ``mask.png``); None for a name that webdataset passes over."""
    found = _NAME.match(name)
    return None if found is None else (found[1], found[2].lower())


def iterate_samples(file: IO[bytes], contents: Collection[str] | None = ()) -> Iterator[TarSample]:
    """Samples of an uncompressed tar, in its order; memory stays flat however long it is.

    Args:
        file: open for reading, at its start.
        contents: extensions of files whose content is wanted; None for all.

    Raises:
        DamagedTarError: after the samples before the damaged place.
        OSError: it cannot be read.
    """
    sample: TarSample | None = None
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for header in tar:
                tar.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header
                name = key_and_extension(header.name)
                if name is None or not header.isfile():
                    continue
                if sample is None or sample.key != name[0]:
                    if sample is not None:
                        yield sample
                    sample = TarSample(name[0], header.offset, 0)
                wanted = contents is None or name[1] in contents
                sample.members[name[1]] = _member(tar, header, wanted)
                sample.end = header.offset_data + -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            _check_end(tar)
    except tarfile.TarError as error:
        raise DamagedTarError(f"no uncompressed tar, or a damaged one: {error}") from error
    if sample is not None:
        yield sample


def read_sample(shard: str, offset: int, nbytes: int, key: str) -> dict[str, bytes]:
    """Contents by extension of one sample, by one ranged read of its shard.

    Args:
        shard: location of the tar. Nothing of it stays open, so that any process may read.
        offset: of the sample's first header, in bytes.
        nbytes: from there to the next sample's first header.
        key: of the sample.

    Raises:
        SampleError: unreadable_shard; misplaced_sample, if another sample or none lies there.
    """
    try:
        data = read_file(shard, offset, offset + nbytes)
    except (OSError, TimeoutError) as error:
        raise SampleError("unreadable_shard", f"{type(error).__name__}: {error}") from error
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for header in tar:
                name = key_and_extension(header.name)
                if name is not None and name[0] == key and header.isfile():
                    members[name[1]] = data[header.offset_data : header.offset_data + header.size]
    except tarfile.TarError as error:
        raise SampleError("misplaced_sample", f"no tar member at the place that the index names: {error}") from error
    if not members:
        raise SampleError("misplaced_sample", "another sample lies at the place that the index names")
    return members


def _member(tar: tarfile.TarFile, header: tarfile.TarInfo, wanted: bool) -> Member:
    is_canonical = (header.mtime, header.uid, header.gid, header.mode) == (0, 0, 0, 0o644)
    content = tar.extractfile(header) if wanted else None
    data = b"" if content is None else content.read()
    return Member(header.offset_data, header.size, is_canonical, data)


def _check_end(tar: tarfile.TarFile) -> None:
    """tarfile takes a cut or a damaged header behind the first member for the end, and would lose samples silently."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"cut off or damaged at byte {tar.offset}")
