"""Files of a build, on a local disk or behind an fsspec URL: whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from stages.common.files import open_location, read_bytes, retried


class Folder:
    """A folder, local or remote, whose files appear whole or not at all."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = open_location(url)
        self.url = url
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The file's path on the store's file system."""
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError if there is no such file."""
        return read_bytes(self.fs, self.path(name))

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
        """A fresh local path on which to prepare `name`; on the same disk where the store is local."""
        if self.is_local:
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            return target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        import tempfile

        return Path(tempfile.gettempdir()) / f"maskmine-{uuid.uuid4().hex}.part"

    def put(self, part: Path, name: str) -> None:
        """Moves a local file, already flushed to disk, to its name in the store."""
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

    def sizes(self, folder: str) -> dict[str, int]:
        """Name -> bytes of the files directly in a folder; {} if there is no such folder."""
        if self.is_local:
            try:
                with os.scandir(self.path(folder)) as entries:
                    return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
            except FileNotFoundError:
                return {}
        try:
            entries = self.fs.ls(self.path(folder), detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in entries if entry["type"] == "file"}

    def names(self) -> list[str]:
        """What lies directly in the store's own folder, files and folders; [] if there is no such folder."""
        try:
            if self.is_local:
                return sorted(os.listdir(self.root))
            return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in self.fs.ls(self.root, detail=False))
        except FileNotFoundError:
            return []

    def remove_parts(self, folder: str) -> None:
        """Clears away what a killed run left half written."""
        if self.is_local:
            for part in Path(self.path(folder)).glob(".*.part"):
                part.unlink(missing_ok=True)
