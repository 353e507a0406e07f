"""Whatever library a storage is of, it fails with OSErrors; what may pass is tried again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import aiohttp
import botocore.exceptions
import pytest
from aiohttp.client_reqrep import RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from stages.common import Folder, StorageError, read_file, retried
from stages.common.storage import Translated, storage_errors

URL_OF_A = URL("http://h/a")


def answer(status: int, **headers: str) -> aiohttp.ClientResponseError:
    request = RequestInfo(URL_OF_A, "GET", CIMultiDictProxy(CIMultiDict()), URL_OF_A)
    named: Any = {name.replace("_", "-"): value for name, value in headers.items()}
    return aiohttp.ClientResponseError(request, (), status=status, message="told", headers=named)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (answer(404), FileNotFoundError),
        (answer(410), FileNotFoundError),
        (answer(403), PermissionError),
        (answer(416), PermissionError),
        (answer(429, Retry_After="7"), StorageError),
        (answer(503), StorageError),
        (aiohttp.ClientPayloadError("cut"), StorageError),
        (aiohttp.ServerDisconnectedError(), StorageError),
        (aiohttp.InvalidURL("http://["), PermissionError),
        (botocore.exceptions.NoCredentialsError(), StorageError),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://h"), StorageError),
        (OSError(36, "File name too long"), FileNotFoundError),
    ],
)
def test_errors_of_libraries_become_oserrors(error: Exception, told: type[OSError]) -> None:
    with pytest.raises(told) as caught, storage_errors():
        raise error
    assert type(caught.value) is told
    if isinstance(caught.value, StorageError):
        assert caught.value.pause_s == (7 if "429" in str(caught.value) else 0)


def test_an_answer_that_is_no_http_is_a_failure_and_no_refusal() -> None:
    with pytest.raises(StorageError, match=r"answer is no HTTP: 400, message='told'") as caught, storage_errors():
        raise answer(400) from aiohttp.http_exceptions.BadStatusLine("garbage\n\n  ^")
    assert caught.value.may_pass
    with pytest.raises(PermissionError, match="the server answers 400 told"), storage_errors():
        raise answer(400)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("y"), OSError(5, "z"), FileNotFoundError("w")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors():
        raise error
    assert caught.value is error


def test_a_file_system_is_translated_and_so_is_reading_its_files() -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise aiohttp.ClientPayloadError("cut")

    class Files:
        protocol = "x"

        def info(self, path: str) -> None:
            raise botocore.exceptions.NoCredentialsError

        def open(self, path: str, mode: str) -> Broken:
            return Broken()

    folder = Folder("memory://x")
    folder.fs = Translated(Files())
    assert folder.fs.protocol == "x"
    with pytest.raises(StorageError, match="Unable to locate credentials"):
        folder.fs.info("a")
    with pytest.raises(StorageError, match="cut"), folder.open("a") as file:
        file.read()


@pytest.mark.parametrize("name", ["a\0b.jpg", "long" * 100, "x" * 300 + "/a.jpg"])
def test_a_name_that_no_file_can_have_is_that_of_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("stages.common.storage.time.sleep", lambda seconds: pytest.fail("it does not pass"))
    for read in (Folder(str(tmp_path)).read, lambda name: read_file(f"{tmp_path}/{name}", 0, 1)):
        with pytest.raises(FileNotFoundError, match="no file can have such a name"):
            read(name)
    assert Folder(str(tmp_path)).sizes(name) == {}


def test_a_storage_is_asked_again_when_it_wants_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("stages.common.storage.time.sleep", waits.append)
    errors = [StorageError("busy", 429, 5.5), StorageError("busy", 429, 0.5), StorageError("busy", 503, 1e6)]

    def action() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert retried(action) == "done"
    assert waits == [5.5, 2, 30]
    errors.append(StorageError("no credentials", may_pass=False))
    with pytest.raises(StorageError, match="no credentials"):
        retried(action)
    assert waits == [5.5, 2, 30]
