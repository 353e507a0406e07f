"""Files on a local disk or behind an fsspec URL: one handle on a folder, and functions for a location alone."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from braceexpand import braceexpand
from fsspec.implementations.local import LocalFileSystem

from stages.common.errors import UserError
from stages.common.storage import Translated, retried, storage_errors

_PATTERN = frozenset("*?[")


class Folder:
    """A folder, local or remote: what it holds, and files that appear in it whole or not at all.

    Names are relative to the folder; they may have folders themselves.
    """

    def __init__(self, url: str) -> None:
        """Opens nothing yet.

        Raises:
            UserError: the URL's protocol is unknown, or its package is missing.
        """
        self.fs, self.root = open_location(url)
        self.url = url
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The file's path on the folder's file system."""
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def location(self, name: str = "") -> str:
        """A file's location, as the user would write it."""
        return join(self.url, name) if name else self.url

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def is_folder(self, name: str = "") -> bool:
        """Whether there is such a folder."""
        return bool(self.fs.isdir(self.path(name)))

    def is_file(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.isfile(self.path(name)))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The file, for binary reading at any place.

        Raises:
            OSError: it cannot be read.
        """
        with storage_errors(), self.fs.open(self.path(name), "rb") as file:
            yield file

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Reads a file or a range of it, in bytes; what may pass (network) is tried four times.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: at once, as trying again does not help.
            OSError: the fourth time.
        """
        return retried(lambda: bytes(self.fs.cat_file(self.path(name), start=start, end=end)))

    def read_or_none(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """Contents of those of the files that exist; remote ones are read side by side."""
        if self.is_local:
            found = {name: self.read_or_none(name) for name in names}
            return {name: data for name, data in found.items() if data is not None}
        paths = {self.path(name).lstrip("/"): name for name in names}
        found = self.fs.cat(list(paths), on_error="return") if paths else {}
        return {paths[path.lstrip("/")]: bytes(data) for path, data in found.items() if isinstance(data, bytes)}

    def write(self, name: str, data: bytes) -> None:
        """Writes a file as a whole: a reader sees the old one or the new one, also after a crash."""
        if not self.is_local:
            retried(lambda: self.fs.pipe_file(self.path(name), data))
            return
        part = self.temporary(name)
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.put(part, name)

    def temporary(self, name: str) -> Path:
        """A fresh local path on which to prepare `name`; on the same disk where the folder is local."""
        if self.is_local:
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            return target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        return Path(tempfile.gettempdir()) / f"maskmine-{uuid.uuid4().hex}.part"

    def put(self, part: Path, name: str) -> None:
        """Moves a local file, already flushed to disk, to its name in the folder."""
        target = self.path(name)
        if self.is_local:
            os.replace(part, target)
            folder = os.open(Path(target).parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return
        retried(lambda: self.fs.put_file(str(part), target))
        part.unlink()

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Name -> bytes of the files directly in a folder, by one listing; {} if there is no such folder."""
        try:
            if self.is_local:
                with storage_errors(), os.scandir(self.path(folder)) as local:
                    return {entry.name: entry.stat().st_size for entry in local if entry.is_file()}
            entries = self.fs.ls(self.path(folder), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] or 0 for entry in entries if entry["type"] == "file"}

    def names(self) -> list[str]:
        """What lies directly in the folder, files and folders; [] if there is no such folder."""
        try:
            if self.is_local:
                return sorted(os.listdir(self.root))
            return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in self.fs.ls(self.root, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, folder: str = "", recursive: bool = False) -> list[str]:
        """Names of a folder's files, sorted, by one listing, or one per folder; none if there is no such folder."""
        inside = self.path(folder).rstrip("/") + "/"
        if not recursive:
            found = list(self.sizes(folder))
        else:
            paths = [str(path) for path in self.fs.find(inside.rstrip("/") or "/")]
            found = [path.removeprefix(inside) for path in paths if path.startswith(inside)]
        return sorted(f"{folder}/{name}".lstrip("/") for name in found)

    def remove_parts(self, folder: str) -> None:
        """Clears away what a killed run left half written."""
        if self.is_local:
            for part in Path(self.path(folder)).glob(".*.part"):
                part.unlink(missing_ok=True)


def open_location(url: str) -> tuple[Any, str]:
    """fsspec file system and path of a path or URL.

    Raises:
        UserError: the URL's protocol is unknown, or its package is missing.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, **_options(url))
    except (ValueError, ImportError) as error:
        raise UserError(
            f"{url}: {error}; expected a path or a URL that fsspec knows, such as s3://bucket/key"
        ) from error
    return fs if isinstance(fs, LocalFileSystem) else Translated(fs), path


def knows_protocol(name: str) -> bool:
    """Whether what stands before ``://`` is the name of a protocol, be its package installed or not."""
    return name in fsspec.available_protocols()


def _options(url: str) -> dict[str, Any]:
    """What a URL's file system is made with: nothing is remembered, and a web server that falls silent is left."""
    if not url.startswith(("http://", "https://")):
        return {"use_listings_cache": False} if "://" in url else {}
    from aiohttp import ClientTimeout

    return {"client_kwargs": {"timeout": ClientTimeout(total=300, sock_connect=10, sock_read=30)}}


def join(location: str, name: str) -> str:
    """The location of a file below a folder; a name that is a URL or an absolute path stays as it is."""
    if "://" in name or name.startswith("/"):
        return name
    if "://" not in location:
        return str(Path(location) / name)
    return f"{location.rstrip('/')}/{name}"


@contextmanager
def open_file(location: str, mode: str = "rb") -> Iterator[IO[Any]]:
    """A file for reading: ``rb`` as it is; ``rt`` as UTF-8 text, unpacked if its name ends in .gz or the like.

    Raises:
        UserError: the URL's protocol is unknown.
        OSError: it cannot be read.
    """
    fs, path = open_location(location)
    options = {"encoding": "utf-8-sig", "compression": "infer"} if mode == "rt" else {}
    with storage_errors(), fs.open(path, mode, **options) as file:
        yield file


def read_file(location: str, start: int | None = None, end: int | None = None) -> bytes:
    """Reads a file or a range of it, in bytes, as `Folder.read` does.

    Raises:
        UserError: the URL's protocol is unknown.
        OSError: it cannot be read.
    """
    if "://" not in location and start is not None and end is not None:
        return retried(lambda: _read_local(location, start, end - start))
    fs, path = open_location(location)
    return retried(lambda: bytes(fs.cat_file(path, start=start, end=end)))


def version_of(location: str) -> list[str]:
    """What tells a file from an earlier one of its name without reading it: size and time of change, or a store's tag.

    Raises:
        OSError: it is missing.
    """
    fs, path = open_location(location)
    info = fs.info(path)
    return [str(info.get(key)) for key in ("size", "mtime", "ETag", "LastModified")]


def find_files(pattern: str, ending: str = "") -> dict[str, list[str]]:
    """Locations by name: ``{00000..00099}`` in a pattern stands for so many names, ``*`` for the files that match it,
    not for folders.

    Args:
        pattern: of paths or URLs; a folder stands for its files.
        ending: of a folder's files.

    Returns:
        The files of each name, sorted; an empty list where there is none.
    """
    found = {}
    for name in braceexpand(pattern):
        fs, path = open_location(name)
        if _PATTERN.intersection(path.rpartition("/")[2]):
            matches = _files_of(fs, path)
        elif fs.isdir(path):
            matches = _files_of(fs, f"{path.rstrip('/')}/*{ending}")
        else:
            matches = [path] if fs.exists(path) else []
        found[name] = [fs.unstrip_protocol(match) if "://" in name else match for match in matches]
    return found


def _files_of(fs: Any, pattern: str) -> list[str]:  # noqa: ANN401 - fsspec has no types
    found = fs.glob(pattern, detail=True)
    return sorted(path for path, entry in found.items() if entry["type"] != "directory")


def _read_local(path: str, start: int, nbytes: int) -> bytes:
    """A piece of a file, by its place alone: nothing stays open, and nothing is looked up."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, nbytes, start)
    finally:
        os.close(file)


def read_json(location: str, key: str) -> Any:  # noqa: ANN401 - any JSON value
    """Parses a JSON file.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(read_file(location))
    except FileNotFoundError as error:
        raise UserError(f"{key}: there is no file {location}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {location} cannot be read as JSON: {error}") from error
