"""Storage: files appear whole or not at all, on a local disk and behind a URL; what may pass is tried again."""

from __future__ import annotations

import gzip
import os
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.cache import Cache
from pipeline.manifest import Run
from stages.common import Folder, UserError, find_files, open_file, read_file, retried


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/out")


def test_files_are_written_read_listed_and_replaced(store: Folder) -> None:
    assert store.sizes("a") == {}
    assert store.read_or_none("a/b.txt") is None
    assert not store.exists("a/b.txt")
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"three")
    store.write("a/c.txt", b"")
    store.write("a/deep/d.txt", b"1")
    assert store.read("a/b.txt") == b"three"
    assert store.exists("a/b.txt")
    assert store.sizes("a") == {"b.txt": 5, "c.txt": 0}
    assert store.read_many(["a/b.txt", "a/none.txt", "a/c.txt"]) == {"a/b.txt": b"three", "a/c.txt": b""}
    assert store.read_many([]) == {}
    with pytest.raises(FileNotFoundError):
        store.read("none")


def test_prepared_file_is_moved_to_its_name(store: Folder) -> None:
    part = store.temporary("a/b.txt")
    part.write_bytes(b"whole")
    assert store.sizes("a").get("b.txt") is None
    store.put(part, "a/b.txt")
    assert store.read("a/b.txt") == b"whole"
    assert not part.exists()


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Folder(str(tmp_path))
    store.write("a.txt", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("a.txt", b"new")
    monkeypatch.undo()
    assert store.read("a.txt") == b"old"
    store.remove_parts("")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_only_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    for name in ("a.part", ".hidden", "b.tar"):
        store.write(name, b"1")
    store.temporary("b.tar").write_bytes(b"half")
    assert len(store.sizes("")) == 4
    store.remove_parts("")
    assert sorted(store.sizes("")) == [".hidden", "a.part", "b.tar"]


def test_part_of_a_file_is_read(store: Folder) -> None:
    store.write("a", b"0123456789")
    for read in (partial(store.read, "a"), partial(read_file, store.location("a"))):
        assert read(3, 6) == b"345"
        assert read(0, 0) == b""
        assert read() == b"0123456789"


def test_files_of_a_folder_are_listed(store: Folder) -> None:
    assert store.files("none") == []
    for name in ("b.txt", "a.txt", "deep/c.txt", "deep/er/d.txt"):
        store.write(name, b"1")
    assert store.files() == ["a.txt", "b.txt"]
    assert store.files("deep") == ["deep/c.txt"]
    assert store.files("", recursive=True) == ["a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt"]
    assert (store.is_folder("deep"), store.is_folder("a.txt"), store.is_file("a.txt")) == (True, False, True)
    assert store.location("deep/c.txt") == f"{store.url}/deep/c.txt"
    with store.open("a.txt") as file:
        assert file.read() == b"1"


def test_packed_text_is_unpacked_by_its_ending(store: Folder) -> None:
    store.write("a.json.gz", gzip.compress("\ufeffgrün".encode()))
    with open_file(store.location("a.json.gz"), "rt") as file:
        assert file.read() == "grün"
    with open_file(store.location("a.json.gz")) as packed:
        assert packed.read(2) == b"\x1f\x8b"


def test_files_are_found_by_folder_range_and_glob(store: Folder) -> None:
    for name in ("1.tar", "0.tar", "x.txt"):
        store.write(name, name.encode())

    def found(pattern: str) -> list[list[str]]:
        files = find_files(pattern, ".tar").values()
        return [[read_file(file).decode() for file in files_of_name] for files_of_name in files]

    assert found(store.url) == found(store.location("*.tar")) == [["0.tar", "1.tar"]]
    assert found(store.location("{0..2}.tar")) == [["0.tar"], ["1.tar"], []]
    assert list(find_files(store.location("{0..1}.tar"))) == [store.location("0.tar"), store.location("1.tar")]


class Flaky:
    """Fails so often before it works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return "done"


@pytest.mark.parametrize(
    ("failures", "error", "calls"),
    [(3, OSError("reset"), 4), (1, TimeoutError(), 2), (4, OSError("reset"), 4), (1, FileNotFoundError(), 1)],
)
def test_only_what_may_pass_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, error: Exception, calls: int
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("stages.common.storage.time.sleep", waits.append)
    action = Flaky(failures, error)
    if failures < 4 and not isinstance(error, FileNotFoundError):
        assert retried(action) == "done"
    else:
        with pytest.raises(type(error)):
            retried(action)
    assert action.calls == calls
    assert waits == [1, 2, 4][: calls - 1]


@pytest.mark.parametrize("url", ["gopher://x/y", "nosuch://bucket"])
def test_unknown_protocol_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=f"{url}: .*expected a path or a URL that fsspec knows"):
        Folder(url)


def test_cache_keeps_results_by_kind_and_key(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))
    cache.put("nouns", "abcd", b"1")
    cache.put("scores", "abcd", b"2")
    again: Any = Cache(str(tmp_path))
    assert (again.get("nouns", "abcd"), again.get("scores", "abcd"), again.get("nouns", "abce")) == (b"1", b"2", None)
    Cache(None).put("nouns", "abcd", b"3")
    assert Cache(None).get("nouns", "abcd") is None


def test_cache_lies_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.delenv("MASKMINE_CACHE", raising=False)
    assert Run().cache_url == "/caches/maskmine"
    monkeypatch.setenv("MASKMINE_CACHE", "s3://shared/cache")
    assert Run().cache_url == "s3://shared/cache"
